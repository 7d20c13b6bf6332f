//! Inventory → CDI devices of whole GPUs and partitions. Pure.
//!
//! A GPU is known by its index, its UUID and its PCI address (all partitions of the card); `all` is all of them. Each
//! device claims its GPUs when its container starts and lets them go afterwards.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cdi::from_edits;
use crate::cdi::spec::{CdiDevice, CdiSpec};
use crate::edits::{ContainerEdits, HOOK_ENVIRONMENT, HookCall, HookStage, ProgramCall};
use crate::inventory::{DeviceFiles, Gpu, Inventory};

/// The verb of `sdg hook` that claims whole GPUs, before `--gpu UUID` for each.
pub const CLAIM_VERB: &str = "claim-gpu";
/// Option before each GPU's UUID.
pub const GPU_OPTION: &str = "--gpu";

/// What devices are made from besides the inventory.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// Device files, the render nodes in the inventory's order.
    pub devices: &'a DeviceFiles,
    /// The system root.
    pub sysroot: &'a Path,
    /// How hooks call this program.
    pub program: &'a ProgramCall,
}

/// A file with every name of every GPU.
pub fn spec(kind: &str, inventory: &Inventory, ground: &Ground<'_>) -> CdiSpec {
    let gpus: Vec<(usize, &Gpu)> = inventory.gpus.iter().enumerate().collect();
    let mut cards: BTreeMap<String, Vec<(usize, &Gpu)>> = BTreeMap::new();
    for gpu in &gpus {
        cards.entry(gpu.1.pci.to_string()).or_default().push(*gpu);
    }
    let single = gpus.iter().map(|gpu| (gpu.1.index.to_string(), vec![*gpu]));
    let by_uuid = gpus.iter().map(|gpu| (gpu.1.uuid.clone(), vec![*gpu]));
    let all = [("all".to_owned(), gpus.clone())];
    let named = single.chain(by_uuid).chain(cards).chain(all);
    CdiSpec::new(
        kind,
        named.map(|(name, gpus)| device(&name, &gpus, ground)).collect(),
    )
}

fn device(name: &str, gpus: &[(usize, &Gpu)], ground: &Ground<'_>) -> CdiDevice {
    let render = gpus.iter().filter_map(|(at, _)| ground.devices.render.get(*at));
    let mut claim = vec!["sdg".to_owned(), "hook".to_owned(), CLAIM_VERB.to_owned()];
    claim.extend(
        gpus.iter()
            .flat_map(|(_, gpu)| [GPU_OPTION.to_owned(), gpu.uuid.clone()]),
    );
    let release = ["sdg", "hook", HookStage::Poststop.verb()]
        .map(str::to_owned)
        .to_vec();
    let hook = |stage, args: Vec<String>| HookCall {
        stage,
        path: ground.program.path.clone(),
        args: args
            .into_iter()
            .chain(ground.program.options.iter().cloned())
            .collect(),
        env: vec![HOOK_ENVIRONMENT.to_owned()],
    };
    let edits = ContainerEdits {
        slice: String::new(),
        devices: [&ground.devices.kfd].into_iter().chain(render).cloned().collect(),
        sys: (ground.sysroot != Path::new("/")).then(|| ground.sysroot.join("sys")),
        mounts: Vec::new(),
        env: Vec::new(),
        unset_env: Vec::new(),
        groups: Vec::new(),
        hooks: vec![
            hook(HookStage::CreateRuntime, claim),
            hook(HookStage::Poststop, release),
        ],
        unified: Vec::new(),
        guard: None,
    };
    from_edits::device(name, &edits)
}
