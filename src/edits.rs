//! Slice → [`ContainerEdits`]: everything that a container gets, as plain data. The only producer; every door
//! (Podman's hook, the runtime wrapper, NRI, CDI) applies what is planned here.
//!
//! ```text
//! record, its directory, device files, view, limits in force → ContainerEdits → apply/
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::dmem::{self, Limit};
use crate::inventory::{DeviceFile, DeviceFiles};
use crate::view::{self, ViewFile};

/// Where the shim is in a container.
pub const SHIM_TARGET: &str = "/run/sdg/libsdg.so";
/// What the loader's list calls it: the same file by a detour. The run-time library of AddressSanitizer refuses to start a
/// program whose first library has a name without `libasan.so` in it (compiler-rt, asan_linux.cpp,
/// `AsanCheckDynamicRTPrereqs`), for fear of functions that it has to replace itself; the shim has none of these. And it
/// refuses one linked statically to it where a mapped file has such a name, which the kernel knows without the detour.
pub const SHIM_LISTED: &str = "/run/sdg/libasan.so/../libsdg.so";
/// A file of ours, without which there would be no directory for the detour.
pub const DETOUR_TARGET: &str = "/run/sdg/libasan.so/preload";
/// The dynamic loader's list of libraries to load first. Source: ld.so(8).
pub const PRELOAD_TARGET: &str = "/etc/ld.so.preload";
/// File in a slice's directory: the edits as JSON, for the hook that checks them.
pub const EDITS_FILE: &str = "edits.json";
/// File in a slice's directory that is bound over [`PRELOAD_TARGET`].
pub const PRELOAD_FILE: &str = "preload";
/// Hooks get this environment and no other: with an empty one runc 1.1 gives a hook the image's.
pub const HOOK_ENVIRONMENT: &str = "PATH=/usr/bin:/bin";
/// Variables that a sliced container must not have: `HSA_MODEL_*` replaces the kernel by a library,
/// HSA_CU_MASK_SKIP_INIT leaves queues unmasked.
const UNSET: [&str; 2] = ["HSA_MODEL_*", "HSA_CU_MASK_SKIP_INIT"];

/// What a container gets for its slice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerEdits {
    /// The slice's id.
    pub slice: String,
    /// Device nodes; each with a rule in the device cgroup.
    pub devices: Vec<DeviceFile>,
    /// Directory bound read-only over `/sys`, with `--sysroot` only.
    pub sys: Option<PathBuf>,
    /// Bind mounts of single files, in order.
    pub mounts: Vec<BindMount>,
    /// Environment of slices that version 0.1.0 made; of others the shim tells each program, which reaches those that an
    /// engine executes in a running container as well.
    pub env: Vec<(String, String)>,
    /// Variables to remove; a `*` at the end stands for anything.
    pub unset_env: Vec<String>,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Hooks that the runtime calls.
    pub hooks: Vec<HookCall>,
    /// `linux.resources.unified`: cgroup v2 files and what to write there.
    pub unified: Vec<(String, String)>,
    /// Guarded calls wait for the agent: a part of the seccomp profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<Guard>,
}

/// Where guarded calls are answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// The agent's socket, to which the runtime sends the container's listener.
    pub socket: PathBuf,
}

impl ContainerEdits {
    /// Whether the runtime calls a hook at a stage.
    pub fn has_hook(&self, stage: HookStage) -> bool {
        self.hooks.iter().any(|hook| hook.stage == stage)
    }
}

/// A file of the host's in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    /// Whether the container may not write.
    pub read_only: bool,
}

/// When a hook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HookStage {
    /// After the container's namespaces and cgroup are made, in the host's namespaces. crun has made no mounts by then.
    CreateRuntime,
    /// After its mounts are made, in its mount and pid namespaces, before it changes its root.
    CreateContainer,
    /// After the container is gone.
    Poststop,
}

impl HookStage {
    /// Every stage that a slice needs.
    pub const ALL: &[Self] = &[Self::CreateRuntime, Self::CreateContainer, Self::Poststop];
    /// Those for a runtime whose mounts can be looked at from outside when its createRuntime hooks run: a hook less is a
    /// millisecond less.
    pub const OUTSIDE: &[Self] = &[Self::CreateRuntime, Self::Poststop];

    /// The stage's key in the spec.
    pub fn key(self) -> &'static str {
        match self {
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::Poststop => "poststop",
        }
    }

    /// The verb of `sdg hook`.
    pub fn verb(self) -> &'static str {
        match self {
            Self::CreateRuntime => "create-runtime",
            Self::CreateContainer => "create-container",
            Self::Poststop => "poststop",
        }
    }
}

/// A call of this program by the runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCall {
    /// When.
    pub stage: HookStage,
    /// The program, absolute.
    pub path: PathBuf,
    /// Arguments, the program's name first.
    pub args: Vec<String>,
    /// Environment, all of it.
    pub env: Vec<String>,
}

/// What edits are made from.
#[derive(Clone, Copy, Debug)]
pub struct EditInputs<'a> {
    /// The slice's id.
    pub slice: &'a str,
    /// Its directory, absolute.
    pub directory: &'a Path,
    /// Device files on this host.
    pub devices: &'a DeviceFiles,
    /// Files of the view.
    pub view: &'a [ViewFile],
    /// The shim on the host.
    pub shim: &'a Path,
    /// The system root.
    pub sysroot: &'a Path,
    /// How hooks call this program.
    pub program: &'a ProgramCall,
    /// Which hooks: [`HookStage::ALL`] or [`HookStage::OUTSIDE`].
    pub hooks: &'a [HookStage],
    /// Whether an ordinary user's engine makes the container: it cannot give groups that its user namespace does not have.
    pub is_rootless: bool,
    /// Whether and where guarded calls are answered.
    pub guard: Option<&'a Guard>,
    /// What the kernel limits; empty where it limits nothing.
    pub kernel: &'a [Limit],
}

/// How hooks call this program again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramCall {
    /// The program, absolute.
    pub path: PathBuf,
    /// Options that were given and are no defaults, with absolute paths.
    pub options: Vec<String>,
}

/// Plans what a container gets.
pub fn plan(inputs: &EditInputs<'_>) -> ContainerEdits {
    let render = &inputs.devices.render;
    let mut groups: Vec<u32> = render
        .iter()
        .map(|device| device.gid)
        .filter(|gid| *gid != 0 && !inputs.is_rootless)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    let sys = (inputs.sysroot != Path::new("/")).then(|| inputs.sysroot.join("sys"));
    ContainerEdits {
        slice: inputs.slice.to_owned(),
        devices: [&inputs.devices.kfd].into_iter().chain(render).cloned().collect(),
        sys,
        mounts: mounts(inputs),
        env: Vec::new(),
        unset_env: UNSET.map(str::to_owned).to_vec(),
        groups,
        hooks: inputs.hooks.iter().map(|stage| hook(*stage, inputs)).collect(),
        unified: dmem::unified(inputs.kernel),
        guard: inputs.guard.cloned(),
    }
}

fn mounts(inputs: &EditInputs<'_>) -> Vec<BindMount> {
    let own = |name: &str, target: &str, read_only| BindMount {
        source: inputs.directory.join(name),
        target: target.into(),
        read_only,
    };
    let mut mounts = vec![
        own(sdg_abi::limits::FILE_NAME, sdg_abi::limits::CONTAINER_PATH, true),
        own(sdg_abi::usage::FILE_NAME, sdg_abi::usage::CONTAINER_PATH, false),
        BindMount {
            source: inputs.shim.to_owned(),
            target: SHIM_TARGET.into(),
            read_only: true,
        },
        own(PRELOAD_FILE, DETOUR_TARGET, true),
        own(PRELOAD_FILE, PRELOAD_TARGET, true),
    ];
    mounts.extend(inputs.view.iter().map(|file| BindMount {
        source: inputs.directory.join(view::DIRECTORY).join(&file.name),
        target: file.target.clone(),
        read_only: true,
    }));
    mounts
}

/// Whether a mount is that of the shim.
pub fn is_shim(mount: &BindMount) -> bool {
    mount.target == Path::new(SHIM_TARGET)
}

impl ContainerEdits {
    /// What must be where in the container's files: the mounts, and the shim by the name that the list has for it. Slices of
    /// earlier versions have a list without the detour.
    pub fn places(&self) -> impl Iterator<Item = BindMount> {
        let has_detour = self
            .mounts
            .iter()
            .any(|mount| mount.target == Path::new(DETOUR_TARGET));
        let shim = self
            .mounts
            .iter()
            .filter(move |mount| has_detour && is_shim(mount));
        let listed = shim.map(|shim| BindMount {
            target: SHIM_LISTED.into(),
            ..shim.clone()
        });
        self.mounts.iter().cloned().chain(listed)
    }
}

fn hook(stage: HookStage, inputs: &EditInputs<'_>) -> HookCall {
    let mut args: Vec<String> = ["sdg", "hook", stage.verb(), "--slice", inputs.slice]
        .map(str::to_owned)
        .to_vec();
    args.extend(inputs.program.options.iter().cloned());
    HookCall {
        stage,
        path: inputs.program.path.clone(),
        args,
        env: vec![HOOK_ENVIRONMENT.to_owned()],
    }
}

/// `/etc/ld.so.preload` with the shim after what was there. glibc's loader reads to the first zero byte (elf/rtld.c,
/// `strsep`): what an image has behind one is not kept, or the shim would be behind it too.
pub fn preload_content(image: &[u8]) -> Vec<u8> {
    let read = image.split(|byte| *byte == 0).next();
    let mut content = read.unwrap_or_default().to_vec();
    if content.last().is_some_and(|byte| *byte != b'\n') {
        content.push(b'\n');
    }
    content.extend_from_slice(SHIM_LISTED.as_bytes());
    content.push(b'\n');
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preload_keeps_what_the_image_had() {
        assert_eq!(preload_content(b""), b"/run/sdg/libasan.so/../libsdg.so\n");
        assert_eq!(
            preload_content(b"/opt/a.so\n/opt/b.so"),
            b"/opt/a.so\n/opt/b.so\n/run/sdg/libasan.so/../libsdg.so\n"
        );
        assert_eq!(
            preload_content(b"/opt/a.so\0\n#"),
            b"/opt/a.so\n/run/sdg/libasan.so/../libsdg.so\n"
        );
    }
}
