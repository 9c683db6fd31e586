//! Mounted file systems.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
};

use procfs::process::{MountInfo, Process};

use super::{HostError, page::Page};

/// Types without a device behind them, as node_exporter leaves them out.
const TYPES_LEFT_OUT: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "erofs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
];

/// Mount points left out with all below them: the same as node_exporter's in Debian.
const POINTS_LEFT_OUT: &[&str] = &["/dev", "/proc", "/run", "/sys", "/mnt", "/media"];
/// Mount points below these are left out.
const FOLDERS_LEFT_OUT: &[&str] = &["/var/lib/docker/", "/var/lib/containers/storage/"];

/// Adds the families of all mounts of devices. A mount that does not answer holds the page up.
pub fn collect(page: &mut Page) -> Result<(), HostError> {
    // The first process sees what the host sees, also from inside a container's namespace.
    let mounts = Process::new(1).and_then(|first| first.mountinfo());
    let mounts = mounts.or_else(|_| Process::myself().and_then(|own| own.mountinfo()))?;
    // Something may be mounted where something is mounted: what lies on top answers for all of
    // them, and only their numbers differ.
    let (mut answered, mut numbered) = (BTreeMap::new(), BTreeSet::new());
    for mount in mounts {
        let point = unescaped(&mount.mount_point.to_string_lossy());
        let device = unescaped(mount.mount_source.as_deref().unwrap_or("none"));
        if is_left_out(&mount.fs_type, &point) {
            continue;
        }
        let key = (device.clone(), point.clone(), mount.fs_type.clone());
        let answers = *answered.entry(key).or_insert_with(|| add(page, &mount, &device, &point));
        if answers && numbered.insert((device.clone(), point.clone(), mount.majmin.clone())) {
            add_numbers(page, &mount, &device, &point);
        }
    }
    Ok(())
}

fn is_left_out(fs_type: &str, point: &str) -> bool {
    let is_below = |folder: &str| {
        point.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    TYPES_LEFT_OUT.contains(&fs_type)
        || POINTS_LEFT_OUT.iter().any(|folder| is_below(folder))
        || FOLDERS_LEFT_OUT
            .iter()
            .any(|folder| point.len() > folder.len() && point.starts_with(folder))
}

/// Adds what a file system says of itself; false if it says nothing.
fn add(page: &mut Page, mount: &MountInfo, device: &str, point: &str) -> bool {
    let state = rustix::fs::statvfs(point);
    let problem = state.as_ref().err().map(|error| words(*error)).unwrap_or_default();
    let labels = [
        ("device", device),
        ("device_error", problem.as_str()),
        ("fstype", mount.fs_type.as_str()),
        ("mountpoint", point),
    ];
    let is_read_only =
        mount.mount_options.contains_key("ro") || mount.super_options.contains_key("ro");
    let truth = |holds: bool| f64::from(u8::from(holds));
    let mut gauge = |name: &str, help, value: f64| {
        page.gauge(&format!("node_filesystem_{name}"), help, &labels, value);
    };
    gauge("device_error", "Whether the file system did not answer.", truth(state.is_err()));
    gauge("readonly", "Whether it is mounted read-only.", truth(is_read_only));
    let Ok(state) = state else { return false };
    let bytes = |blocks: u64| blocks as f64 * state.f_frsize as f64;
    gauge("avail_bytes", "Bytes free for everybody.", bytes(state.f_bavail));
    gauge("files", "Files it can hold.", state.f_files as f64);
    gauge("files_free", "Files it can still hold.", state.f_ffree as f64);
    gauge("free_bytes", "Bytes free for the superuser.", bytes(state.f_bfree));
    gauge("purgeable_bytes", "Always 0 on Linux.", 0.0);
    gauge("size_bytes", "Bytes in all.", bytes(state.f_blocks));
    true
}

/// The system's words for an error, as Go's library has them.
fn words(error: rustix::io::Errno) -> String {
    let text = std::io::Error::from(error).to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

fn add_numbers(page: &mut Page, mount: &MountInfo, device: &str, point: &str) {
    let (major, minor) = mount.majmin.split_once(':').unwrap_or_default();
    let labels = [("device", device), ("major", major), ("minor", minor), ("mountpoint", point)];
    page.gauge("node_filesystem_mount_info", "The device of a mount.", &labels, 1.0);
}

/// The kernel writes blanks and the like as `\040`.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if byte == b'\\' => {
                plain.push(code);
                at += 4;
            }
            _ => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    OsString::from_vec(plain).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_without_a_device_and_of_the_system_are_left_out() {
        for (fs_type, point) in [
            ("proc", "/anything"),
            ("ext4", "/mnt"),
            ("ext4", "/run/user/1000"),
            ("overlay", "/x"),
            ("ext4", "/var/lib/docker/overlay2/x"),
        ] {
            assert!(is_left_out(fs_type, point), "{fs_type} {point}");
        }
        for (fs_type, point) in [("ext4", "/"), ("xfs", "/mnt2"), ("ext4", "/var/lib/docker")] {
            assert!(!is_left_out(fs_type, point), "{fs_type} {point}");
        }
    }

    #[test]
    fn errors_have_the_words_of_the_real_exporter() {
        assert_eq!(words(rustix::io::Errno::NOENT), "no such file or directory");
        assert_eq!(words(rustix::io::Errno::ACCESS), "permission denied");
    }

    #[test]
    fn blanks_in_paths_come_back() {
        assert_eq!(unescaped(r"/my\040disk\134x"), r"/my disk\x");
        assert_eq!(unescaped(r"\9\"), r"\9\");
    }
}
