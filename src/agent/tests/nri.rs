//! The plugin as a runtime sees it: what it answers, and what is in the ledger afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

mod support {
    pub mod runtime;
}

use sdg::apply::in_force;
use sdg::ledger::record::Holder;
use sdg::oci::config::Spec;
use sdg_agent::nri::adjust::slice_of;
use sdg_agent::nri::messages::{Container, ContainerAdjustment, Event, Hook, LinuxDevice, Mount, PodSandbox};
use serde_json::{Value, json};
use support::runtime::{Runtime, container, pod};

const LABELS: [(&str, &str); 6] = [
    ("sdg.exostellar.io/vendor", "amd"),
    ("sdg.exostellar.io/memory", "4Gi"),
    ("sdg.exostellar.io/memoryLimit", "20Gi"),
    ("sdg.exostellar.io/compute", "100m"),
    ("sdg.exostellar.io/computeLimit", "500m"),
    ("sdg.exostellar.io/count", "1"),
];

fn runtime() -> Runtime {
    let mut runtime = Runtime::new("mi300x");
    runtime.configure();
    runtime
}

/// The slice that a new container of a pod is given; none: it is left as it is.
fn given(runtime: &mut Runtime, pod: &PodSandbox, name: &str) -> Option<String> {
    let mut container = container(pod, name);
    container.hooks = runtime.create(pod, &container).unwrap()?.hooks;
    slice_of(&container).map(str::to_owned)
}

/// A process that is dead by the time the runtime tells of it.
fn dead() -> u32 {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    pid
}

#[test]
fn it_wants_to_hear_of_pods_and_of_new_containers() {
    let mut runtime = Runtime::new("mi300x");
    assert_eq!(runtime.configure(), 0b1111);
    assert!(!runtime.synchronize(Vec::new(), Vec::new(), false));
}

#[test]
fn a_pod_has_one_slice_for_all_its_containers_and_until_it_stops() {
    let mut runtime = runtime();
    let pod = pod("llama", &LABELS);
    runtime.happened(Event::RunPodSandbox, &pod).unwrap();
    let [slice] = runtime.slices().try_into().unwrap();
    assert!(
        matches!(&slice.holder, Holder::Pod { pod, process: Some(_), .. } if pod == "default/llama"),
        "{:?}",
        slice.holder
    );
    for name in ["init", "main", "main"] {
        assert_eq!(given(&mut runtime, &pod, name), Some(slice.id.clone()), "{name}");
    }
    assert_eq!(runtime.slices().len(), 1);
    runtime.happened(Event::StopPodSandbox, &pod).unwrap();
    assert_eq!(runtime.slices(), []);
    runtime.happened(Event::RemovePodSandbox, &pod).unwrap();
}

#[test]
fn an_adjustment_has_devices_mounts_and_all_hooks() {
    let mut runtime = runtime();
    let pod = pod("llama", &LABELS);
    let adjustment = runtime.create(&pod, &container(&pod, "main")).unwrap().unwrap();
    let devices = adjustment.linux.unwrap().devices;
    let paths: Vec<&str> = devices.iter().map(|device| device.path.as_str()).collect();
    assert_eq!(paths, ["/dev/kfd", "/dev/dri/renderD128"]);
    let targets: Vec<&str> = adjustment
        .mounts
        .iter()
        .map(|mount| mount.destination.as_str())
        .collect();
    assert!(
        targets.contains(&"/run/sdg/limits") && targets.contains(&"/etc/ld.so.preload"),
        "{targets:?}"
    );
    let hooks = adjustment.hooks.unwrap();
    assert_eq!(
        [
            hooks.create_runtime.len(),
            hooks.create_container.len(),
            hooks.poststop.len()
        ],
        [1, 1, 1]
    );
}

/// A container's spec as a runtime makes it that honours all of an adjustment.
fn spec(adjustment: &ContainerAdjustment) -> Value {
    let hooks = adjustment.hooks.clone().unwrap_or_default();
    let calls = |hooks: &[Hook]| -> Vec<Value> {
        let call = |hook: &Hook| json!({"path": hook.path, "args": hook.args, "env": hook.env});
        hooks.iter().map(call).collect()
    };
    let mount = |mount: &Mount| {
        json!({"destination": mount.destination, "type": mount.r#type, "source": mount.source,
               "options": mount.options})
    };
    let device = |device: &LinuxDevice| json!({"path": device.path, "type": device.r#type, "major": device.major, "minor": device.minor});
    let linux = adjustment.linux.clone().unwrap_or_default();
    json!({
        "mounts": adjustment.mounts.iter().map(mount).collect::<Vec<_>>(),
        "linux": {"devices": linux.devices.iter().map(device).collect::<Vec<_>>()},
        "hooks": {"createRuntime": calls(&hooks.create_runtime), "createContainer": calls(&hooks.create_container),
                  "poststop": calls(&hooks.poststop)},
    })
}

#[test]
fn whatever_a_runtime_leaves_out_of_an_adjustment_is_found_by_the_hook() {
    let mut runtime = runtime();
    let pod = pod("llama", &LABELS);
    let adjustment = runtime.create(&pod, &container(&pod, "main")).unwrap().unwrap();
    let [slice] = runtime.slices().try_into().unwrap();
    let edits = sdg::lifecycle::read_edits(&runtime.host.ledger(), &slice.id).unwrap();
    let check =
        |spec: &Value| in_force::check_spec(&edits, &Spec::parse(spec.to_string().as_bytes()).unwrap());
    let whole = spec(&adjustment);
    check(&whole).unwrap();
    // The claiming hook is what looks.
    for list in [
        "/linux/devices",
        "/mounts",
        "/hooks/createContainer",
        "/hooks/poststop",
    ] {
        let parts = whole.pointer(list).unwrap().as_array().unwrap().len();
        assert!(parts > 0, "{list}");
        for part in (0..parts).filter(|part| !is_sysfs(&whole, list, *part)) {
            let mut torn = whole.clone();
            torn.pointer_mut(list)
                .unwrap()
                .as_array_mut()
                .unwrap()
                .remove(part);
            assert!(check(&torn).is_err(), "{list} without {part}");
        }
    }
}

/// The simulated node's /sys, which no real machine has.
fn is_sysfs(spec: &Value, list: &str, part: usize) -> bool {
    spec.pointer(&format!("{list}/{part}/destination")) == Some(&json!("/sys"))
}

#[test]
fn only_named_containers_have_the_slice() {
    let mut runtime = runtime();
    let pod = pod(
        "llama",
        &[
            ("sdg.exostellar.io/memory", "4Gi"),
            ("sdg.exostellar.io/containers", "main.load"),
        ],
    );
    assert_eq!(given(&mut runtime, &pod, "sidecar"), None);
    assert!(given(&mut runtime, &pod, "main").is_some());
    assert_eq!(
        given(&mut runtime, &pod, "load"),
        given(&mut runtime, &pod, "main")
    );
}

#[test]
fn pods_that_ask_for_nothing_are_left_alone() {
    let mut runtime = runtime();
    let pod = pod("web", &[("app", "web")]);
    runtime.happened(Event::RunPodSandbox, &pod).unwrap();
    assert_eq!(given(&mut runtime, &pod, "main"), None);
    assert_eq!(runtime.slices(), []);
}

#[test]
fn a_refusal_is_one_line_and_the_session_goes_on() {
    let mut runtime = runtime();
    for (key, value, reason) in [
        ("sdg.memory", "900Gi", "900Gi is more than any GPU here has"),
        (
            "sdg.exostellar.io/memory",
            "plenty",
            "\"plenty\" is no amount of memory",
        ),
        (
            "sdg.exostellar.io/vendor",
            "nvidia",
            "\"nvidia\" is not served here",
        ),
    ] {
        let refused = pod("refused", &[(key, value), ("sdg.exostellar.io/count", "1")]);
        runtime.happened(Event::RunPodSandbox, &refused).unwrap();
        let status = runtime
            .create(&refused, &container(&refused, "main"))
            .unwrap_err();
        assert!(
            status.message.starts_with(&format!("sdg: {key}: {reason}")) && !status.message.contains('\n'),
            "{}",
            status.message
        );
        assert_eq!(runtime.slices(), []);
    }
    let fits = pod("fits", &LABELS);
    runtime.happened(Event::RunPodSandbox, &fits).unwrap();
}

#[test]
fn labels_and_annotations_that_differ_are_refused() {
    let mut runtime = runtime();
    let mut pod = pod("torn", &[("sdg.exostellar.io/memory", "4Gi")]);
    pod.annotations.insert("sdg.memory".to_owned(), "8Gi".to_owned());
    let status = runtime.create(&pod, &container(&pod, "main")).unwrap_err();
    assert!(status.message.contains("contradicts"), "{}", status.message);
}

#[test]
fn a_container_that_reaches_other_gpus_is_refused() {
    let mut runtime = runtime();
    let pod = pod("wide", &LABELS);
    let mut wide = container(&pod, "main");
    wide.mounts = vec![Mount {
        destination: "/dev/dri".to_owned(),
        r#type: "bind".to_owned(),
        source: "/dev/dri".to_owned(),
        options: Vec::new(),
    }];
    let status = runtime.create(&pod, &wide).unwrap_err();
    assert!(status.message.contains("mounts /dev/dri"), "{}", status.message);
}

#[test]
fn coming_back_it_releases_what_ended_and_keeps_what_runs() {
    let mut runtime = runtime();
    let lives = pod("lives", &LABELS);
    let ended = PodSandbox {
        pid: dead(),
        ..pod("ended", &LABELS)
    };
    for pod in [&lives, &ended] {
        runtime.happened(Event::RunPodSandbox, pod).unwrap();
    }
    // The first process of `ended` is unknown: its slice lasts until the runtime says that the pod is gone.
    assert_eq!(runtime.slices().len(), 2);
    assert!(
        runtime.synchronize(vec![lives.clone()], Vec::new(), true),
        "more to come"
    );
    assert_eq!(runtime.slices().len(), 2, "not before all is told");
    runtime.synchronize(Vec::new(), Vec::new(), false);
    let [kept] = runtime.slices().try_into().unwrap();
    assert!(matches!(&kept.holder, Holder::Pod { sandbox, .. } if *sandbox == lives.id));
}

#[test]
fn a_pod_that_stops_keeps_its_slice_while_a_container_of_it_runs() {
    let mut runtime = runtime();
    let pod = pod("slow", &LABELS);
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let mut main = container(&pod, "main");
    main.hooks = runtime.create(&pod, &main).unwrap().unwrap().hooks;
    let running = Container {
        pid: child.id(),
        ..main
    };
    runtime.synchronize(vec![pod.clone()], vec![running], false);
    runtime.happened(Event::StopPodSandbox, &pod).unwrap();
    assert_eq!(runtime.slices().len(), 1, "what it holds would be given twice");
    child.kill().unwrap();
    child.wait().unwrap();
    runtime.happened(Event::RemovePodSandbox, &pod).unwrap();
    assert_eq!(runtime.slices(), []);
}

#[test]
fn methods_of_later_versions_are_said_to_be_missing() {
    let mut runtime = runtime();
    let status = runtime.call("EvictEverything", &pod("x", &[])).unwrap_err();
    assert!(status.message.contains("EvictEverything"), "{}", status.message);
    runtime.call("Shutdown", &pod("x", &[])).unwrap();
}
