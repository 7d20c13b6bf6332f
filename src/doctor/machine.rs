//! Driver, GPUs and their partitions.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Check, State};
use crate::files::below;
use crate::host::Host;
use crate::inventory::{Detail, Gpu, Inventory, Offer};
use crate::units::Bytes;

const GROUP: &str = "machine";

/// What was read.
#[derive(Debug)]
pub struct Machine {
    /// Whether /dev/kfd is there.
    pub kfd: bool,
    /// Version of a driver that is not the kernel's own (DKMS).
    pub driver: Option<String>,
    /// GPUs, or why they cannot be read.
    pub inventory: Result<Inventory, String>,
}

impl Machine {
    /// Reads it.
    pub fn read(host: &Host) -> Self {
        let sysroot = &host.sysroot;
        let driver = std::fs::read_to_string(below(sysroot, Path::new("/sys/module/amdgpu/version")));
        Self {
            kfd: below(sysroot, Path::new("/dev/kfd")).exists(),
            driver: driver.ok().map(|version| version.trim().to_owned()),
            inventory: host.inventory(Detail::Full).map_err(|error| error.to_string()),
        }
    }

    /// All checks.
    pub fn checks(&self) -> Vec<Check> {
        let mut checks = vec![self.driver(), self.gpus()];
        checks.extend(self.not_for_any());
        checks.extend(self.partitions());
        checks.extend(self.least_useful());
        checks
    }

    fn driver(&self) -> Check {
        let good = |found: &str| Check::good(GROUP, "driver", found);
        match (&self.driver, self.kfd) {
            (_, false) => good("no /dev/kfd: the driver amdgpu is not loaded, or without its compute part")
                .with(State::Broken, "modprobe amdgpu"),
            (Some(version), true) => good(&format!("amdgpu {version}")),
            (None, true) => good("amdgpu, the kernel's own"),
        }
    }

    fn gpus(&self) -> Check {
        let good = |found: String| Check::good(GROUP, "GPUs", found);
        let look = "dmesg | grep -e amdgpu -e kfd";
        match &self.inventory {
            Err(error) => good(error.clone()).with(State::Broken, look),
            Ok(inventory) => {
                let mut found = vec![match inventory.gpus.as_slice() {
                    [] => "none that the driver's compute part knows".to_owned(),
                    gpus => counted(gpus, |gpu| gpu.name.clone()),
                }];
                found.extend(inventory.complaints());
                match (inventory.gpus.is_empty(), found.len() > 1) {
                    (true, _) => good(found.join("; ")).with(State::Broken, look),
                    (false, true) => good(found.join("; ")).with(State::Absent, look),
                    (false, false) => good(found.join("; ")),
                }
            }
        }
    }

    /// None where any request may have every GPU.
    fn not_for_any(&self) -> Option<Check> {
        let inventory = self.inventory.as_ref().ok()?;
        let who = |gpu: &Gpu| format!("GPU {} ({})", gpu.index, gpu.name);
        let of_gpus = inventory
            .gpus
            .iter()
            .filter_map(|gpu| match inventory.offer(gpu) {
                Offer::Any => None,
                Offer::Named => Some(format!("{} is integrated: for requests that name it", who(gpu))),
                Offer::Nobody => Some(format!("{} is left out by exclude_gpus", who(gpu))),
            });
        let unmatched = inventory.unmatched.iter();
        let found: Vec<String> = of_gpus
            .chain(unmatched.map(|selector| format!("exclude_gpus: {selector} names no GPU here")))
            .collect();
        let check = (!found.is_empty()).then(|| Check::good(GROUP, "not for any slice", found.join("; ")))?;
        Some(match inventory.unmatched.is_empty() {
            true => check,
            false => check.with(
                State::Absent,
                "name GPUs in exclude_gpus as `sdg gpu list` does: by index, UUID or PCI address",
            ),
        })
    }

    /// None where there is no GPU to have partitions.
    fn partitions(&self) -> Option<Check> {
        let gpus = self.inventory.as_ref().ok().map(|inventory| &inventory.gpus)?;
        let mode = |gpu: &Gpu| match (&gpu.compute_partition, &gpu.memory_partition) {
            (Some(compute), Some(memory)) => format!("{compute}/{memory}"),
            (Some(mode), None) | (None, Some(mode)) => mode.clone(),
            (None, None) => "without partitions".to_owned(),
        };
        (!gpus.is_empty()).then(|| Check::good(GROUP, "partition modes", counted(gpus, mode)))
    }

    /// None where there is no GPU to have slices.
    fn least_useful(&self) -> Option<Check> {
        let gpus = self.inventory.as_ref().ok().map(|inventory| &inventory.gpus)?;
        let least = |gpu: &Gpu| format!("{} ({})", Bytes(gpu.needs.least_useful()), gpu.needs.parts());
        (!gpus.is_empty()).then(|| Check::good(GROUP, "least useful slice", counted(gpus, least)))
    }
}

/// `8 × AMD Instinct MI300X, 1 × gfx1100`.
fn counted(gpus: &[Gpu], text: impl Fn(&Gpu) -> String) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for gpu in gpus {
        *counts.entry(text(gpu)).or_default() += 1;
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(text, count)| format!("{count} × {text}"))
        .collect();
    parts.join(", ")
}
