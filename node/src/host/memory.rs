//! Memory, from `/proc/meminfo`.

use procfs::{Current as _, Meminfo};

use super::{HostError, page::Page};

/// Adds one family a field, named as the kernel names it.
pub fn collect(page: &mut Page) -> Result<(), HostError> {
    let info = Meminfo::current()?;
    for (name, value) in always(&info) {
        add(page, name, value);
    }
    for (name, value) in sometimes(&info).into_iter().chain(huge_pages(&info)) {
        if let Some(value) = value {
            add(page, name, value);
        }
    }
    Ok(())
}

fn add(page: &mut Page, name: &str, value: u64) {
    // Huge pages are counted, everything else is in bytes.
    let unit = if name.starts_with("HugePages_") { "" } else { "_bytes" };
    let family = format!("node_memory_{name}{unit}");
    page.gauge(&family, "A field of /proc/meminfo.", &[], value as f64);
}

fn always(info: &Meminfo) -> [(&'static str, u64); 17] {
    [
        ("Active", info.active),
        ("Buffers", info.buffers),
        ("Cached", info.cached),
        ("Committed_AS", info.committed_as),
        ("Dirty", info.dirty),
        ("Inactive", info.inactive),
        ("Mapped", info.mapped),
        ("MemFree", info.mem_free),
        ("MemTotal", info.mem_total),
        ("Slab", info.slab),
        ("SwapCached", info.swap_cached),
        ("SwapFree", info.swap_free),
        ("SwapTotal", info.swap_total),
        ("VmallocChunk", info.vmalloc_chunk),
        ("VmallocTotal", info.vmalloc_total),
        ("VmallocUsed", info.vmalloc_used),
        ("Writeback", info.writeback),
    ]
}

/// Fields that older kernels, or kernels built without a feature, lack.
fn sometimes(info: &Meminfo) -> [(&'static str, Option<u64>); 24] {
    [
        ("Active_anon", info.active_anon),
        ("Active_file", info.active_file),
        ("AnonPages", info.anon_pages),
        ("Bounce", info.bounce),
        ("CmaFree", info.cma_free),
        ("CmaTotal", info.cma_total),
        ("CommitLimit", info.commit_limit),
        ("HardwareCorrupted", info.hardware_corrupted),
        ("Inactive_anon", info.inactive_anon),
        ("Inactive_file", info.inactive_file),
        ("KernelStack", info.kernel_stack),
        ("MemAvailable", info.mem_available),
        ("Mlocked", info.mlocked),
        ("NFS_Unstable", info.nfs_unstable),
        ("PageTables", info.page_tables),
        ("Percpu", info.per_cpu),
        ("SReclaimable", info.s_reclaimable),
        ("SUnreclaim", info.s_unreclaim),
        ("Shmem", info.shmem),
        ("Unevictable", info.unevictable),
        ("WritebackTmp", info.writeback_tmp),
        ("Zswap", info.z_swap),
        ("Zswapped", info.z_swapped),
        ("DirectMap4k", info.direct_map_4k),
    ]
}

fn huge_pages(info: &Meminfo) -> [(&'static str, Option<u64>); 10] {
    [
        ("AnonHugePages", info.anon_hugepages),
        ("DirectMap1G", info.direct_map_1G),
        ("DirectMap2M", info.direct_map_2M),
        ("HugePages_Free", info.hugepages_free),
        ("HugePages_Rsvd", info.hugepages_rsvd),
        ("HugePages_Surp", info.hugepages_surp),
        ("HugePages_Total", info.hugepages_total),
        ("Hugepagesize", info.hugepagesize),
        ("ShmemHugePages", info.shmem_hugepages),
        ("ShmemPmdMapped", info.shmem_pmd_mapped),
    ]
}
