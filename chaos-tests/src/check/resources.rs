//! What processes hold, and what they have said that nobody may ever say.

use std::fs;

use crate::bed::Bed;

/// A node may hold so many more bytes than before the faults: what it took meanwhile, and what an
/// allocator has not given back.
const MORE_BYTES_MAX: u64 = 192 << 20;
/// A node may have so many more files open: connections and tables come and go.
const MORE_FILES_MAX: usize = 64;
/// Words of a log that a failure of the program has left.
const ALARMS: [&str; 3] = ["panicked at", "BUG:", "fatal runtime error"];

/// Of one node at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Resident memory.
    pub bytes: u64,
    /// Open files.
    pub files: usize,
}

impl Held {
    /// What the nodes hold that run now.
    pub fn by_nodes(bed: &Bed) -> Vec<Option<Self>> {
        let pid = |host| bed.process(host).map(crate::node::Process::id);
        (1..=bed.shape().nodes).map(|host| Self::of(pid(host)?)).collect()
    }

    fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = resident.split_whitespace().next()?.parse().ok()?;
        let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        Some(Self { bytes: kib * 1024, files })
    }

    /// Whether this is too much, after `before`.
    fn is_too_much(self, before: Self) -> bool {
        self.bytes > before.bytes + MORE_BYTES_MAX || self.files > before.files + MORE_FILES_MAX
    }
}

/// Nodes that hold too much more than before, in words.
pub fn leaks(before: &[Option<Held>], after: &[Option<Held>]) -> Vec<String> {
    let pairs = before.iter().zip(after).enumerate();
    let too_much = pairs.filter_map(|(at, (before, after))| {
        let (before, after) = ((*before)?, (*after)?);
        after.is_too_much(before).then(|| format!("n{}: {before:?} became {after:?}", at + 1))
    });
    too_much.collect()
}

/// Lines that say that the program has failed.
pub fn alarms(bed: &Bed) -> Vec<String> {
    let mut found = Vec::new();
    for host in 1..=bed.shape().nodes {
        let log = bed.log(host);
        let lines = log.lines().filter(|line| ALARMS.iter().any(|alarm| line.contains(alarm)));
        found.extend(lines.map(|line| format!("n{host}: {line}")));
    }
    found
}
