//! Network devices, from `/proc/net/dev` and `/sys/class/net`.

use std::{fs, path::Path};

use procfs::net::DeviceStatus;

use super::{HostError, page::Page};

const PROPERTY: &str = "A property of the network device.";
const STATISTIC: &str = "A statistic of the network device.";

/// Properties that are numbers: the family's end and the file.
const PROPERTIES: &[(&str, &str)] = &[
    ("address_assign_type", "addr_assign_type"),
    ("carrier", "carrier"),
    ("device_id", "dev_id"),
    ("dormant", "dormant"),
    ("flags", "flags"),
    ("iface_id", "ifindex"),
    ("iface_link", "iflink"),
    ("iface_link_mode", "link_mode"),
    ("mtu_bytes", "mtu"),
    ("name_assign_type", "name_assign_type"),
    ("net_dev_group", "netdev_group"),
    ("protocol_type", "type"),
    ("transmit_queue_length", "tx_queue_len"),
];

/// Properties that only rise.
const COUNTERS: &[(&str, &str)] = &[
    ("carrier_changes_total", "carrier_changes"),
    ("carrier_down_changes_total", "carrier_down_count"),
    ("carrier_up_changes_total", "carrier_up_count"),
];

/// Adds the families of all devices.
pub fn collect(page: &mut Page) -> Result<(), HostError> {
    let mut statistics: Vec<DeviceStatus> = procfs::net::dev_status()?.into_values().collect();
    statistics.sort_by(|a, b| a.name.cmp(&b.name));
    for device in &statistics {
        add_statistics(page, device);
    }
    let mut names: Vec<String> = fs::read_dir("/sys/class/net")?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    for name in names {
        let folder = Path::new("/sys/class/net").join(&name);
        // A file such as `bonding_masters` lies beside the devices.
        if folder.is_dir() {
            add_properties(page, &name, &folder);
        }
    }
    Ok(())
}

fn add_statistics(page: &mut Page, device: &DeviceStatus) {
    let labels = [("device", device.name.as_str())];
    let values = [
        ("receive_bytes", device.recv_bytes),
        ("receive_compressed", device.recv_compressed),
        ("receive_drop", device.recv_drop),
        ("receive_errs", device.recv_errs),
        ("receive_fifo", device.recv_fifo),
        ("receive_frame", device.recv_frame),
        ("receive_multicast", device.recv_multicast),
        ("receive_packets", device.recv_packets),
        ("transmit_bytes", device.sent_bytes),
        ("transmit_carrier", device.sent_carrier),
        ("transmit_colls", device.sent_colls),
        ("transmit_compressed", device.sent_compressed),
        ("transmit_drop", device.sent_drop),
        ("transmit_errs", device.sent_errs),
        ("transmit_fifo", device.sent_fifo),
        ("transmit_packets", device.sent_packets),
    ];
    for (name, value) in values {
        let family = format!("node_network_{name}_total");
        page.counter(&family, STATISTIC, &labels, value as f64);
    }
    let folder = Path::new("/sys/class/net").join(&device.name).join("statistics");
    if let Some(value) = number(&folder, "rx_nohandler") {
        page.counter("node_network_receive_nohandler_total", STATISTIC, &labels, value as f64);
    }
}

fn add_properties(page: &mut Page, name: &str, folder: &Path) {
    let labels = [("device", name)];
    for (property, file) in PROPERTIES {
        if let Some(value) = number(folder, file) {
            page.gauge(&format!("node_network_{property}"), PROPERTY, &labels, value as f64);
        }
    }
    for (property, file) in COUNTERS {
        if let Some(value) = number(folder, file) {
            page.counter(&format!("node_network_{property}"), PROPERTY, &labels, value as f64);
        }
    }
    if let Some(megabits) = number(folder, "speed") {
        let bytes = megabits as f64 * 1e6 / 8.0;
        page.gauge("node_network_speed_bytes", PROPERTY, &labels, bytes);
    }
    let state = text(folder, "operstate").unwrap_or_default();
    let is_up = f64::from(u8::from(state == "up"));
    page.gauge("node_network_up", "Whether the device's state is up.", &labels, is_up);
    let of = |file| text(folder, file).unwrap_or_default();
    // IFF_UP
    let is_enabled = number(folder, "flags").is_some_and(|flags| flags & 1 != 0);
    let labels = [
        ("address", of("address")),
        ("adminstate", (if is_enabled { "up" } else { "down" }).to_owned()),
        ("broadcast", of("broadcast")),
        ("device", name.to_owned()),
        ("duplex", of("duplex")),
        ("ifalias", of("ifalias")),
        ("operstate", state),
    ];
    let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (*n, v.as_str())).collect();
    page.gauge("node_network_info", "What is known of the device.", &labels, 1.0);
}

fn text(folder: &Path, file: &str) -> Option<String> {
    Some(fs::read_to_string(folder.join(file)).ok()?.trim().to_owned())
}

/// A decimal or hexadecimal number; nothing where the device has no such property.
fn number(folder: &Path, file: &str) -> Option<i64> {
    let text = text(folder, file)?;
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
