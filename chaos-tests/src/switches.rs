//! A node's wall clock and its syncs, in the hands of a test: a library that the node is preloaded
//! with looks at switches in a file. Needs a C compiler, which the build needs too.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::node::run;

const SOURCE: &str = include_str!("shim.c");
const PAGE_BYTES: u64 = 4096;
const WORD_BYTES: u64 = 8;

/// What a sync fails with when its device does.
pub const EIO: i64 = 5;

/// A place of `struct switches` in shim.c.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    ClockMillis,
    SyncErrno,
    SyncMillis,
    MovedReads,
    FailedSyncs,
}

/// The compiled library.
#[derive(Debug)]
pub struct Shim(PathBuf);

impl Shim {
    /// Compiles it in `folder`.
    pub fn compile(folder: &Path) -> Result<Self, String> {
        let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
        std::fs::write(&source, SOURCE).map_err(|error| error.to_string())?;
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O2", "-o"]).args([&library, &source]);
        run(&mut command)?;
        Ok(Self(library))
    }
}

/// The switches of one node; all are off at first.
#[derive(Debug)]
pub struct Switches {
    path: PathBuf,
    file: File,
}

impl Switches {
    /// Makes them, in this file.
    pub fn create(path: &Path) -> Result<Self, String> {
        let mut options = File::options();
        let file = options.create(true).truncate(true).read(true).write(true).open(path);
        let file = file.map_err(|error| error.to_string())?;
        file.set_len(PAGE_BYTES).map_err(|error| error.to_string())?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Lets a program look at them from its start on.
    pub fn preload(&self, shim: &Shim, command: &mut Command) {
        command.env("LD_PRELOAD", &shim.0).env("NARTHEX_CHAOS_SWITCHES", &self.path);
    }

    /// Moves the wall clock by so much from its true time.
    pub fn move_clock(&self, millis: i64) {
        self.set(Word::ClockMillis, millis);
    }

    /// Lets every sync fail with this error; 0: none.
    pub fn fail_syncs(&self, errno: i64) {
        self.set(Word::SyncErrno, errno);
    }

    /// Lets every sync wait so long before it begins.
    pub fn hold_syncs(&self, millis: i64) {
        self.set(Word::SyncMillis, millis);
    }

    /// How often the clock was read while it was moved.
    pub fn moved_reads(&self) -> i64 {
        self.word(Word::MovedReads)
    }

    /// Syncs that failed or waited.
    pub fn failed_syncs(&self) -> i64 {
        self.word(Word::FailedSyncs)
    }

    fn set(&self, word: Word, value: i64) {
        let at = word as u64 * WORD_BYTES;
        self.file.write_all_at(&value.to_ne_bytes(), at).expect("the page is there");
    }

    fn word(&self, word: Word) -> i64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, word as u64 * WORD_BYTES).expect("the page is there");
        i64::from_ne_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn year(switches: &Switches, shim: &Shim) -> i64 {
        let mut command = Command::new("date");
        switches.preload(shim, command.arg("+%Y"));
        let output = command.output().expect("date starts");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("a year")
    }

    #[test]
    fn a_program_sees_what_is_switched() {
        let folder = tempfile::tempdir().expect("folder");
        let shim = Shim::compile(folder.path()).expect("there is a C compiler");
        let switches = Switches::create(&folder.path().join("switches")).expect("a file");
        let before = year(&switches, &shim);
        switches.move_clock(-10 * 366 * 86_400_000);
        assert!((before - 11..=before - 9).contains(&year(&switches, &shim)));
        assert!(switches.moved_reads() > 0);
        switches.move_clock(0);
        assert_eq!(year(&switches, &shim), before);

        let file = folder.path().join("file");
        let sync = || {
            let mut command = Command::new("dd");
            command.args(["if=/dev/zero", "bs=512", "count=1", "conv=fsync"]);
            switches.preload(&shim, command.arg(format!("of={}", file.display())));
            command.output().expect("dd starts").status.success()
        };
        assert!(sync());
        switches.fail_syncs(EIO);
        assert!(!sync());
        assert_eq!(switches.failed_syncs(), 1);
        switches.fail_syncs(0);
        assert!(sync());
    }
}
