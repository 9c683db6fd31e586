//! The guard over a node's disk: new series are refused when it gets full, samples when it gets
//! fuller, so that checkpoints, compaction and deletion always find room.
//!
//! Thresholds are shares of the disk, but never more than what they are for: a large disk that is
//! 95 % full has room for weeks. A file, the ballast, holds back what a node without any room left
//! would need to make some; it goes when samples are refused, and comes back when they are taken
//! again.
//!
//! What a node with too little space does:
//! * shards it leads tell all replicas to refuse new series (`upkeep.rs`); others go on;
//! * below the second threshold it takes no samples and, as a follower, no entries, and hands over
//!   what it leads. Its peers go on without it, and it catches up when there is room again.
//!
//! `judge` decides; `watch` looks every second and performs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tracing::{error, info, warn};

use crate::{node::Shared, shard::Replicas};

/// How often the disk is looked at.
const TURN: Duration = Duration::from_secs(1);
const MIB: u64 = 1 << 20;
/// Below this, or a tenth of the disk where that is less, new series are refused: several
/// checkpoints and compactions.
const SERIES_FREE_MIN: u64 = 1024 * MIB;
/// Below this, or a twentieth of the disk, samples are refused: a flush and a compaction of all
/// that a node holds unwritten.
const WRITES_FREE_MIN: u64 = 512 * MIB;
/// Ballast, or a hundredth of the disk: RocksDB's largest file but few.
const BALLAST_BYTES: u64 = 256 * MIB;

/// What a node takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiskState {
    /// Everything.
    #[default]
    Ample,
    /// Samples of series that are known.
    NoNewSeries,
    /// Nothing but what makes room.
    ReadOnly,
}

impl DiskState {
    /// As status names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ample => "ample",
            Self::NoNewSeries => "no_new_series",
            Self::ReadOnly => "read_only",
        }
    }
}

/// Room on the disk of a node's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskSpace {
    /// Bytes of the file system.
    pub total: u64,
    /// Bytes that this process may still write, without what the ballast lacks.
    pub free: u64,
}

impl DiskSpace {
    /// Free bytes below which new series are refused.
    pub const fn series_free_min(self) -> u64 {
        least(SERIES_FREE_MIN, self.total / 10)
    }

    /// Free bytes below which samples are refused.
    pub const fn writes_free_min(self) -> u64 {
        least(WRITES_FREE_MIN, self.total / 20)
    }

    const fn ballast(self) -> u64 {
        least(BALLAST_BYTES, self.total / 100)
    }
}

const fn least(a: u64, b: u64) -> u64 {
    if a < b { a } else { b }
}

/// What the node takes from now on. It takes more again only an eighth above a threshold, so that
/// it does not go to and fro.
pub fn judge(space: DiskSpace, before: DiskState) -> DiskState {
    let is_below = |least: u64, was_below: bool| {
        space.free < if was_below { least + least / 8 } else { least }
    };
    let was = |state: DiskState| before as u8 >= state as u8;
    if is_below(space.writes_free_min(), was(DiskState::ReadOnly)) {
        DiskState::ReadOnly
    } else if is_below(space.series_free_min(), was(DiskState::NoNewSeries)) {
        DiskState::NoNewSeries
    } else {
        DiskState::Ample
    }
}

/// What the guard found last.
#[derive(Debug, Default)]
pub struct DiskGuard(Mutex<(DiskState, DiskSpace)>);

impl DiskGuard {
    /// What the node takes, and the room there was when that was decided.
    pub fn now(&self) -> (DiskState, DiskSpace) {
        *self.0.lock()
    }

    /// Why samples are refused, if they are.
    pub fn check_writes(&self) -> Result<(), String> {
        match self.now() {
            (DiskState::ReadOnly, _) => Err(self.reason()),
            _ => Ok(()),
        }
    }

    /// What is refused, and why; empty while nothing is.
    pub fn reason(&self) -> String {
        let (state, space) = self.now();
        let (what, least) = match state {
            DiskState::Ample => return String::new(),
            DiskState::NoNewSeries => ("new series are", space.series_free_min()),
            DiskState::ReadOnly => ("samples are", space.writes_free_min()),
        };
        format!(
            "{what} refused: the disk has {} MiB left, and needs {} MiB",
            space.free / MIB,
            (least + least / 8).div_ceil(MIB)
        )
    }
}

/// Looks at the disk and acts on it, until the node stops.
pub(crate) async fn watch(shared: Arc<Shared>, replicas: Arc<Replicas>) {
    let ballast = shared.folder.join("BALLAST");
    loop {
        let (folder, ballast) = (shared.folder.clone(), ballast.clone());
        let before = shared.disk.now().0;
        let looked = tokio::task::spawn_blocking(move || look(&folder, &ballast, before)).await;
        match looked.expect("BUG: looking at the disk panicked") {
            Ok((state, space)) => {
                *shared.disk.0.lock() = (state, space);
                shared.raft.network.refuse_entries(state == DiskState::ReadOnly);
                if state != before {
                    tell(&shared, state, space);
                }
                if state == DiskState::ReadOnly && before != DiskState::ReadOnly {
                    replicas.hand_over().await;
                }
            }
            Err(problem) => error!(error = %problem, "free space of the disk is not known"),
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(TURN) => {}
        }
    }
}

fn tell(shared: &Shared, state: DiskState, space: DiskSpace) {
    let free_mib = space.free / MIB;
    match state {
        DiskState::Ample => info!(free_mib, "the disk has room again"),
        DiskState::NoNewSeries => warn!(free_mib, reason = shared.disk.reason(), "disk is filling"),
        DiskState::ReadOnly => error!(free_mib, reason = shared.disk.reason(), "disk is full"),
    }
}

/// Judges the disk, and puts the ballast there or takes it away. Blocks on the disk.
fn look(folder: &Path, ballast: &PathBuf, before: DiskState) -> io::Result<(DiskState, DiskSpace)> {
    let found = statvfs(folder)?;
    let (total, available) = (found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize);
    let held = fs::metadata(ballast).map_or(0, |file| file.len());
    let wanted = DiskSpace { total, free: 0 }.ballast();
    let space = DiskSpace { total, free: available.saturating_sub(wanted.saturating_sub(held)) };
    let state = judge(space, before);
    if state == DiskState::ReadOnly && held > 0 {
        fs::remove_file(ballast)?;
    } else if state == DiskState::Ample && held < wanted {
        let file = fs::OpenOptions::new().create(true).append(true).open(ballast)?;
        // Not every file system can. What the ballast lacks counts as used, which is as good until
        // something else takes it.
        let _ = fallocate(&file, FallocateFlags::empty(), 0, wanted);
    }
    Ok((state, space))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * MIB;

    fn space(total: u64, free: u64) -> DiskSpace {
        DiskSpace { total, free }
    }

    #[test]
    fn small_disks_go_by_shares_and_large_ones_by_bytes() {
        let fresh = |total, free| judge(space(total, free), DiskState::Ample);
        assert_eq!(fresh(400 * MIB, 41 * MIB), DiskState::Ample);
        assert_eq!(fresh(400 * MIB, 39 * MIB), DiskState::NoNewSeries);
        assert_eq!(fresh(400 * MIB, 19 * MIB), DiskState::ReadOnly);
        assert_eq!(fresh(1000 * GIB, 2 * GIB), DiskState::Ample, "a full laptop");
        assert_eq!(fresh(1000 * GIB, GIB - 1), DiskState::NoNewSeries);
        assert_eq!(fresh(1000 * GIB, GIB / 2 - 1), DiskState::ReadOnly);
    }

    #[test]
    fn a_threshold_is_left_only_well_above_it() {
        let judge = |free, before| judge(space(1000 * GIB, free), before);
        assert_eq!(judge(GIB / 2 + 1, DiskState::ReadOnly), DiskState::ReadOnly);
        assert_eq!(judge(GIB / 2 + GIB / 8, DiskState::ReadOnly), DiskState::NoNewSeries);
        assert_eq!(judge(GIB + 1, DiskState::ReadOnly), DiskState::NoNewSeries);
        assert_eq!(judge(2 * GIB, DiskState::ReadOnly), DiskState::Ample);
        assert_eq!(judge(GIB + 1, DiskState::NoNewSeries), DiskState::NoNewSeries);
    }

    #[test]
    fn the_ballast_is_there_while_there_is_room() {
        let folder = tempfile::tempdir().expect("folder");
        let ballast = folder.path().join("BALLAST");
        let (state, space) = look(folder.path(), &ballast, DiskState::Ample).expect("looked");
        assert_eq!(state, DiskState::Ample, "tests need room: {space:?}");
        let held = fs::metadata(&ballast).expect("made").len();
        assert_eq!(held, space.ballast());
        look(folder.path(), &ballast, DiskState::Ample).expect("looked again");
        assert_eq!(fs::metadata(&ballast).expect("kept").len(), held);
    }

    #[test]
    fn the_reason_names_what_is_missing() {
        let guard = DiskGuard::default();
        assert_eq!((guard.reason(), guard.check_writes()), (String::new(), Ok(())));
        *guard.0.lock() = (DiskState::ReadOnly, space(400 * MIB, 7 * MIB));
        let reason = "samples are refused: the disk has 7 MiB left, and needs 23 MiB";
        assert_eq!(guard.check_writes(), Err(reason.to_owned()));
    }
}
