//! A container's config.json: a slice is put in; what we do not know of it survives, and what was put in is found in force.

use std::path::PathBuf;

use sdg::apply::claims::Claims;
use sdg::apply::{conflicts, in_force, spec};
use sdg::edits::{BindMount, ContainerEdits, HookCall, HookStage};
use sdg::inventory::DeviceFile;
use sdg::oci::config::Spec;
use sdg::request;
use serde_json::{Map, Value};

use super::is_one_line;

/// Where edits are made. Anything else of a config is left as it is.
const EDITED: [&str; 4] = ["process", "mounts", "linux", "hooks"];
const EDITED_OF_PROCESS: [&str; 2] = ["env", "user"];
const EDITED_OF_LINUX: [&str; 2] = ["devices", "resources"];

pub fn run(data: &[u8]) {
    let before = match Spec::parse(data) {
        Ok(before) => before,
        Err(error) => return is_one_line(&error),
    };
    if let Err(error) = request::parse(before.annotations()) {
        is_one_line(&error);
    }
    let claims = Claims::of(&before);
    for error in [claims.check(), claims.check_annotations()]
        .into_iter()
        .filter_map(Result::err)
    {
        is_one_line(&error);
    }
    let edits = edits();
    let conflict = conflicts::find(&before, &edits.devices);
    if let Some(conflict) = &conflict {
        is_one_line(conflict);
    }
    let mut after = before.clone();
    match spec::apply(&edits, &mut after) {
        Ok(()) => compare(&before, &after, &edits),
        Err(error) => is_one_line(&error),
    }
}

fn compare(before: &Spec, after: &Spec, edits: &ContainerEdits) {
    if let Err(error) = in_force::check_spec(edits, after) {
        panic!("what was put in is not in force: {error}");
    }
    let [before, after] = [before, after].map(|spec| match serde_json::from_slice(&spec.to_json()) {
        Ok(Value::Object(object)) => object,
        other => panic!("a config became {other:?}"),
    });
    same_but(&before, &after, &EDITED);
    for (key, edited) in [("process", &EDITED_OF_PROCESS), ("linux", &EDITED_OF_LINUX)] {
        if let (Some(Value::Object(before)), Some(Value::Object(after))) = (before.get(key), after.get(key)) {
            same_but(before, after, edited);
        }
    }
}

fn same_but(before: &Map<String, Value>, after: &Map<String, Value>, edited: &[&str]) {
    for (key, value) in before.iter().filter(|(key, _)| !edited.contains(&key.as_str())) {
        assert_eq!(after.get(key), Some(value), "{key} did not survive");
    }
}

fn edits() -> ContainerEdits {
    let device = |path: &str, (major, minor)| DeviceFile {
        path: path.into(),
        major,
        minor,
        mode: 0o660,
        uid: 0,
        gid: 104,
    };
    let slice = "0123456789ab";
    let directory = PathBuf::from("/run/sdg/slices").join(slice);
    let mount = |file: &str, target: &str| BindMount {
        source: directory.join(file),
        target: target.into(),
        read_only: true,
    };
    let hook = |stage: HookStage| HookCall {
        stage,
        path: "/usr/bin/sdg".into(),
        args: ["sdg", "hook", stage.verb(), "--slice", slice]
            .map(str::to_owned)
            .to_vec(),
        env: vec!["PATH=/usr/bin:/bin".to_owned()],
    };
    ContainerEdits {
        slice: slice.to_owned(),
        devices: vec![
            device("/dev/kfd", (511, 0)),
            device("/dev/dri/renderD128", (226, 128)),
        ],
        sys: Some("/simulated/sys".into()),
        mounts: vec![
            mount("preload", "/etc/ld.so.preload"),
            mount("limits", "/run/sdg/limits"),
        ],
        env: vec![("ROC_GLOBAL_CU_MASK".to_owned(), "0xff".to_owned())],
        unset_env: vec!["HSA_MODEL_*".to_owned()],
        groups: vec![104],
        hooks: HookStage::ALL.iter().copied().map(hook).collect(),
        unified: vec![("dmem.max".to_owned(), "drm/0000:47:00.0/vram 1".to_owned())],
        guard: None,
    }
}
