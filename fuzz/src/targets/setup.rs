//! The configuration of an engine, as a person left it: `sdg setup` can be run again without effect, and `--remove` gives
//! back every byte. The first byte says whose, and in which version.

use std::path::{Path, PathBuf};

use sdg::engines::tree::Tree;
use sdg::engines::version::EngineVersion;
use sdg::engines::{Action, Engine, Inputs, Plan, Programs, SetupError};

use super::is_one_line;

const CASES: [(Engine, (u32, u32), &str); 6] = [
    (Engine::Containerd, (1, 6), "/etc/containerd/config.toml"),
    (Engine::Containerd, (1, 7), "/etc/containerd/config.toml"),
    (Engine::Containerd, (2, 1), "/etc/containerd/config.toml"),
    (Engine::Docker, (26, 1), "/etc/docker/daemon.json"),
    (
        Engine::Podman,
        (5, 4),
        "/etc/containers/containers.conf.d/zz-sdg.conf",
    ),
    (Engine::Crio, (1, 30), "/etc/crio/crio.conf.d/zz-sdg.conf"),
];

pub fn run(data: &[u8]) {
    let Some((first, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let (engine, version, path) = CASES[usize::from(*first) % CASES.len()];
    let mut before = Tree::default();
    before.insert(Path::new(path), text);
    let plan = |action, tree: &Tree| plan((engine, version), action, tree);
    let installed = match plan(Action::Install, &before) {
        Ok(installed) => installed,
        Err(error) => return is_one_line(&error),
    };
    let there = before.clone().with(&installed.changes);
    let again = plan(Action::Install, &there).expect("a second run");
    assert!(
        again.changes.is_empty(),
        "a second run has an effect: {:?}",
        again.changes
    );
    let removed = plan(Action::Remove, &there).expect("a removal");
    // Where it was in place before, as a file of ours may have been, a removal takes it away.
    if !installed.changes.is_empty() {
        let after = there.with(&removed.changes);
        let after = after.text(Path::new(path));
        // A last line gets its end, an empty JSON file its braces; a byte order mark goes, and so do carriage returns.
        let text = &text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
        let is_back = after.is_some_and(|after| {
            after == text
                || after.strip_suffix('\n') == Some(text)
                || (text.trim().is_empty() && after == "{}\n")
        });
        // A drop-in that is ours by its first line is written anew, and goes.
        let is_drop_in = path.ends_with("/zz-sdg.conf") && text.starts_with("# Written by `sdg setup ");
        let is_ours = is_drop_in && after.is_none();
        assert!(
            is_back || is_ours || says_the_same(text, after),
            "{text:?} comes back as {after:?}"
        );
    }
}

/// What is written within braces on one line may come back on several, or with tables that are empty.
fn says_the_same(before: &str, after: Option<&str>) -> bool {
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).map(|value| value.to_string());
    let toml = |text: &str| {
        text.parse::<toml::Table>()
            .map(|table| without_empty(toml::Value::Table(table)))
    };
    let same = |after: &str| match (json(before), json(after), toml(before), toml(after)) {
        (Ok(before), Ok(after), ..) => before == after,
        (.., Ok(before), Ok(after)) => before == after,
        _ => false,
    };
    before.contains('{') && after.is_some_and(same)
}

fn without_empty(value: toml::Value) -> toml::Value {
    let toml::Value::Table(table) = value else {
        return value;
    };
    let kept = table.into_iter().map(|(key, value)| (key, without_empty(value)));
    toml::Value::Table(
        kept.filter(|(_, value)| value.as_table().is_none_or(|table| !table.is_empty()))
            .collect(),
    )
}

fn plan(
    (engine, (major, minor)): (Engine, (u32, u32)),
    action: Action,
    tree: &Tree,
) -> Result<Plan, SetupError> {
    engine.plan(&Inputs {
        action,
        tree,
        version: Some(EngineVersion::new(major, minor)),
        programs: &Programs {
            runtime: PathBuf::from("/usr/bin/sdg-runtime"),
            hooks: PathBuf::from("/usr/share/sdg/hooks.d"),
        },
    })
}
