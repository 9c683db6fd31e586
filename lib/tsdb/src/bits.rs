//! Strings of bits in 64-bit words, highest bit first.

/// A growing string of bits. The word being filled lies apart from the full ones, so that most
/// pushes touch no memory but the string's own.
#[derive(Debug, Clone)]
pub(crate) struct BitString {
    /// The full words, and room for more. A list would keep a third word for its capacity.
    full: Box<[u64]>,
    last: u64,
    /// How many words are full.
    len: u32,
    /// Unused bits of `last`; 64 where the string is empty.
    free: u8,
}

/// Words added when there is no room: a few bytes at a time, since half a million series have
/// one string each.
const GROWTH_WORDS: usize = 4;
const WORD_BITS: u8 = 64;

impl Default for BitString {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for BitString {
    fn eq(&self, other: &Self) -> bool {
        self.free == other.free && self.words().eq(other.words())
    }
}

impl Eq for BitString {}

impl BitString {
    pub(crate) fn new() -> Self {
        Self::with_capacity(0)
    }

    /// An empty string with room for so many full words.
    pub(crate) fn with_capacity(words: usize) -> Self {
        Self { full: vec![0; words].into(), last: 0, len: 0, free: WORD_BITS }
    }

    /// Takes words of which the last has `free` unused bits, 64 if there is none.
    pub(crate) fn from_words(mut words: Vec<u64>, free: u8) -> Option<Self> {
        match words.pop() {
            None => (free == WORD_BITS).then(Self::new),
            Some(last) => {
                let len = u32::try_from(words.len()).ok()?;
                (free < WORD_BITS).then(|| Self { full: words.into(), last, len, free })
            }
        }
    }

    /// All words, the last one filled up with zeros.
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> {
        let last = (self.free < WORD_BITS).then_some(self.last);
        self.full[..self.len as usize].iter().copied().chain(last)
    }

    pub(crate) fn word_count(&self) -> usize {
        self.len as usize + usize::from(self.free < WORD_BITS)
    }

    pub(crate) const fn free(&self) -> u8 {
        self.free
    }

    /// Forgets the bits, and gives their memory back: half a million empty strings that keep what
    /// they once needed would be a sixth of all the memory there is.
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Bytes of memory behind the string.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.full.len() * 8
    }

    /// Appends the lowest `len` bits of `bits`; the others must be 0. `len` is 1 to 64.
    #[inline]
    pub(crate) fn push(&mut self, bits: u64, len: u32) {
        debug_assert!((1..=64).contains(&len) && (len == 64 || bits >> len == 0));
        let free = u32::from(self.free);
        if len <= free {
            self.last |= bits << (free - len);
            self.free = (free - len) as u8;
            return;
        }
        self.push_over_word(bits, len);
    }

    fn push_over_word(&mut self, bits: u64, len: u32) {
        let behind = len - u32::from(self.free);
        if self.free > 0 {
            self.last |= bits >> behind;
        }
        let at = self.len as usize;
        if at == self.full.len() {
            self.grow();
        }
        self.full[at] = self.last;
        self.len += 1;
        self.last = bits << (64 - behind);
        self.free = (64 - behind) as u8;
    }

    fn grow(&mut self) {
        let mut words = std::mem::take(&mut self.full).into_vec();
        words.reserve_exact(GROWTH_WORDS);
        words.resize(words.len() + GROWTH_WORDS, 0);
        self.full = words.into_boxed_slice();
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
            let words: Vec<u64> = string.words().collect();
            prop_assert_eq!(words.len(), string.word_count());
            prop_assert_eq!(BitString::from_words(words.clone(), string.free()), Some(string));
            let mut reader = BitReader::new(&words);
            for &(bits, len) in &pieces {
                prop_assert_eq!(reader.read(len), bits >> (64 - len));
            }
            prop_assert!(!reader.overran());
            prop_assert_eq!(reader.read(64), 0);
        }
    }
}
