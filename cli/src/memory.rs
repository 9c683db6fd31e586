//! How much memory the machine has: what limits that protect the process come from.

/// Bytes of the machine's memory.
pub fn of_machine() -> u64 {
    let info = rustix::system::sysinfo();
    u64::from(info.mem_unit).saturating_mul(info.totalram as u64)
}
