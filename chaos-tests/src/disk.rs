//! A disk whose power can be cut: an ext4 file system in a file, shut down as a crash leaves it.
//!
//! What was synced is there after [`Disk::repair`]; what was only written is not. Needs root and
//! loop devices.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    ioctl::{Setter, ioctl, opcode},
};

use crate::{node::run, wait::until};

/// Sparse: it takes what is written.
const BYTES: u64 = 1 << 30;
/// From the cut until nobody has a file open any more.
const UNMOUNT_DEADLINE: Duration = Duration::from_secs(60);

/// `FS_IOC_SHUTDOWN` of linux/fs.h, which ext4 and XFS share.
const SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
/// Without flushing the journal: nothing that is in memory is saved.
const NO_LOG_FLUSH: u32 = 2;

/// Left free of a disk that is filled: below its twentieth, where samples are refused.
const LEFT_BYTES: u64 = 30 << 20;

/// Takes all of the disk that `file` lies on but a little, until the file is removed.
pub fn fill(file: &Path) -> Result<(), String> {
    let folder = file.parent().ok_or("it lies in no folder")?;
    let space = statvfs(folder).map_err(|error| error.to_string())?;
    let bytes = (space.f_bavail * space.f_frsize).saturating_sub(LEFT_BYTES);
    let file = File::create(file).map_err(|error| error.to_string())?;
    fallocate(&file, FallocateFlags::empty(), 0, bytes).map_err(|error| error.to_string())
}

/// One mounted disk. Dropping it unmounts it.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    folder: PathBuf,
}

impl Disk {
    /// Makes a file system in `image` and mounts it on `folder`, or says why that cannot be had.
    pub fn make(image: &Path, folder: &Path) -> Result<Self, String> {
        let file = File::create(image).map_err(|error| error.to_string())?;
        file.set_len(BYTES).map_err(|error| error.to_string())?;
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image))?;
        let disk = Self { image: image.to_owned(), folder: folder.to_owned() };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), String> {
        let mut mount = Command::new("mount");
        run(mount.args(["-t", "ext4", "-o", "loop"]).args([&self.image, &self.folder]))
    }

    /// From here on every write and sync fails, and what was not synced is lost.
    pub fn cut_power(&self) {
        let folder = File::open(&self.folder).expect("a mounted folder can be opened");
        // SAFETY: the kernel reads one u32 behind the pointer, which is what `Setter` passes.
        #[expect(unsafe_code, reason = "no safe wrapper knows this call")]
        let cut = unsafe { ioctl(folder, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) };
        cut.expect("ext4 can be shut down");
    }

    /// Waits until nobody uses the disk, and mounts it again: the journal is replayed.
    pub fn repair(&self) {
        until("the disk is unused", UNMOUNT_DEADLINE, || {
            run(Command::new("umount").arg(&self.folder))
        });
        self.mount().expect("it was mounted before");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also while a process that is being killed still has files open.
        let _ = run(Command::new("umount").arg("-l").arg(&self.folder));
    }
}
