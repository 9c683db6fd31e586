//! Tells a torn end of RocksDB's write-ahead log from damage within it.
//!
//! RocksDB ends its replay where a record is not whole. A crash leaves the last batch so, which was
//! never acknowledged. Anywhere else it is damage: whole batches behind it were synced, and would
//! be forgotten without a word. Every batch says which sequence numbers it holds, so the files tell
//! by themselves whether one is missing between two.
//!
//! The format is that of RocksDB's wiki, "Write Ahead Log File Format": blocks of 32 KiB, each a
//! run of fragments that never cross into the next,
//!
//! ```text
//! crc32c, masked (4) | length (2) | type (1) | log number (4), only in a log written over another
//! ```
//!
//! little-endian, and in the first fragment of a batch its first sequence number (8) and the count
//! of its operations (4).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Buf;

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
const RECYCLED_HEADER_BYTES: usize = 11;
/// First sequence number and count of a batch.
const HEAD_BYTES: usize = 12;
/// What RocksDB adds to a rotated checksum before it stores it.
const CRC_MASK_DELTA: u32 = 0xa282_ead8;

/// Batches of a log that are whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batches {
    /// The last sequence number of the newest.
    pub last: u64,
    /// No sequence number is missing from the first to there. Where some are, a file in between
    /// may have served its time, or a batch is damaged.
    pub contiguous: bool,
}

/// The whole batches of all log files in a database's folder; `None` where there are none.
pub fn batches(folder: &Path) -> io::Result<Option<Batches>> {
    let mut found = None;
    for (number, path) in files(folder)? {
        scan(&fs::read(path)?, number, &mut |first, count| {
            let last = first.saturating_add(u64::from(count)).saturating_sub(1);
            found = Some(match found {
                None => Batches { last, contiguous: true },
                Some(Batches { last: before, contiguous }) => Batches {
                    last: last.max(before),
                    contiguous: contiguous && first == before.saturating_add(1),
                },
            });
        });
    }
    Ok(found)
}

/// The log files by their number.
fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        files.extend(number.filter(|_| is_log).map(|number| (number, path)));
    }
    files.sort_unstable();
    Ok(files)
}

/// Where a fragment stands in its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Full,
    First,
    Middle,
    Last,
}

/// Gives the first sequence number and the count of each whole batch of the log `number`.
fn scan(log: &[u8], number: u64, batch: &mut dyn FnMut(u64, u32)) {
    // How an unfinished batch begins. Its first fragment may be too short for all of the head.
    let mut begun: Option<Vec<u8>> = None;
    for block in log.chunks(BLOCK_BYTES) {
        let mut rest = block;
        while rest.len() >= HEADER_BYTES {
            let Some((place, payload, after)) = fragment(rest, number) else {
                // A torn write, what the file held before, or its end: the next block begins anew.
                begun = None;
                break;
            };
            rest = after;
            if matches!(place, Place::Full | Place::First) {
                begun = Some(Vec::with_capacity(HEAD_BYTES));
            }
            let Some(head) = &mut begun else { continue };
            let lacking = HEAD_BYTES - head.len();
            head.extend_from_slice(&payload[..payload.len().min(lacking)]);
            if matches!(place, Place::Full | Place::Last) {
                let mut head = head.as_slice();
                if let (Ok(first), Ok(count)) = (head.try_get_u64_le(), head.try_get_u32_le()) {
                    batch(first, count);
                }
                begun = None;
            }
        }
    }
}

/// The first fragment in `rest` and what follows it; `None` unless it is whole and of this log.
fn fragment(rest: &[u8], number: u64) -> Option<(Place, &[u8], &[u8])> {
    let mut header = rest;
    let (crc, length, kind) =
        (header.try_get_u32_le().ok()?, header.try_get_u16_le().ok()?, header.try_get_u8().ok()?);
    let (place, header_bytes) = match kind {
        1 => (Place::Full, HEADER_BYTES),
        2 => (Place::First, HEADER_BYTES),
        3 => (Place::Middle, HEADER_BYTES),
        4 => (Place::Last, HEADER_BYTES),
        5 => (Place::Full, RECYCLED_HEADER_BYTES),
        6 => (Place::First, RECYCLED_HEADER_BYTES),
        7 => (Place::Middle, RECYCLED_HEADER_BYTES),
        8 => (Place::Last, RECYCLED_HEADER_BYTES),
        _ => return None,
    };
    // Only the lower half of a log's number is kept.
    if header_bytes == RECYCLED_HEADER_BYTES
        && header.try_get_u32_le().ok()? != (number & u64::from(u32::MAX)) as u32
    {
        return None;
    }
    let end = header_bytes + usize::from(length);
    // The checksum covers the type and all behind it.
    let covered = rest.get(HEADER_BYTES - 1..end)?;
    if crc.wrapping_sub(CRC_MASK_DELTA).rotate_right(17) != crc32c::crc32c(covered) {
        return None;
    }
    Some((place, &rest[header_bytes..end], &rest[end..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(crc: u32) -> u32 {
        crc.rotate_right(15).wrapping_add(CRC_MASK_DELTA)
    }

    /// A log of `number` with batches of these sizes and of one operation each, from sequence
    /// number 1 on; also where each ends.
    fn log(number: u32, sizes: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let (mut log, mut ends) = (Vec::new(), Vec::new());
        for (sequence, size) in (1u64..).zip(sizes) {
            let mut payload = sequence.to_le_bytes().to_vec();
            payload.extend_from_slice(&1u32.to_le_bytes());
            payload.resize(12 + size, number as u8);
            let mut rest = payload.as_slice();
            let mut first = true;
            loop {
                let room = BLOCK_BYTES - log.len() % BLOCK_BYTES;
                if room < RECYCLED_HEADER_BYTES {
                    log.resize(log.len() + room, 0);
                    continue;
                }
                let taken = rest.len().min(room - RECYCLED_HEADER_BYTES);
                let (now, later) = rest.split_at(taken);
                let kind = match (first, later.is_empty()) {
                    (true, true) => 5u8,
                    (true, false) => 6,
                    (false, false) => 7,
                    (false, true) => 8,
                };
                let mut covered = vec![kind];
                covered.extend_from_slice(&number.to_le_bytes());
                covered.extend_from_slice(now);
                log.extend_from_slice(&mask(crc32c::crc32c(&covered)).to_le_bytes());
                log.extend_from_slice(&u16::try_from(taken).unwrap().to_le_bytes());
                log.extend_from_slice(&covered);
                (rest, first) = (later, false);
                if rest.is_empty() {
                    break;
                }
            }
            ends.push(log.len());
        }
        (log, ends)
    }

    fn found(log: &[u8], number: u64) -> Vec<u64> {
        let mut found = Vec::new();
        scan(log, number, &mut |first, _| found.push(first));
        found
    }

    proptest! {
        #[test]
        fn all_batches_before_a_torn_end_are_found(
            sizes in prop::collection::vec(0usize..100_000, 1..20),
            old in prop::collection::vec(0usize..100_000, 0..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let (new, ends) = log(9, &sizes);
            let (mut file, _) = log(7, &old);
            let cut = cut.index(new.len() + 1);
            // A log written over an older one, torn at any byte.
            file.resize(file.len().max(cut), 0);
            file[..cut].copy_from_slice(&new[..cut]);
            // What is torn may end in bytes that were there before.
            let is_whole = |end: &&usize| file.get(..**end) == Some(&new[..**end]);
            let whole = ends.iter().filter(is_whole).count() as u64;
            prop_assert_eq!(found(&file, 9), (1..=whole).collect::<Vec<_>>());
        }

        #[test]
        fn nothing_is_found_in_noise(noise in prop::collection::vec(any::<u8>(), 0..100_000)) {
            prop_assert_eq!(found(&noise, 9), Vec::<u64>::new());
        }
    }

    #[test]
    fn the_head_of_a_batch_may_lie_in_two_blocks() {
        for left in 0..HEAD_BYTES {
            let size = 3 * (BLOCK_BYTES - RECYCLED_HEADER_BYTES) - HEAD_BYTES;
            let (log, ends) = log(9, &[size - RECYCLED_HEADER_BYTES - left, 5, 5]);
            assert_eq!(BLOCK_BYTES - ends[0] % BLOCK_BYTES, RECYCLED_HEADER_BYTES + left);
            assert_eq!(found(&log, 9), [1, 2, 3], "{left} bytes in the first");
        }
    }

    #[test]
    fn a_damaged_batch_leaves_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let (mut bytes, ends) = log(12, &[10, 50_000, 10]);
        fs::write(folder.path().join("000012.log"), &bytes).unwrap();
        fs::write(folder.path().join("CURRENT"), "").unwrap();
        let all = Batches { last: 3, contiguous: true };
        assert_eq!(batches(folder.path()).unwrap(), Some(all));
        bytes[ends[0] + 100] ^= 1;
        fs::write(folder.path().join("000012.log"), &bytes).unwrap();
        let damaged = Batches { last: 3, contiguous: false };
        assert_eq!(batches(folder.path()).unwrap(), Some(damaged));
        assert_eq!(batches(&folder.path().join("none")).unwrap(), None);
    }
}
