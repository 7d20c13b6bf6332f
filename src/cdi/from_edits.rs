//! [`ContainerEdits`] → a CDI device. Pure.
//!
//! What CDI cannot say: variables to remove (the hook that claims the slice refuses a container that has them) and, in
//! the versions that all engines understand, supplementary groups: the device nodes may be opened by everybody in the
//! container instead, to which they are given.

use crate::cdi::spec::{CdiDevice, CdiEdits, CdiHook, CdiMount, CdiNode};
use crate::edits::{BindMount, ContainerEdits, HookCall};
use crate::inventory::DeviceFile;

/// What everybody in the container may do with its devices.
const NODE_MODE: u32 = 0o666;

/// A device of these edits.
pub fn device(name: &str, edits: &ContainerEdits) -> CdiDevice {
    let sys = edits.sys.iter().map(|source| CdiMount {
        host_path: text(source),
        container_path: "/sys".to_owned(),
        options: options(&["rbind", "ro", "nosuid", "noexec", "nodev"]),
    });
    CdiDevice {
        name: name.to_owned(),
        container_edits: CdiEdits {
            env: edits
                .env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            device_nodes: edits.devices.iter().map(node).collect(),
            hooks: edits.hooks.iter().map(hook).collect(),
            mounts: sys.chain(edits.mounts.iter().map(mount)).collect(),
        },
    }
}

/// A device node.
pub fn node(device: &DeviceFile) -> CdiNode {
    CdiNode {
        path: text(&device.path),
        r#type: "c".to_owned(),
        major: device.major,
        minor: device.minor,
        file_mode: NODE_MODE,
        permissions: "rwm".to_owned(),
    }
}

/// A hook.
pub fn hook(call: &HookCall) -> CdiHook {
    CdiHook {
        hook_name: call.stage.key().to_owned(),
        path: text(&call.path),
        args: call.args.clone(),
        env: call.env.clone(),
    }
}

fn mount(mount: &BindMount) -> CdiMount {
    let access = if mount.read_only { "ro" } else { "rw" };
    CdiMount {
        host_path: text(&mount.source),
        container_path: text(&mount.target),
        options: options(&["bind", "private", access, "nosuid", "nodev"]),
    }
}

fn options(options: &[&str]) -> Vec<String> {
    options.iter().map(|option| (*option).to_owned()).collect()
}

fn text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}
