//! The watermark: what the log held for certain, kept in a file outside the log.
//!
//! A disk that lost synced writes, or a folder put back from an old copy, gives a log that looks
//! sound and is too short; a replica that votes with it can undo what a majority acknowledged. The
//! watermark is a lower bound of every group's newest entry and vote. A log below it is refused.
//!
//! Invariants
//! * the file never claims more than was synced;
//! * before entries are truncated the file no longer claims them.
//!
//! The file is written at most once a second, so it may claim less than the log holds.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::{Buf, BufMut};
use parking_lot::{Condvar, Mutex};

use crate::raft::{
    codec,
    types::{GroupId, LogId, LogPosition, Malformed, NodeId, Vote},
};

/// Pause between two writes of the file: a lower bound a second old is nearly as sharp, and costs
/// next to nothing.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

const MAGIC: &[u8; 4] = b"NXWM";
const VERSION: u8 = 1;

/// Whose log it is. A log is never used by another node, nor by a folder made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogIdentity {
    /// The node's number.
    pub node: NodeId,
    /// Drawn at random when the folder was made; unlike an incarnation it never changes.
    pub folder: u64,
}

/// What one group's log held for certain.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GroupMark {
    pub vote: Option<Vote>,
    pub last: Option<LogId>,
}

pub type Marks = BTreeMap<GroupId, GroupMark>;

/// A group whose log is below its watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingLog {
    /// The group.
    pub group: GroupId,
    /// The newest entry that is there.
    pub have: Option<LogPosition>,
    /// The newest entry that was synced.
    pub had: Option<LogPosition>,
    /// Whether a synced vote is gone too: the replica could vote twice in one term.
    pub vote_lost: bool,
}

impl std::fmt::Display for MissingLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |position: Option<LogPosition>| match position {
            Some(position) => position.to_string(),
            None => "nothing".to_owned(),
        };
        write!(f, "{}: log ends at {}", self.group, name(self.have))?;
        write!(f, ", entries up to {} were synced", name(self.had))?;
        if self.vote_lost { f.write_str(", and its vote is lost") } else { Ok(()) }
    }
}

/// Groups whose log holds less than the watermark says.
pub fn missing(marks: &Marks, have: &Marks) -> Vec<MissingLog> {
    let below = |(&group, mark): (&GroupId, &GroupMark)| {
        let found = have.get(&group).copied().unwrap_or_default();
        let vote_lost = mark.vote > found.vote;
        (vote_lost || mark.last > found.last).then(|| MissingLog {
            group,
            have: found.last.map(LogPosition::from),
            had: mark.last.map(LogPosition::from),
            vote_lost,
        })
    };
    marks.iter().filter_map(below).collect()
}

#[derive(Default)]
struct State {
    marks: Marks,
    dirty: bool,
    stopped: bool,
}

/// Follows the log and keeps the file.
pub struct Watermark {
    path: PathBuf,
    identity: LogIdentity,
    state: Mutex<State>,
    changed: Condvar,
    /// Only ever notified by `stop`: a sync must not cut the pause short.
    pause: Condvar,
    /// Held from taking the marks until the file has them, so that an older set never replaces a
    /// newer one. Taken before `state`.
    file: Mutex<()>,
}

impl Watermark {
    pub fn new(path: PathBuf, identity: LogIdentity, marks: Marks) -> Self {
        let state = Mutex::new(State { marks, dirty: true, stopped: false });
        let (changed, pause) = (Condvar::new(), Condvar::new());
        Self { path, identity, state, changed, pause, file: Mutex::new(()) }
    }

    /// What was just synced.
    pub fn raise(&self, synced: &Marks) {
        let mut state = self.state.lock();
        state.marks.extend(synced);
        state.dirty = true;
        self.changed.notify_one();
    }

    /// Claims no entry of `group` at or behind `end` any more, and returns once the file says so.
    pub fn lower(&self, group: GroupId, end: u64) -> io::Result<()> {
        {
            let mut state = self.state.lock();
            let Some(mark) = state.marks.get_mut(&group) else { return Ok(()) };
            match mark.last {
                Some(last) if last.index >= end => mark.last = None,
                _ => return Ok(()),
            }
        }
        self.write()
    }

    /// Writes the file whenever something changed, until stopped. Run by a thread of its own.
    pub fn run(&self) -> io::Result<()> {
        loop {
            {
                let mut state = self.state.lock();
                while !state.dirty && !state.stopped {
                    self.changed.wait(&mut state);
                }
                if !state.dirty {
                    return Ok(());
                }
            }
            self.write()?;
            let mut state = self.state.lock();
            if !state.stopped {
                self.pause.wait_for(&mut state, WRITE_INTERVAL);
            }
        }
    }

    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
        self.pause.notify_all();
    }

    fn write(&self) -> io::Result<()> {
        let _file = self.file.lock();
        let bytes = {
            let mut state = self.state.lock();
            state.dirty = false;
            encode(self.identity, &state.marks)
        };
        replace_file(&self.path, &bytes)
    }
}

fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The file's identity and marks; `None` if there is no file.
pub fn read(path: &Path) -> io::Result<Option<(LogIdentity, Marks)>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(decode(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn encode(identity: LogIdentity, marks: &Marks) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.put_u8(VERSION);
    bytes.put_u64_le(identity.node);
    bytes.put_u64_le(identity.folder);
    bytes.put_u32_le(marks.len() as u32);
    for (group, mark) in marks {
        bytes.put_u32_le(group.number());
        bytes.put_u8(mark.vote.is_some().into());
        if let Some(vote) = &mark.vote {
            codec::put_vote(&mut bytes, vote);
        }
        codec::put_log_id_option(&mut bytes, mark.last.as_ref());
    }
    let checksum = crc32c::crc32c(&bytes);
    bytes.put_u32_le(checksum);
    bytes
}

fn decode(bytes: &[u8]) -> Result<(LogIdentity, Marks), Malformed> {
    let refuse = |problem| Malformed { what: "watermark", problem };
    let (body, mut checksum) =
        bytes.split_at_checked(bytes.len().saturating_sub(4)).ok_or(refuse("cut short"))?;
    if body.len() < 25 {
        return Err(refuse("cut short"));
    }
    if checksum.get_u32_le() != crc32c::crc32c(body) {
        return Err(refuse("checksum differs"));
    }
    let (magic, mut rest) = body.split_at(4);
    if magic != MAGIC || rest.get_u8() != VERSION {
        return Err(refuse("unknown version"));
    }
    let identity = LogIdentity { node: rest.get_u64_le(), folder: rest.get_u64_le() };
    let count = rest.get_u32_le();
    let mut marks = Marks::new();
    for _ in 0..count {
        if rest.len() < 4 {
            return Err(refuse("cut short"));
        }
        let group = GroupId::from_number(rest.get_u32_le());
        let vote = match codec::take_flag(&mut rest, "watermark")? {
            true => Some(codec::take_vote(&mut rest)?),
            false => None,
        };
        let last = codec::take_log_id_option(&mut rest)?;
        marks.insert(group, GroupMark { vote, last });
    }
    Ok((identity, marks))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: LogIdentity = LogIdentity { node: 3, folder: 77 };

    fn mark(term: u64, index: u64) -> GroupMark {
        GroupMark {
            vote: Some(Vote::new_committed(term, 1)),
            last: Some(LogId::new_term_index(term, index)),
        }
    }

    #[test]
    fn the_file_comes_back_and_a_damaged_one_is_refused() {
        let marks = Marks::from([
            (GroupId::CONTROL, mark(2, 8)),
            (GroupId::shard(0), GroupMark::default()),
        ]);
        let bytes = encode(IDENTITY, &marks);
        assert_eq!(decode(&bytes).unwrap(), (IDENTITY, marks));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert!(decode(&flipped).is_err());
            assert!(decode(&bytes[..at]).is_err());
        }
    }

    #[test]
    fn a_log_below_the_mark_is_named() {
        let marks = Marks::from([(GroupId::shard(0), mark(2, 8))]);
        assert_eq!(missing(&marks, &marks), []);
        assert_eq!(missing(&marks, &Marks::from([(GroupId::shard(0), mark(3, 4))])), []);

        let short = GroupMark { last: Some(LogId::new_term_index(2, 7)), ..mark(2, 8) };
        let found = missing(&marks, &Marks::from([(GroupId::shard(0), short)]));
        assert_eq!(found[0].to_string(), "shard-0: log ends at 2.7, entries up to 2.8 were synced");
        let found = missing(&marks, &Marks::new());
        assert!(found[0].vote_lost && found[0].have.is_none());
    }

    #[test]
    fn a_truncation_lowers_the_file_before_it_happens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("WATERMARK");
        let watermark = Watermark::new(path.clone(), IDENTITY, Marks::new());
        watermark.raise(&Marks::from([(GroupId::shard(0), mark(2, 8))]));
        watermark.write().unwrap();
        assert_eq!(read(&path).unwrap().unwrap().1[&GroupId::shard(0)], mark(2, 8));

        watermark.lower(GroupId::shard(0), 9).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().1[&GroupId::shard(0)], mark(2, 8));
        watermark.lower(GroupId::shard(0), 6).unwrap();
        let lowered = read(&path).unwrap().unwrap().1[&GroupId::shard(0)];
        assert_eq!((lowered.last, lowered.vote), (None, mark(2, 8).vote));
    }
}
