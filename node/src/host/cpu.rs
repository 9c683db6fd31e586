//! Time that each CPU spent, from `/proc/stat`.

use procfs::{CurrentSI as _, KernelStats};

use super::{HostError, page::Page};

const SECONDS: &str = "node_cpu_seconds_total";
const GUEST_SECONDS: &str = "node_cpu_guest_seconds_total";

/// Adds the families of the CPUs, and the time the machine started.
pub fn collect(page: &mut Page) -> Result<(), HostError> {
    let stats = KernelStats::current()?;
    let boot = stats.btime as f64;
    page.gauge("node_boot_time_seconds", "When the machine started, in Unix time.", &[], boot);
    let ticks_per_second = procfs::ticks_per_second() as f64;
    for (number, times) in stats.cpu_time.iter().enumerate() {
        let cpu = number.to_string();
        let modes = [
            ("idle", Some(times.idle)),
            ("iowait", times.iowait),
            ("irq", times.irq),
            ("nice", Some(times.nice)),
            ("softirq", times.softirq),
            ("steal", times.steal),
            ("system", Some(times.system)),
            ("user", Some(times.user)),
        ];
        for (mode, ticks) in modes {
            let seconds = ticks.unwrap_or(0) as f64 / ticks_per_second;
            let labels = [("cpu", cpu.as_str()), ("mode", mode)];
            page.counter(SECONDS, "Time of each CPU in each mode.", &labels, seconds);
        }
        for (mode, ticks) in [("nice", times.guest_nice), ("user", times.guest)] {
            let seconds = ticks.unwrap_or(0) as f64 / ticks_per_second;
            let labels = [("cpu", cpu.as_str()), ("mode", mode)];
            page.counter(GUEST_SECONDS, "Time of each CPU in virtual machines.", &labels, seconds);
        }
    }
    Ok(())
}
