//! The built-in exporter of the host: what the machine does, under node_exporter's names.
//!
//! It gives the families that dashboards begin with (CPU, memory, load, disks, file systems,
//! network, uname, boot time) with the same labels as node_exporter's default collectors, so
//! that either can stand in for the other.
//!
//! Invariants
//! * a part of the machine that cannot be read leaves its families out and says so in
//!   `node_scrape_collector_success`; the rest of the page stays;
//! * nothing is remembered between two pages.

mod cpu;
mod disk;
mod filesystem;
mod memory;
mod network;
mod page;
mod system;

use page::{Kind, Page};

/// Why a part of the machine cannot be read. The page goes on without it.
#[derive(Debug, thiserror::Error)]
enum HostError {
    #[error("read /proc: {0}")]
    Proc(#[from] procfs::ProcError),
    #[error("read /sys: {0}")]
    Sys(#[from] std::io::Error),
}

type Collector = fn(&mut Page) -> Result<(), HostError>;

const COLLECTORS: [(&str, Collector); 7] = [
    ("cpu", cpu::collect),
    ("diskstats", disk::collect),
    ("filesystem", filesystem::collect),
    ("loadavg", system::collect_load),
    ("meminfo", memory::collect),
    ("netclass", network::collect),
    ("uname", system::collect_identity),
];

/// The page in the text format. Reads `/proc`, `/sys` and the state of mounted file systems:
/// call it where waiting is allowed.
pub fn render() -> String {
    let mut page = Page::default();
    let mut results = Vec::new();
    for (name, collect) in COLLECTORS {
        let result = collect(&mut page);
        if let Err(error) = &result {
            tracing::debug!(collector = name, %error, "part of the host page left out");
        }
        results.push((name, result.is_ok()));
    }
    let family = page.family(
        "node_scrape_collector_success",
        "Whether this part of the page could be read.",
        Kind::Gauge,
    );
    for (name, succeeded) in results {
        family.add(&[("collector", name)], f64::from(u8::from(succeeded)));
    }
    page.finish()
}

/// The host's name, which is the `instance` of its page.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
