//! The XOR codec: the form of samples that are still being appended to.
//!
//! ```text
//! run    := first time 64 bits, first value 64 bits, { sample }
//! sample := time value
//! time   := 0                         the same step as before
//!         | 10   8 bits               change of step + 128
//!         | 110  14 bits              change of step + 8192
//!         | 1110 20 bits              change of step + 524288
//!         | 1111 64 bits              change of step
//! value  := 0                         the same bits as before
//!         | 10   width bits           XOR with the value before, in the window of before
//!         | 11   5 bits leading, 6 bits width − 1, width bits
//! ```
//!
//! A regular, constant series takes two bits a sample. All bits of all values are kept, NaN
//! payloads included. Times must increase within a run, which the step relies on only for size.

use crate::bits::{BitReader, BitString};

/// A run that is appended to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OpenRun {
    bits: BitString,
    /// The newest sample's time, also after the run was taken.
    last_time: i64,
    /// The newest sample's value bits, also after the run was taken.
    last_value: u64,
    step: i64,
    count: u16,
    window: ValueWindow,
}

impl OpenRun {
    pub(crate) const fn count(&self) -> u16 {
        self.count
    }

    pub(crate) const fn last_time(&self) -> i64 {
        self.last_time
    }

    pub(crate) const fn last_value(&self) -> u64 {
        self.last_value
    }

    pub(crate) fn words(&self) -> impl Iterator<Item = u64> {
        self.bits.words()
    }

    pub(crate) fn word_count(&self) -> usize {
        self.bits.word_count()
    }

    /// Reads the samples there are now.
    pub(crate) fn samples(&self) -> Vec<(i64, u64)> {
        let words: Vec<u64> = self.words().collect();
        RunReader::new(&words, self.count).collect()
    }

    /// The time of its first sample.
    pub(crate) fn first_time(&self) -> Option<i64> {
        self.bits.words().next().map(|time| time as i64)
    }

    pub(crate) fn capacity_bytes(&self) -> usize {
        self.bits.capacity_bytes()
    }

    /// Adds a sample.
    #[inline]
    pub(crate) fn append(&mut self, time: i64, value: u64) {
        if self.count == 0 {
            self.start(time, value);
            return;
        }
        let step = time.wrapping_sub(self.last_time);
        let change = step.wrapping_sub(self.step);
        let difference = value ^ self.last_value;
        if change == 0 && difference == 0 {
            self.bits.push(0, 2);
        } else {
            push_step_change(&mut self.bits, change);
            self.window.append(&mut self.bits, difference);
        }
        self.step = step;
        self.last_time = time;
        self.last_value = value;
        self.count += 1;
    }

    fn start(&mut self, time: i64, value: u64) {
        self.bits.clear();
        self.bits.push(time as u64, 64);
        self.bits.push(value, 64);
        (self.step, self.window) = (0, ValueWindow::default());
        (self.last_time, self.last_value, self.count) = (time, value, 1);
    }

    /// Notes that the series' newest sample is one that is no float, while the run is empty.
    pub(crate) fn pass(&mut self, time: i64, value: u64) {
        debug_assert!(self.count == 0, "a run is open");
        (self.last_time, self.last_value) = (time, value);
    }

    /// Takes the run's words and count away; the newest sample stays known.
    pub(crate) fn take(&mut self) -> (Vec<u64>, u16) {
        let run = (self.words().collect(), self.count);
        self.bits.clear();
        (self.count, self.step, self.window) = (0, 0, ValueWindow::default());
        run
    }

    /// A run that was taken, after a sample like this.
    pub(crate) fn taken(last_time: i64, last_value: u64) -> Self {
        Self { last_time, last_value, ..Self::default() }
    }

    /// The fields that resume the run from stored words, in the order of [`OpenRun::resume`].
    pub(crate) fn cursor(&self) -> Resume {
        Resume {
            last_time: self.last_time,
            last_value: self.last_value,
            step: self.step,
            count: self.count,
            free: self.bits.free(),
            leading: self.window.leading,
            width: self.window.width,
        }
    }

    /// A run as it was when `resume` and its words were taken.
    pub(crate) fn resume(words: Vec<u64>, resume: Resume) -> Option<Self> {
        let Resume { last_time, last_value, step, count, free, leading, width } = resume;
        let window_fits = u32::from(leading) + u32::from(width) <= 64;
        let filled = if count == 0 { words.is_empty() } else { words.len() >= 2 };
        (window_fits && filled).then_some(())?;
        let bits = BitString::from_words(words, free)?;
        let window = ValueWindow { leading, width };
        Some(Self { bits, last_time, last_value, step, count, window })
    }
}

/// Appends by how much the step between two times differs from the one before.
#[inline]
pub(crate) fn push_step_change(bits: &mut BitString, change: i64) {
    match change {
        0 => bits.push(0, 1),
        -128..=127 => bits.push(0b10 << 8 | (change + 128) as u64, 10),
        -8192..=8191 => bits.push(0b110 << 14 | (change + 8192) as u64, 17),
        -524_288..=524_287 => bits.push(0b1110 << 20 | (change + 524_288) as u64, 24),
        _ => {
            bits.push(0b1111, 4);
            bits.push(change as u64, 64);
        }
    }
}

/// Reads what [`push_step_change`] appended.
#[inline]
pub(crate) fn read_step_change(bits: &mut BitReader<'_>) -> i64 {
    let ones = (bits.peek(4) << 60).leading_ones();
    bits.skip((ones + 1).min(4));
    match ones {
        0 => 0,
        1 => bits.read(8) as i64 - 128,
        2 => bits.read(14) as i64 - 8192,
        3 => bits.read(20) as i64 - 524_288,
        _ => bits.read(64) as i64,
    }
}

/// The bits of a value that changed last: where the next change is likely.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ValueWindow {
    leading: u8,
    /// 0: no window yet.
    width: u8,
}

impl ValueWindow {
    /// Appends what distinguishes a value from the one before.
    #[inline]
    pub(crate) fn append(&mut self, bits: &mut BitString, difference: u64) {
        if difference == 0 {
            bits.push(0, 1);
            return;
        }
        let leading = difference.leading_zeros().min(31);
        let trailing = difference.trailing_zeros();
        let (open_leading, open_width) = (u32::from(self.leading), u32::from(self.width));
        let open_trailing = 64 - (open_leading + open_width);
        let width = 64 - leading - trailing;
        // A window much wider than needed costs more than a new one's eleven bits.
        let fits = open_width > 0 && leading >= open_leading && trailing >= open_trailing;
        if fits && open_width <= width + 11 {
            bits.push(0b10, 2);
            bits.push(difference >> open_trailing, open_width);
            return;
        }
        (self.leading, self.width) = (leading as u8, width as u8);
        bits.push(0b11 << 11 | u64::from(leading) << 6 | u64::from(width - 1), 13);
        bits.push(difference >> trailing, width);
    }
}

/// Reads what [`ValueWindow`] appended.
#[derive(Debug, Clone, Default)]
pub(crate) struct ValueReader {
    leading: u32,
    width: u32,
}

impl ValueReader {
    /// What distinguishes the next value from the one before.
    #[inline]
    pub(crate) fn read(&mut self, bits: &mut BitReader<'_>) -> u64 {
        if bits.read(1) == 0 {
            return 0;
        }
        if bits.read(1) == 1 {
            self.leading = bits.read(5) as u32;
            self.width = bits.read(6) as u32 + 1;
        }
        // Damaged words can name a window that does not fit, or none.
        let trailing = 64u32.saturating_sub(self.leading + self.width);
        if self.width == 0 { 0 } else { bits.read(self.width) << trailing }
    }
}

/// Where an open run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resume {
    pub(crate) last_time: i64,
    pub(crate) last_value: u64,
    pub(crate) step: i64,
    pub(crate) count: u16,
    pub(crate) free: u8,
    pub(crate) leading: u8,
    pub(crate) width: u8,
}

/// Reads the samples of a run.
#[derive(Debug, Clone)]
pub(crate) struct RunReader<'a> {
    bits: BitReader<'a>,
    left: u16,
    started: bool,
    time: i64,
    value: u64,
    step: i64,
    window: ValueReader,
}

impl<'a> RunReader<'a> {
    /// Reads `count` samples from `words`.
    pub(crate) fn new(words: &'a [u64], count: u16) -> Self {
        let bits = BitReader::new(words);
        let (started, time, value, step) = (false, 0, 0, 0);
        Self { bits, left: count, started, time, value, step, window: ValueReader::default() }
    }
}

impl Iterator for RunReader<'_> {
    type Item = (i64, u64);

    #[inline]
    fn next(&mut self) -> Option<(i64, u64)> {
        if self.left == 0 || self.bits.overran() {
            return None;
        }
        self.left -= 1;
        if !self.started {
            self.started = true;
            self.time = self.bits.read(64) as i64;
            self.value = self.bits.read(64);
            return Some((self.time, self.value));
        }
        self.step = self.step.wrapping_add(read_step_change(&mut self.bits));
        self.time = self.time.wrapping_add(self.step);
        self.value ^= self.window.read(&mut self.bits);
        Some((self.time, self.value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(usize::from(self.left)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples() -> impl Strategy<Value = Vec<(i64, u64)>> {
        let step = prop_oneof![Just(15_000i64), 14_990..15_010i64, 1..1_000_000i64, any::<i64>()];
        let value = prop_oneof![
            Just(1.0f64.to_bits()),
            (0u32..100).prop_map(|v| f64::from(v).to_bits()),
            any::<u64>(),
        ];
        proptest::collection::vec((step, value), 0..150).prop_map(|steps| {
            let mut time = 1_700_000_000_000i64;
            let advance = |(step, value): (i64, u64)| {
                time = time.wrapping_add(step);
                (time, value)
            };
            steps.into_iter().map(advance).collect()
        })
    }

    fn run(samples: &[(i64, u64)]) -> OpenRun {
        let mut run = OpenRun::default();
        samples.iter().for_each(|&(time, value)| run.append(time, value));
        run
    }

    proptest! {
        #[test]
        fn samples_read_back_bit_by_bit(samples in samples()) {
            let run = run(&samples);
            prop_assert_eq!(run.samples(), samples);
        }

        #[test]
        fn a_run_resumes_where_it_was_stored(samples in samples(), at in 0usize..150) {
            let at = at.min(samples.len());
            let first = run(&samples[..at]);
            let mut resumed = OpenRun::resume(first.words().collect(), first.cursor()).expect("valid");
            samples[at..].iter().for_each(|&(time, value)| resumed.append(time, value));
            prop_assert_eq!(resumed, run(&samples));
        }

        #[test]
        fn arbitrary_words_never_panic(words: Vec<u64>, count: u16) {
            RunReader::new(&words, count).for_each(drop);
        }
    }

    #[test]
    fn a_regular_constant_series_takes_two_bits_a_sample() {
        let samples: Vec<_> = (0..120).map(|i| (i * 15_000, 7)).collect();
        assert!(run(&samples).word_count() * 8 <= 16 + 8 + 120 / 4 + 8);
    }
}
