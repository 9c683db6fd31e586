//! Load and identity of the machine.

use procfs::{Current as _, LoadAverage};

use super::{HostError, page::Page};

/// Adds the load averages.
pub fn collect_load(page: &mut Page) -> Result<(), HostError> {
    let load = LoadAverage::current()?;
    for (name, value) in
        [("node_load1", load.one), ("node_load5", load.five), ("node_load15", load.fifteen)]
    {
        // The kernel gives two decimals: through the text they stay two.
        let value: f64 = value.to_string().parse().unwrap_or(f64::from(value));
        page.gauge(name, "Processes that run or wait for a disk, averaged.", &[], value);
    }
    Ok(())
}

/// Adds what `uname` says.
pub fn collect_identity(page: &mut Page) -> Result<(), HostError> {
    let names = rustix::system::uname();
    let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
    let labels = [
        ("domainname", text(names.domainname())),
        ("machine", text(names.machine())),
        ("nodename", text(names.nodename())),
        ("release", text(names.release())),
        ("sysname", text(names.sysname())),
        ("version", text(names.version())),
    ];
    let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (*n, v.as_str())).collect();
    page.gauge("node_uname_info", "The kernel and the machine, as uname names them.", &labels, 1.0);
    Ok(())
}
