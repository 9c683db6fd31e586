//! The full runs of an open chunk, in one piece of memory.
//!
//! ```text
//! runs := { head u64, words u64 }        head: form u8, samples u16, words u32, from the lowest bits
//! ```
//!
//! Half a million series have runs, and what an allocation costs beside its bytes would be a fifth
//! of them. They are at most four and immutable: another one makes a new piece, and whoever reads
//! keeps the old one.

use std::sync::Arc;

use crate::{
    bytes::Malformed,
    packed::{PackedReader, pack},
    xor::RunReader,
};

/// How a run's words are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunForm {
    /// As the XOR codec left it.
    Xor = 0,
    /// packed.rs.
    Packed = 1,
}

impl RunForm {
    /// The form of a number.
    pub(crate) fn of(number: u8) -> Result<Self, Malformed> {
        match number {
            0 => Ok(Self::Xor),
            1 => Ok(Self::Packed),
            _ => Err(Malformed("run form unknown to this program")),
        }
    }
}

/// Samples that no longer change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) form: RunForm,
    pub(crate) count: u16,
    pub(crate) words: &'a [u64],
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Runs(Option<Arc<[u64]>>);

impl Runs {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Run<'_>> {
        let mut rest = self.0.as_deref().unwrap_or(&[]);
        std::iter::from_fn(move || {
            let (head, behind) = rest.split_first()?;
            let form = if *head as u8 == 0 { RunForm::Xor } else { RunForm::Packed };
            let (words, behind) = behind.split_at((head >> 24) as usize);
            rest = behind;
            Some(Run { form, count: (head >> 8) as u16, words })
        })
    }

    /// The time of the first sample.
    pub(crate) fn start(&self) -> Option<i64> {
        self.iter().next().map(|run| run.start())
    }

    /// The time of the last sample.
    pub(crate) fn end(&self) -> Option<i64> {
        Some(self.iter().last()?.samples().last()?.0)
    }

    /// Adds a run.
    pub(crate) fn push(&mut self, run: Run<'_>) {
        let head = run.form as u64 | u64::from(run.count) << 8 | (run.words.len() as u64) << 24;
        let before = self.0.as_deref().unwrap_or(&[]);
        let words = before.iter().chain(std::iter::once(&head)).chain(run.words);
        let mut runs = Vec::with_capacity(before.len() + 1 + run.words.len());
        runs.extend(words);
        self.0 = Some(runs.into());
    }

    /// Adds a run that the XOR codec made, packed if that makes it smaller.
    pub(crate) fn push_packed(&mut self, run: Run<'_>) {
        match pack(run.words, run.count) {
            Some(words) => {
                self.push(Run { form: RunForm::Packed, count: run.count, words: &words })
            }
            None => self.push(run),
        }
    }

    /// Bytes of memory behind them.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |words| words.len() * 8 + 16)
    }
}

impl<'a> Run<'a> {
    /// One that the XOR codec made.
    pub(crate) fn xor(words: &'a [u64], count: u16) -> Self {
        Self { form: RunForm::Xor, count, words }
    }

    pub(crate) fn samples(&self) -> RunSamples<'a> {
        match self.form {
            RunForm::Xor => RunSamples::Xor(RunReader::new(self.words, self.count)),
            RunForm::Packed => RunSamples::Packed(PackedReader::new(self.words, self.count)),
        }
    }

    /// The time of the first sample: all forms begin with it.
    pub(crate) fn start(&self) -> i64 {
        self.words.first().map_or(i64::MAX, |&time| time as i64)
    }
}

/// Reads a run, whatever its form.
#[derive(Debug, Clone)]
pub(crate) enum RunSamples<'a> {
    Xor(RunReader<'a>),
    Packed(PackedReader<'a>),
}

impl Iterator for RunSamples<'_> {
    type Item = (i64, u64);

    #[inline]
    fn next(&mut self) -> Option<(i64, u64)> {
        match self {
            Self::Xor(samples) => samples.next(),
            Self::Packed(samples) => samples.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Xor(samples) => samples.size_hint(),
            Self::Packed(samples) => samples.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::xor::OpenRun;

    proptest! {
        #[test]
        fn runs_read_back(
            parts in proptest::collection::vec((proptest::collection::vec(0u32..90, 1..130), any::<bool>()), 0..5),
        ) {
            let (mut runs, mut all, mut starts, mut time) = (Runs::default(), Vec::new(), Vec::new(), 0);
            for (values, is_packed) in &parts {
                let mut run = OpenRun::default();
                starts.push(time + 15_000);
                for value in values {
                    time += 15_000;
                    all.push((time, f64::from(*value).to_bits()));
                    run.append(time, f64::from(*value).to_bits());
                }
                let words: Vec<u64> = run.words().collect();
                let run = Run::xor(&words, run.count());
                if *is_packed { runs.push_packed(run) } else { runs.push(run) }
            }
            prop_assert_eq!(runs.len(), parts.len());
            prop_assert_eq!(runs.is_empty(), parts.is_empty());
            prop_assert_eq!(runs.iter().map(|run| run.start()).collect::<Vec<_>>(), starts);
            prop_assert_eq!(runs.start(), all.first().map(|first| first.0));
            prop_assert_eq!(runs.end(), all.last().map(|last| last.0));
            let read: Vec<_> = runs.iter().flat_map(|run| run.samples()).collect();
            prop_assert_eq!(read, all);
        }
    }
}
