//! Whose CPU a sample takes: the threads of a system, by their names.

use std::collections::BTreeMap;

use procfs::process::Process;

/// What threads of one name do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    Front,
    Service,
    Raft,
    Log,
    Apply,
    Seal,
    Flush,
    Other,
}

impl Work {
    /// All, in the order of a sample's way.
    pub const ALL: [Self; 8] = [
        Self::Front,
        Self::Service,
        Self::Raft,
        Self::Log,
        Self::Apply,
        Self::Seal,
        Self::Flush,
        Self::Other,
    ];

    /// For the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Front => "front: HTTP, snappy, series numbers, the answer",
            Self::Service => "nodes' service: hop to the leader, the entry",
            Self::Raft => "raft: openraft, streams between nodes",
            Self::Log => "log: batch and sync",
            Self::Apply => "apply",
            Self::Seal => "seal, checkpoint, merge",
            Self::Flush => "flush and compaction of both databases",
            Self::Other => "other: allocator, supervisor, threads that ended",
        }
    }

    /// Threads of a runtime and of its blocking pool have one name. In one process the front's
    /// threads do the service's work, too.
    fn of(thread: &str) -> Self {
        match thread.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-') {
            "front" => Self::Front,
            "node" | "tokio-rt-worker" => Self::Service,
            "raft" => Self::Raft,
            "raft-log" | "raft-watermark" => Self::Log,
            "apply" => Self::Apply,
            "checkpoint" | "rewrite" => Self::Seal,
            "rocksdb:low" | "rocksdb:high" | "rocksdb:bottom" => Self::Flush,
            _ => Self::Other,
        }
    }
}

/// CPU seconds by work.
pub type Profile = BTreeMap<Work, f64>;

/// What threads have used since the first look. What a thread has used between two looks is
/// filed under the name that it has at the second: threads of a pool change theirs with what they
/// do. What one used after the last look at it is in [`Work::Other`].
#[derive(Debug, Default)]
pub struct ThreadTimes {
    /// At the last look, by process, thread and start: ids are used again.
    last_ticks: BTreeMap<(i32, i32, u64), u64>,
    used_ticks: BTreeMap<Work, u64>,
    looks: u64,
}

impl ThreadTimes {
    /// Looks at all threads. One that was not there at the first look has used nothing before.
    pub fn look(&mut self, processes: &[Process]) {
        for task in processes.iter().filter_map(|process| process.tasks().ok()).flatten().flatten()
        {
            // A thread may end while one looks at it.
            let Ok(stat) = task.stat() else { continue };
            let ticks = stat.utime + stat.stime;
            let last = self.last_ticks.insert((task.pid, task.tid, stat.starttime), ticks);
            let before = last.unwrap_or(if self.looks == 0 { ticks } else { 0 });
            let used = self.used_ticks.entry(Work::of(&stat.comm)).or_default();
            *used += ticks.saturating_sub(before);
        }
        self.looks += 1;
    }

    /// Between the first look and the last, of `whole` seconds that the processes took.
    pub fn profile(&self, whole: f64) -> Profile {
        let mut profile: Profile = Work::ALL.into_iter().map(|work| (work, 0.0)).collect();
        for (work, ticks) in &self.used_ticks {
            profile.insert(*work, *ticks as f64 / procfs::ticks_per_second() as f64);
        }
        let seen: f64 = profile.values().sum();
        *profile.entry(Work::Other).or_default() += (whole - seen).max(0.0);
        profile
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::now;

    #[test]
    fn threads_are_known_by_their_names() {
        assert_eq!(Work::of("apply-11"), Work::Apply);
        assert_eq!(Work::of("raft"), Work::Raft);
        assert_eq!(Work::of("raft-log"), Work::Log);
        assert_eq!(Work::of("rocksdb:low"), Work::Flush);
        assert_eq!(Work::of("jemalloc_bg_thd"), Work::Other);
    }

    #[test]
    fn time_goes_to_the_thread_that_takes_it() {
        let this = || vec![Process::myself().unwrap()];
        let mut times = ThreadTimes::default();
        times.look(&this());
        let (ended, end) = std::sync::mpsc::sync_channel::<()>(0);
        let busy = std::thread::Builder::new().name("apply-7".to_owned());
        let busy = busy.spawn(move || {
            let start = now();
            while start.elapsed() < Duration::from_millis(300) {
                std::hint::spin_loop();
            }
            // It stays to be looked at.
            let _ = end.recv();
        });
        crate::clock::pause(Duration::from_millis(500));
        times.look(&this());
        drop(ended);
        busy.unwrap().join().unwrap();
        let profile = times.profile(100.0);
        assert!(profile[&Work::Apply] > 0.02, "{profile:?}");
        assert_eq!(profile[&Work::Raft], 0.0);
        let sum: f64 = profile.values().sum();
        assert!((sum - 100.0).abs() < 1e-6, "what nobody is seen to take is in other: {profile:?}");
    }
}
