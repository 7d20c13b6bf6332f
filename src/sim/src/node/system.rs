//! What is not the GPUs' in `/sys`: the CPUs, NUMA nodes, and the directories that runtimes mount on.

use std::fs;

use super::tree::Tree;
use crate::preset::Preset;

/// Directories that OCI runtimes mount on or mask, and that programs list.
const MOUNT_POINTS: &[&str] = &[
    "sys/block",
    "sys/bus/pci/slots",
    "sys/class/net",
    "sys/class/scsi_host",
    "sys/dev/block",
    "sys/devices/virtual/powercap",
    "sys/firmware",
    "sys/fs/bpf",
    "sys/fs/cgroup",
    "sys/fs/fuse/connections",
    "sys/fs/selinux",
    "sys/hypervisor",
    "sys/kernel/debug",
    "sys/kernel/mm/transparent_hugepage",
    "sys/kernel/security",
    "sys/kernel/tracing",
    "sys/module",
    "sys/power",
];

/// This machine's CPUs, as programs count them.
pub(super) struct Cpus(String);

impl Cpus {
    /// Reads which CPUs are online here: threads run on these, whatever the preset says of its own.
    pub fn read() -> Self {
        let read = fs::read_to_string("/sys/devices/system/cpu/online").ok();
        let text = read
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty());
        Self(text.unwrap_or_else(|| "0".to_owned()))
    }
}

/// Plans them. All CPUs of this machine belong to the first NUMA node: there is no binding to the others.
pub(super) fn plan(preset: &Preset, cpus: &Cpus, tree: &mut Tree) {
    for path in MOUNT_POINTS {
        tree.directory(*path);
    }
    for name in ["online", "possible", "present"] {
        tree.value(format!("sys/devices/system/cpu/{name}"), &cpus.0);
    }
    let nodes = if preset.cpus > 1 {
        format!("0-{}", preset.cpus - 1)
    } else {
        "0".to_owned()
    };
    for name in ["online", "possible", "has_cpu", "has_memory"] {
        tree.value(format!("sys/devices/system/node/{name}"), &nodes);
    }
    for node in 0..preset.cpus {
        let dir = format!("sys/devices/system/node/node{node}");
        let distances = (0..preset.cpus).map(|other| if other == node { "10" } else { "32" });
        tree.value(format!("{dir}/cpulist"), if node == 0 { &cpus.0 } else { "" });
        tree.value(format!("{dir}/distance"), distances.collect::<Vec<_>>().join(" "));
    }
    tree.value(
        "sys/kernel/mm/transparent_hugepage/enabled",
        "always [madvise] never",
    );
}
