//! [`ContainerEdits`] → a container's adjustment, in the forms that containerd 1.7, 2.x and CRI-O all honour: devices,
//! mounts, environment and hooks. Pure.
//!
//! As in CDI's form there are no supplementary groups: the device nodes may be opened by everybody in the container to
//! which they are given. Unlike there variables can be removed.

use sdg::apply::conflicts::{self, Conflict};
use sdg::apply::spec::is_unwanted;
use sdg::cdi::from_edits;
use sdg::cdi::spec::{CdiEdits, CdiHook, CdiMount, CdiNode};
use sdg::edits::{ContainerEdits, HookStage};
use sdg::oci::config::{ConfigError, Spec};
use serde_json::json;

use super::messages::{
    Container, ContainerAdjustment, Hook, Hooks, KeyValue, LinuxContainerAdjustment, LinuxDevice,
    LinuxResources, Mount, OptionalFileMode,
};

/// Before the name of a variable that is to go. Source: NRI, pkg/api, "marked for removal".
const REMOVE: &str = "-";

/// What a container gets for its pod's slice.
pub fn adjustment(edits: &ContainerEdits, container: &Container) -> ContainerAdjustment {
    let cdi = from_edits::device(&edits.slice, edits).container_edits;
    ContainerAdjustment {
        mounts: cdi.mounts.iter().map(mount).collect(),
        env: environment(edits, container),
        hooks: Some(hooks(&cdi)),
        linux: Some(LinuxContainerAdjustment {
            devices: cdi.device_nodes.iter().map(device).collect(),
            resources: (!edits.unified.is_empty()).then(|| LinuxResources {
                unified: edits.unified.iter().cloned().collect(),
            }),
        }),
    }
}

fn mount(mount: &CdiMount) -> Mount {
    Mount {
        destination: mount.container_path.clone(),
        r#type: "bind".to_owned(),
        source: mount.host_path.clone(),
        options: mount.options.clone(),
    }
}

fn device(node: &CdiNode) -> LinuxDevice {
    LinuxDevice {
        path: node.path.clone(),
        r#type: node.r#type.clone(),
        major: node.major.into(),
        minor: node.minor.into(),
        file_mode: Some(OptionalFileMode {
            value: node.file_mode,
        }),
    }
}

fn environment(edits: &ContainerEdits, container: &Container) -> Vec<KeyValue> {
    let names = container
        .env
        .iter()
        .map(|entry| entry.split('=').next().unwrap_or_default());
    let unwanted = names.filter(|name| is_unwanted(edits, name));
    let removed = unwanted.map(|name| KeyValue {
        key: format!("{REMOVE}{name}"),
        value: String::new(),
    });
    let set = edits.env.iter().map(|(name, value)| KeyValue {
        key: name.clone(),
        value: value.clone(),
    });
    removed.chain(set).collect()
}

fn hooks(edits: &CdiEdits) -> Hooks {
    let of = |stage: HookStage| -> Vec<Hook> {
        let calls = edits.hooks.iter().filter(|call| call.hook_name == stage.key());
        calls.map(hook).collect()
    };
    Hooks {
        create_runtime: of(HookStage::CreateRuntime),
        create_container: of(HookStage::CreateContainer),
        poststop: of(HookStage::Poststop),
    }
}

fn hook(call: &CdiHook) -> Hook {
    Hook {
        path: call.path.clone(),
        args: call.args.clone(),
        env: call.env.clone(),
    }
}

/// What a container already has that reaches GPUs past its slice. The hook looks again, at the whole of its spec.
pub fn conflict(edits: &ContainerEdits, container: &Container) -> Result<Option<Conflict>, ConfigError> {
    let mounts = container.mounts.iter().map(|mount| {
        json!({"destination": mount.destination, "type": mount.r#type, "source": mount.source, "options": mount.options})
    });
    let devices = container.linux.iter().flat_map(|linux| &linux.devices).map(|device| {
        json!({"path": device.path, "type": device.r#type, "major": device.major, "minor": device.minor})
    });
    let spec = json!({
        "mounts": mounts.collect::<Vec<_>>(),
        "linux": {"devices": devices.collect::<Vec<_>>()},
    });
    let spec = Spec::parse(spec.to_string().as_bytes())?;
    Ok(conflicts::find(&spec, &edits.devices))
}

/// The slice whose edits a container has, by its claiming hook.
pub fn slice_of(container: &Container) -> Option<&str> {
    let hooks = container.hooks.iter().flat_map(|hooks| &hooks.create_runtime);
    hooks.into_iter().find_map(|hook| match hook.args.as_slice() {
        [sdg, group, verb, option, slice, ..]
            if sdg == "sdg"
                && group == "hook"
                && verb == HookStage::CreateRuntime.verb()
                && option == "--slice" =>
        {
            Some(slice.as_str())
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::messages::LinuxContainer;
    use super::*;
    use sdg::edits::{BindMount, HookCall};
    use sdg::inventory::DeviceFile;

    fn edits() -> ContainerEdits {
        ContainerEdits {
            slice: "0123456789ab".to_owned(),
            devices: vec![DeviceFile {
                path: "/dev/dri/renderD128".into(),
                major: 226,
                minor: 128,
                mode: 0o660,
                uid: 0,
                gid: 104,
            }],
            sys: None,
            mounts: vec![BindMount {
                source: "/run/sdg/slices/0123456789ab/limits".into(),
                target: "/run/sdg/limits".into(),
                read_only: true,
            }],
            env: vec![("ROC_GLOBAL_CU_MASK".to_owned(), "0xff".to_owned())],
            unset_env: vec!["HSA_MODEL_*".to_owned()],
            groups: vec![104],
            hooks: HookStage::ALL
                .iter()
                .copied()
                .map(|stage| HookCall {
                    stage,
                    path: "/usr/bin/sdg".into(),
                    args: ["sdg", "hook", stage.verb(), "--slice", "0123456789ab"]
                        .map(str::to_owned)
                        .to_vec(),
                    env: vec!["PATH=/usr/bin:/bin".to_owned()],
                })
                .collect(),
            unified: vec![("dmem.max".to_owned(), "drm/0 1".to_owned())],
            guard: None,
        }
    }

    #[test]
    fn a_container_gets_all_of_the_edits() {
        let container = Container {
            env: ["HSA_MODEL_LIB=/x", "HOME=/"].map(str::to_owned).to_vec(),
            ..Container::default()
        };
        let adjustment = adjustment(&edits(), &container);
        let env: Vec<(&str, &str)> = adjustment
            .env
            .iter()
            .map(|pair| (pair.key.as_str(), pair.value.as_str()))
            .collect();
        assert_eq!(env, [("-HSA_MODEL_LIB", ""), ("ROC_GLOBAL_CU_MASK", "0xff")]);
        let [mount] = adjustment.mounts.as_slice() else {
            panic!("{:?}", adjustment.mounts)
        };
        assert_eq!(mount.destination, "/run/sdg/limits");
        assert!(mount.options.iter().any(|option| option == "ro"));
        let linux = adjustment.linux.clone().unwrap();
        assert_eq!(linux.devices.first().unwrap().file_mode.unwrap().value, 0o666);
        assert_eq!(
            linux.resources.unwrap().unified.get("dmem.max").unwrap(),
            "drm/0 1"
        );
        let hooks = adjustment.hooks.unwrap();
        assert_eq!(
            [&hooks.create_runtime, &hooks.create_container, &hooks.poststop].map(Vec::len),
            [1, 1, 1]
        );
    }

    #[test]
    fn an_adjusted_container_is_known_again() {
        let mut container = Container::default();
        assert_eq!(slice_of(&container), None);
        container.hooks = adjustment(&edits(), &container).hooks;
        assert_eq!(slice_of(&container), Some("0123456789ab"));
    }

    #[test]
    fn a_way_past_the_slice_is_found() {
        let mut container = Container::default();
        assert_eq!(conflict(&edits(), &container).unwrap(), None);
        let device = |minor| LinuxDevice {
            path: format!("/dev/dri/renderD{minor}"),
            r#type: "c".to_owned(),
            major: 226,
            minor,
            file_mode: None,
        };
        let with = |devices| Some(LinuxContainer { devices });
        container.linux = with(vec![device(128)]);
        assert_eq!(conflict(&edits(), &container).unwrap(), None);
        container.linux = with(vec![device(136)]);
        assert!(matches!(
            conflict(&edits(), &container).unwrap(),
            Some(Conflict::Device { .. })
        ));
    }
}
