//! The machine that figures are of.

use std::{fs::File, io::Write as _, path::Path};

use procfs::{CpuInfo, Current as _, Meminfo};

use crate::{clock::now, statistics::median, unmeasured::Unmeasured};

/// Of which the median counts.
const SYNCS: usize = 100;
/// A small entry.
const SYNC_BYTES: usize = 4096;

/// One line: cores, memory, kernel, and what a sync of `folder` costs. No names of hosts.
pub fn describe(folder: &Path) -> Result<String, Unmeasured> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = CpuInfo::current().ok().and_then(|info| info.model_name(0).map(str::to_owned));
    let memory =
        Meminfo::current().map_or(0, |memory| memory.mem_total) as f64 / f64::from(1 << 30);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Vendors write names and addresses behind the version.
    let kernel: String = kernel.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    Ok(format!(
        "{cores} cores ({}), {memory:.0} GiB, Linux {}; a synced write of 4 KiB takes {:.2} ms there",
        model.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        kernel.trim_end_matches('.'),
        sync_millis(folder)?
    ))
}

fn sync_millis(folder: &Path) -> Result<f64, Unmeasured> {
    let failed = || Unmeasured::at("sync a file");
    let mut file: File = tempfile::tempfile_in(folder).map_err(failed())?;
    let mut millis = Vec::new();
    for _ in 0..SYNCS {
        let start = now();
        file.write_all(&[7; SYNC_BYTES]).and_then(|()| file.sync_data()).map_err(failed())?;
        millis.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&millis).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_described_without_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let line = describe(folder.path()).unwrap();
        assert!(line.contains("cores") && line.contains("GiB, Linux ") && line.contains(" ms"));
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert!(!line.contains(name.trim()), "{line}");
    }
}
