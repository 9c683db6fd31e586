//! Block devices, from `/proc/diskstats`, `/sys/block` and what udev knows of them.

use std::{collections::HashMap, fs};

use procfs::DiskStat;

use super::{HostError, page::Page};

/// `/proc/diskstats` counts in sectors of this size, whatever the device's own.
const SECTOR_BYTES: f64 = 512.0;

/// Adds the families of all devices but partitions and devices of memory.
pub fn collect(page: &mut Page) -> Result<(), HostError> {
    for disk in procfs::diskstats()? {
        if !is_left_out(&disk.name) {
            add_identity(page, &disk);
            add_transfers(page, &disk);
            add_discards(page, &disk);
        }
    }
    Ok(())
}

/// node_exporter's default: `(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+`.
fn is_left_out(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.len() == name.len() {
        return false;
    }
    let letter_behind = |prefix: &str| {
        let rest = stem.strip_prefix(prefix).unwrap_or_default().as_bytes();
        matches!(rest, [b'a'..=b'z'])
    };
    matches!(stem, "ram" | "zram" | "loop" | "fd")
        || ["hd", "sd", "vd", "xvd"].into_iter().any(letter_behind)
        || is_nvme_partition(stem)
}

/// `nvme0n1p`, the partition's number cut off.
fn is_nvme_partition(stem: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let numbers = stem.strip_prefix("nvme").and_then(|rest| rest.strip_suffix('p'));
    numbers
        .and_then(|rest| rest.split_once('n'))
        .is_some_and(|(controller, space)| is_number(controller) && is_number(space))
}

fn add_identity(page: &mut Page, disk: &DiskStat) {
    let device = disk.name.as_str();
    let (major, minor) = (disk.major.to_string(), disk.minor.to_string());
    let known = udev_properties(&major, &minor);
    let of = |key: &str| known.get(key).map_or("", String::as_str);
    let serial = ["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"];
    let serial = serial.into_iter().map(of).find(|text| !text.is_empty()).unwrap_or_default();
    let rotational = fs::read_to_string(format!("/sys/block/{device}/queue/rotational"));
    let rotational = rotational.unwrap_or_default();
    let labels = [
        ("device", device),
        ("major", &major),
        ("minor", &minor),
        ("model", of("ID_MODEL")),
        ("path", of("ID_PATH")),
        ("revision", of("ID_REVISION")),
        ("rotational", rotational.trim()),
        ("serial", serial),
        ("wwn", of("ID_WWN")),
    ];
    page.gauge("node_disk_info", "What is known of the device.", &labels, 1.0);
    if !of("ID_FS_TYPE").is_empty() {
        let labels = [
            ("device", device),
            ("type", of("ID_FS_TYPE")),
            ("usage", of("ID_FS_USAGE")),
            ("uuid", of("ID_FS_UUID")),
            ("version", of("ID_FS_VERSION")),
        ];
        page.gauge("node_disk_filesystem_info", "The file system on the device.", &labels, 1.0);
    }
    if !of("DM_NAME").is_empty() {
        let labels = [
            ("device", device),
            ("lv_layer", of("DM_LV_LAYER")),
            ("lv_name", of("DM_LV_NAME")),
            ("name", of("DM_NAME")),
            ("uuid", of("DM_UUID")),
            ("vg_name", of("DM_VG_NAME")),
        ];
        page.gauge("node_disk_device_mapper_info", "The mapped device.", &labels, 1.0);
    }
}

/// What udev noted of a device; nothing where udev does not run.
fn udev_properties(major: &str, minor: &str) -> HashMap<String, String> {
    let text = fs::read_to_string(format!("/run/udev/data/b{major}:{minor}")).unwrap_or_default();
    let property = |line: &str| {
        let (key, value) = line.strip_prefix("E:")?.split_once('=')?;
        Some((key.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(property).collect()
}

fn add_transfers(page: &mut Page, disk: &DiskStat) {
    let labels = [("device", disk.name.as_str())];
    let seconds = |millis: u64| millis as f64 / 1000.0;
    page.gauge("node_disk_io_now", "Requests under way.", &labels, disk.in_progress as f64);
    let counters = [
        ("node_disk_reads_completed_total", "Reads completed.", disk.reads as f64),
        ("node_disk_reads_merged_total", "Reads merged into others.", disk.merged as f64),
        ("node_disk_read_bytes_total", "Bytes read.", disk.sectors_read as f64 * SECTOR_BYTES),
        ("node_disk_read_time_seconds_total", "Time of all reads.", seconds(disk.time_reading)),
        ("node_disk_writes_completed_total", "Writes completed.", disk.writes as f64),
        ("node_disk_writes_merged_total", "Writes merged into others.", disk.writes_merged as f64),
        (
            "node_disk_written_bytes_total",
            "Bytes written.",
            disk.sectors_written as f64 * SECTOR_BYTES,
        ),
        ("node_disk_write_time_seconds_total", "Time of all writes.", seconds(disk.time_writing)),
        (
            "node_disk_io_time_seconds_total",
            "Time with requests under way.",
            seconds(disk.time_in_progress),
        ),
        (
            "node_disk_io_time_weighted_seconds_total",
            "Time of all requests, weighted by how many were under way.",
            seconds(disk.weighted_time_in_progress),
        ),
    ];
    for (name, help, value) in counters {
        page.counter(name, help, &labels, value);
    }
}

fn add_discards(page: &mut Page, disk: &DiskStat) {
    let labels = [("device", disk.name.as_str())];
    let seconds = |millis: u64| millis as f64 / 1000.0;
    let count = |count: u64| count as f64;
    let counters = [
        ("node_disk_discards_completed_total", "Discards completed.", disk.discards.map(count)),
        (
            "node_disk_discards_merged_total",
            "Discards merged into others.",
            disk.discards_merged.map(count),
        ),
        (
            "node_disk_discarded_sectors_total",
            "Sectors discarded.",
            disk.sectors_discarded.map(count),
        ),
        (
            "node_disk_discard_time_seconds_total",
            "Time of all discards.",
            disk.time_discarding.map(seconds),
        ),
        ("node_disk_flush_requests_total", "Flushes completed.", disk.flushes.map(count)),
        (
            "node_disk_flush_requests_time_seconds_total",
            "Time of all flushes.",
            disk.time_flushing.map(seconds),
        ),
    ];
    for (name, help, value) in counters {
        if let Some(value) = value {
            page.counter(name, help, &labels, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_and_devices_of_memory_are_left_out() {
        for name in ["sda1", "vdb12", "xvda1", "nvme0n1p2", "loop7", "ram0", "zram1", "fd0"] {
            assert!(is_left_out(name), "{name}");
        }
        for name in ["sda", "vdb", "nvme0n1", "dm-0", "md127", "sr0", "mmcblk0", "sdaa1"] {
            assert!(!is_left_out(name), "{name}");
        }
    }
}
