//! The receiving end of a transfer.

use xxhash_rust::xxh3::xxh3_64;

use super::{HeldPart, PartRange, TransferPart, VERSION, of_replica};
use crate::{
    ReplicaNumber,
    bytes::Malformed,
    kv::{Batch, KeyValue, KvError, Space},
    page::unseal,
};

/// Why a part was not taken. The transfer is begun anew; what was taken before is kept.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store failed.
    #[error("write part of checkpoint")]
    Store(#[from] KvError),
    /// The content is not what its hash says, or no records.
    #[error("part of checkpoint is damaged")]
    Damaged(#[from] Malformed),
    /// Parts are missing, or come twice.
    #[error("part of checkpoint in {space} begins at {start:02x?}, not where the last one ended")]
    Gap {
        /// Of which space.
        space: &'static str,
        /// Where it begins.
        start: Vec<u8>,
    },
    /// The sender believes that this part is here.
    #[error("part of checkpoint in {space} at {start:02x?} is not here")]
    NotHeld {
        /// Of which space.
        space: &'static str,
        /// Where it begins.
        start: Vec<u8>,
    },
    /// The transfer ended too early.
    #[error("checkpoint ends within {space}")]
    Incomplete {
        /// The space that has no end.
        space: &'static str,
    },
}

/// A replica that is being filled, under a number that nothing else has. It survives failed
/// attempts: each one begins by telling the sender what is here.
#[derive(Debug)]
pub struct Import {
    replica: ReplicaNumber,
    /// From earlier attempts, in order.
    held: Vec<HeldPart>,
    /// From this one.
    taken: Vec<HeldPart>,
    /// Where the next part must begin; `None` behind the last space.
    next: Option<(Space, Vec<u8>)>,
}

impl Import {
    /// Nothing is here yet.
    pub fn new(replica: ReplicaNumber) -> Self {
        let (held, taken) = (Vec::new(), Vec::new());
        Self { replica, held, taken, next: Some((Space::ALL[0], Vec::new())) }
    }

    /// The number it is filled under.
    pub fn replica(&self) -> ReplicaNumber {
        self.replica
    }

    /// Begins an attempt; gives what is here from earlier ones. The last attempt has replaced what
    /// lies before its end; what lies behind is as it was.
    pub fn begin(&mut self) -> Vec<HeldPart> {
        let end = self.next.replace((Space::ALL[0], Vec::new()));
        let is_behind = |part: &HeldPart| {
            let start = (part.range.space, &part.range.start);
            end.as_ref().is_some_and(|(space, key)| start >= (*space, key))
        };
        let old = std::mem::take(&mut self.held).into_iter().filter(is_behind);
        self.held = std::mem::take(&mut self.taken).into_iter().chain(old).collect();
        self.held.clone()
    }

    /// Takes the next part. Blocks on the disk.
    pub fn take(&mut self, kv: &dyn KeyValue, part: TransferPart) -> Result<(), ImportError> {
        let TransferPart { range, hash, content } = part;
        let (space, start) = (range.space, range.start.clone());
        if self.next.as_ref() != Some(&(space, start.clone())) {
            return Err(ImportError::Gap { space: space.name(), start });
        }
        match content {
            Some(content) => self.write(kv, &range, (hash, &content))?,
            None if self.holds(&range, hash) => {}
            None => return Err(ImportError::NotHeld { space: space.name(), start }),
        }
        self.next = match &range.end {
            Some(end) => Some((space, end.clone())),
            None => following(space).map(|space| (space, Vec::new())),
        };
        self.taken.push(HeldPart { range, hash });
        Ok(())
    }

    /// Says whether everything is here.
    pub fn check_complete(&self) -> Result<(), ImportError> {
        match &self.next {
            Some((space, _)) => Err(ImportError::Incomplete { space: space.name() }),
            None => Ok(()),
        }
    }

    fn holds(&self, range: &PartRange, hash: u64) -> bool {
        let place = |part: &HeldPart| {
            (part.range.space, part.range.start.as_slice()).cmp(&(range.space, &range.start))
        };
        let found = self.held.binary_search_by(place).ok().map(|at| &self.held[at]);
        found.is_some_and(|held| held.range == *range && held.hash == hash)
    }

    fn write(
        &self,
        kv: &dyn KeyValue,
        range: &PartRange,
        (hash, content): (u64, &[u8]),
    ) -> Result<(), ImportError> {
        if xxh3_64(content) != hash {
            return Err(Malformed("hash").into());
        }
        let keys = of_replica(self.replica, range);
        let mut batch = Batch::default();
        batch.delete_range(range.space, keys.start.clone(), keys.end.clone());
        let mut records = unseal(content, VERSION)?;
        while !records.is_empty() {
            let key = [&self.replica.0.to_be_bytes(), records.block("key")?].concat();
            if !keys.contains(&key) {
                return Err(Malformed("key outside of its part").into());
            }
            batch.put(range.space, key, records.block("value")?.to_vec());
        }
        Ok(kv.write(batch)?)
    }
}

fn following(space: Space) -> Option<Space> {
    let at = Space::ALL.iter().position(|it| *it == space)?;
    Space::ALL.get(at + 1).copied()
}
