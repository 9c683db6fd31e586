//! Strings of bits in 64-bit words, highest bit first.

/// A growing string of bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BitString {
    words: Vec<u64>,
    /// Unused bits at the end of the last word.
    free: u8,
}

/// Words added when the last one is full: a few bytes at a time, since half a million series
/// have one string each.
const GROWTH_WORDS: usize = 4;

impl BitString {
    pub(crate) const fn new() -> Self {
        Self { words: Vec::new(), free: 0 }
    }

    /// Takes whole words of which the last has `free` unused bits.
    pub(crate) fn from_words(words: Vec<u64>, free: u8) -> Option<Self> {
        (free < 64 && (free == 0 || !words.is_empty())).then_some(Self { words, free })
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    pub(crate) const fn free(&self) -> u8 {
        self.free
    }

    pub(crate) fn clear(&mut self) {
        self.words.clear();
        self.free = 0;
    }

    /// Bytes of memory behind the string.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.words.capacity() * 8
    }

    /// Appends the lowest `len` bits of `bits`; the others must be 0. `len` is 1 to 64.
    #[inline]
    pub(crate) fn push(&mut self, bits: u64, len: u32) {
        debug_assert!((1..=64).contains(&len) && (len == 64 || bits >> len == 0));
        let free = u32::from(self.free);
        if len <= free {
            let last = self.words.last_mut().expect("free bits are in a word");
            *last |= bits << (free - len);
            self.free = (free - len) as u8;
            return;
        }
        self.push_into_new_word(bits, len);
    }

    fn push_into_new_word(&mut self, bits: u64, len: u32) {
        let free = u32::from(self.free);
        if self.words.len() == self.words.capacity() {
            self.words.reserve_exact(GROWTH_WORDS);
        }
        let behind = len - free;
        if free > 0 {
            *self.words.last_mut().expect("free bits are in a word") |= bits >> behind;
        }
        self.words.push(bits << (64 - behind));
        self.free = (64 - behind) as u8;
    }
}

/// Reads a string of bits. Behind its end there are only zeros.
#[derive(Debug, Clone)]
pub(crate) struct BitReader<'a> {
    words: &'a [u64],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) const fn new(words: &'a [u64]) -> Self {
        Self { words, at: 0 }
    }

    /// The next `len` bits, 1 to 64.
    #[inline]
    pub(crate) fn read(&mut self, len: u32) -> u64 {
        let value = self.peek(len);
        self.at += len as usize;
        value
    }

    #[inline]
    pub(crate) fn skip(&mut self, len: u32) {
        self.at += len as usize;
    }

    /// The next `len` bits, 1 to 64, without taking them.
    #[inline]
    pub(crate) fn peek(&self, len: u32) -> u64 {
        let (word, bit) = (self.at / 64, (self.at % 64) as u32);
        let first = self.words.get(word).copied().unwrap_or(0) << bit;
        let joined = if bit + len > 64 {
            first | self.words.get(word + 1).copied().unwrap_or(0) >> (64 - bit)
        } else {
            first
        };
        joined >> (64 - len)
    }

    /// Whether more was read than there is.
    pub(crate) fn overran(&self) -> bool {
        self.at > self.words.len() * 64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_pushed_is_read(pieces in proptest::collection::vec((any::<u64>(), 1u32..=64), 0..100)) {
            let mut string = BitString::new();
            for &(bits, len) in &pieces {
                string.push(bits >> (64 - len), len);
            }
            let mut reader = BitReader::new(string.words());
            for &(bits, len) in &pieces {
                prop_assert_eq!(reader.read(len), bits >> (64 - len));
            }
            prop_assert!(!reader.overran());
            prop_assert_eq!(reader.read(64), 0);
        }
    }
}
