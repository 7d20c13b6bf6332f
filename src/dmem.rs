//! The kernel's own limit of device memory: the cgroup controller dmem (Linux 6.14 and later, cgroup v2).
//!
//! ```text
//! dmem.capacity at the root → regions of GPUs ┐
//! a slice's grants ───────────────────────────┴→ Limit for each region → dmem.min and dmem.max
//!     ├→ linux.resources.unified in the spec, where the cgroups above are ready (cgroup.rs)
//!     └→ written and looked at by the createRuntime hook, and by a resize
//! ```
//!
//! A region is a PCI device: partitions of one card share it, so their amounts are added up.

mod cgroup;

use std::path::Path;

use crate::inventory::{Gpu, Inventory};
use crate::placement::GpuGrant;

pub use cgroup::{CgroupError, Outcome, container_cgroup, of_process, prepare, put_in_force};

/// The guarantee.
pub const MIN: &str = "dmem.min";
/// The limit.
pub const MAX: &str = "dmem.max";

/// A region of device memory, as `dmem.capacity` lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its name: `drm/0000:05:00.0/vram`.
    pub name: String,
    /// Bytes.
    pub capacity: u64,
}

/// What a container's cgroup gets of a region, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Whose.
    pub region: Region,
    /// Guaranteed.
    pub min: u64,
    /// Never exceeded.
    pub max: u64,
}

/// As [`regions`], with the controller enabled first if nobody has done so since the machine began: until then the root
/// has no `dmem.capacity` (seen with Linux 7.2).
pub fn enabled_regions(cgroup_root: &Path) -> Vec<Region> {
    if !cgroup_root.join("dmem.capacity").exists() && is_available(cgroup_root) {
        // Where that is refused there are no regions, and the record says that the kernel limits nothing.
        let _ = std::fs::write(cgroup_root.join("cgroup.subtree_control"), "+dmem");
    }
    regions(cgroup_root)
}

/// Whether the kernel has the controller.
pub fn is_available(cgroup_root: &Path) -> bool {
    let controllers = std::fs::read_to_string(cgroup_root.join("cgroup.controllers")).unwrap_or_default();
    controllers
        .split_whitespace()
        .any(|controller| controller == "dmem")
}

/// The regions that the kernel shows; none on cgroup v1, on an older kernel, or with a driver that registers none.
pub fn regions(cgroup_root: &Path) -> Vec<Region> {
    let text = std::fs::read_to_string(cgroup_root.join("dmem.capacity")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| {
        let (name, capacity) = line.rsplit_once(' ')?;
        Some(Region {
            name: name.to_owned(),
            capacity: capacity.parse().ok()?,
        })
    });
    lines.collect()
}

/// A GPU's video memory. amdgpu says `vram`, others number it. Source: drivers/gpu/drm/drm_drv.c,
/// `drmm_cgroup_register_region`: `drm/<device>/<region>`; amdgpu_vram_mgr.c.
fn region_of<'a>(gpu: &Gpu, regions: &'a [Region]) -> Option<&'a Region> {
    let prefix = format!("drm/{}/vram", gpu.pci);
    regions.iter().find(|region| {
        let number = region.name.strip_prefix(&prefix);
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// The limits of a slice; none unless the kernel can limit every one of its GPUs.
pub fn limits(grants: &[GpuGrant], inventory: &Inventory, regions: &[Region]) -> Option<Vec<Limit>> {
    let mut limits: Vec<Limit> = Vec::new();
    for grant in grants {
        let gpu = inventory.gpus.iter().find(|gpu| gpu.uuid == grant.uuid)?;
        let region = region_of(gpu, regions)?;
        match limits.iter_mut().find(|limit| limit.region == *region) {
            Some(limit) => {
                limit.min = limit.min.saturating_add(grant.memory_bytes);
                limit.max = limit.max.saturating_add(grant.memory_limit_bytes);
            }
            None => limits.push(Limit {
                region: region.clone(),
                min: grant.memory_bytes,
                max: grant.memory_limit_bytes,
            }),
        }
    }
    // A whole GPU has nothing to be limited to.
    let is_part = grants.iter().any(|grant| !grant.exclusive);
    (is_part && !limits.is_empty()).then_some(limits)
}

/// Limits as the spec has them: a file and a line for each region.
pub fn unified(limits: &[Limit]) -> Vec<(String, String)> {
    if limits.is_empty() {
        return Vec::new();
    }
    let lines = |amount: fn(&Limit) -> u64| {
        let lines: Vec<String> = limits
            .iter()
            .map(|limit| line(&limit.region, amount(limit)))
            .collect();
        lines.join("\n")
    };
    vec![
        (MIN.to_owned(), lines(|limit| limit.min)),
        (MAX.to_owned(), lines(|limit| limit.max)),
    ]
}

fn line(region: &Region, bytes: u64) -> String {
    format!("{} {bytes}", region.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compute::mask::CuMask;

    fn region(name: &str) -> Region {
        Region {
            name: name.to_owned(),
            capacity: 1 << 40,
        }
    }

    fn node(preset: &str) -> Inventory {
        let dir = tempfile::tempdir().unwrap();
        let preset = sdg_sim::preset::Preset::named(preset).unwrap();
        sdg_sim::node::build(&preset, dir.path()).unwrap();
        Inventory::read(dir.path(), crate::inventory::Detail::Placement).unwrap()
    }

    fn grant(gpu: &Gpu, exclusive: bool) -> GpuGrant {
        GpuGrant {
            index: gpu.index,
            uuid: gpu.uuid.clone(),
            gpu_id: gpu.gpu_id,
            render_minor: gpu.render_minor,
            memory_bytes: 10,
            memory_limit_bytes: 30,
            exclusive,
            rect: None,
            requested_units: 0,
            compute_units: 0,
            compute_limit_units: 0,
            effective_units: 0,
            cu_mask: CuMask::default(),
        }
    }

    #[test]
    fn a_region_is_the_gpus_by_its_pci_address() {
        let inventory = node("mi300x");
        let gpu = &inventory.gpus[0];
        let grants = [grant(gpu, false)];
        for (name, fits) in [
            (format!("drm/{}/vram", gpu.pci), true),
            (format!("drm/{}/vram0", gpu.pci), true),
            (format!("drm/{}/stolen", gpu.pci), false),
            (format!("drm/{}/vram-other", gpu.pci), false),
            ("drm/ffff:00:00.0/vram".to_owned(), false),
            ("vram".to_owned(), false),
        ] {
            let limits = limits(&grants, &inventory, &[region("drm/0:0:0.0/vram"), region(&name)]);
            assert_eq!(limits.is_some(), fits, "{name}");
        }
    }

    #[test]
    fn partitions_of_a_card_share_its_region_and_all_gpus_have_to_have_one() {
        let inventory = node("mi308x-cpx");
        let [one, two, ..] = inventory.gpus.as_slice() else {
            panic!("no partitions")
        };
        let both = [grant(one, false), grant(two, false)];
        let regions = [region(&format!("drm/{}/vram", one.pci))];
        let found = limits(&both, &inventory, &regions).unwrap();
        assert_eq!((found.len(), found[0].min, found[0].max), (1, 20, 60));
        assert_eq!(
            unified(&found),
            [
                (MIN.to_owned(), format!("{} 20", regions[0].name)),
                (MAX.to_owned(), format!("{} 60", regions[0].name)),
            ]
        );
        let eight = node("mi300x-8");
        let two = [grant(&eight.gpus[0], false), grant(&eight.gpus[1], false)];
        let regions = [region(&format!("drm/{}/vram", eight.gpus[0].pci))];
        assert_eq!(limits(&two, &eight, &regions), None);
        assert_eq!(
            limits(&[grant(&eight.gpus[0], true)], &eight, &regions),
            None,
            "a whole GPU"
        );
    }

    #[test]
    fn without_the_controller_there_are_no_regions_and_nothing_to_write() {
        let root = tempfile::tempdir().unwrap();
        assert!(enabled_regions(root.path()).is_empty());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
        assert!(unified(&[]).is_empty());
    }
}
