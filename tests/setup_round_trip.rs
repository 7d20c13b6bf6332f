//! `sdg setup` on the configurations that packages install, on none and on much edited ones: what is put in, that a
//! second run changes nothing, and that `--remove` gives back every byte.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic"
)]

use std::path::{Path, PathBuf};

use sdg::engines::tree::Tree;
use sdg::engines::version::EngineVersion;
use sdg::engines::{Action, Engine, Inputs, Plan, Programs, SetupError};

const CONTAINERD: &str = "/etc/containerd/config.toml";
const DOCKER: &str = "/etc/docker/daemon.json";
const PODMAN: &str = "/etc/containers/containers.conf.d/zz-sdg.conf";
const CRIO: &str = "/etc/crio/crio.conf.d/zz-sdg.conf";

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/engines")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::default();
    for (path, text) in files {
        tree.insert(Path::new(path), text);
    }
    tree
}

fn plan(engine: Engine, action: Action, version: (u32, u32), tree: &Tree) -> Result<Plan, SetupError> {
    engine.plan(&Inputs {
        action,
        tree,
        version: Some(EngineVersion::new(version.0, version.1)),
        programs: &Programs {
            runtime: PathBuf::from("/usr/bin/sdg-runtime"),
            hooks: PathBuf::from("/usr/share/sdg/hooks.d"),
        },
    })
}

/// Installs, checks that a second run changes nothing and that a removal gives back what was there; returns what is
/// there in between.
fn round_trip(engine: Engine, version: (u32, u32), before: &Tree) -> Tree {
    let installed = plan(engine, Action::Install, version, before).unwrap();
    assert!(!installed.changes.is_empty(), "nothing was installed");
    let there = before.clone().with(&installed.changes);
    let again = plan(engine, Action::Install, version, &there).unwrap();
    assert!(
        again.changes.is_empty(),
        "a second run has an effect: {:?}",
        again.changes
    );
    let removed = plan(engine, Action::Remove, version, &there).unwrap();
    let after = there.clone().with(&removed.changes);
    assert!(
        after == *before,
        "--remove is not the reverse: {:?}",
        removed.changes
    );
    there
}

fn toml(tree: &Tree, path: &str) -> toml::Table {
    tree.text(Path::new(path)).expect(path).parse().unwrap()
}

fn at<'a>(table: &'a toml::Table, keys: &[&str]) -> Option<&'a toml::Value> {
    let (first, rest) = keys.split_first()?;
    rest.iter()
        .try_fold(table.get(*first)?, |value, key| value.get(*key))
}

#[test]
fn containerd_of_each_version_with_its_own_defaults_debians_file_and_none() {
    const V2: &str = "io.containerd.grpc.v1.cri";
    const V3: &str = "io.containerd.cri.v1.runtime";
    let debian = fixture("containerd-debian.toml");
    for (suite, version, fresh) in [
        ("bookworm", (1, 6), V2),
        ("trixie", (1, 7), V2),
        ("sid", (2, 1), V3),
    ] {
        let default = fixture(&format!("containerd-default-{suite}.toml"));
        for (text, plugin) in [(Some(&default), fresh), (Some(&debian), V2), (None, fresh)] {
            let files: Vec<(&str, &str)> = text.iter().map(|text| (CONTAINERD, text.as_str())).collect();
            let there = round_trip(Engine::Containerd, version, &tree(&files));
            let config = toml(&there, CONTAINERD);
            let runtime = ["plugins", plugin, "containerd", "runtimes", "sdg"];
            let of = |key| at(&config, &[&runtime[..], &[key]].concat()).cloned();
            assert_eq!(
                of("runtime_type"),
                Some("io.containerd.runc.v2".into()),
                "{suite}"
            );
            let patterns = toml::Value::from(vec!["sdg.*", "sdg.exostellar.io/*"]);
            assert_eq!(of("pod_annotations"), Some(patterns.clone()), "{suite}");
            assert_eq!(of("container_annotations"), Some(patterns), "{suite}");
            let name = at(&config, &[&runtime[..], &["options", "BinaryName"]].concat());
            assert_eq!(name, Some(&"/usr/bin/sdg-runtime".into()), "{suite}");
            // containerd forgets its own definition of the default runtime where a file defines any.
            let runc = [
                "plugins",
                plugin,
                "containerd",
                "runtimes",
                "runc",
                "runtime_type",
            ];
            assert_eq!(
                at(&config, &runc),
                Some(&"io.containerd.runc.v2".into()),
                "{suite}"
            );
            let cdi = at(&config, &["plugins", plugin, "enable_cdi"]).and_then(toml::Value::as_bool);
            let expected = match (version, text) {
                ((1, 7), _) => Some(true),
                // The default file says so by itself.
                ((2, 1), Some(text)) if *text == default => Some(true),
                _ => None,
            };
            assert_eq!(cdi, expected, "{suite}");
        }
    }
}

#[test]
fn containerd_edited_by_people_keeps_every_byte_and_the_cgroup_driver() {
    let edited = fixture("containerd-edited.toml");
    let there = round_trip(Engine::Containerd, (1, 7), &tree(&[(CONTAINERD, &edited)]));
    let text = there.text(Path::new(CONTAINERD)).unwrap();
    let lost: Vec<&str> = edited.lines().filter(|line| !text.contains(line)).collect();
    assert_eq!(lost, ["  enable_cdi = false # nobody needed it"]);
    assert!(text.contains("  enable_cdi = true # nobody needed it"));
    let config = toml(&there, CONTAINERD);
    let runtimes = ["plugins", "io.containerd.grpc.v1.cri", "containerd", "runtimes"];
    let option = |key| at(&config, &[&runtimes[..], &["sdg", "options", key]].concat()).cloned();
    assert_eq!(
        option("SystemdCgroup"),
        Some(true.into()),
        "as the default runtime's"
    );
    assert_eq!(option("BinaryName"), Some("/usr/bin/sdg-runtime".into()));
}

#[test]
fn containerd_1_takes_a_plugins_section_from_the_last_file_that_has_it() {
    let edited = fixture("containerd-edited.toml");
    let import = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/opt/cni/bin\"\n";
    let file = "/etc/containerd/conf.d/cni.toml";
    let before = tree(&[
        (CONTAINERD, &edited),
        (file, import),
        ("/etc/containerd/conf.d/other.toml", "version = 2\n"),
    ]);
    let there = round_trip(Engine::Containerd, (1, 7), &before);
    assert_eq!(there.text(Path::new(CONTAINERD)), Some(edited.as_str()));
    assert!(
        there
            .text(Path::new(file))
            .unwrap()
            .contains("/usr/bin/sdg-runtime")
    );
    let there = round_trip(Engine::Containerd, (2, 1), &before);
    assert_eq!(
        there.text(Path::new(file)),
        Some(import),
        "containerd 2 merges sections"
    );
}

#[test]
fn containerd_in_inline_tables() {
    let text = "version = 2\n[plugins]\n\"io.containerd.grpc.v1.cri\" = { containerd = { runtimes = { runc = { runtime_type = \"io.containerd.runc.v2\" } } } }\n";
    let there = round_trip(Engine::Containerd, (1, 6), &tree(&[(CONTAINERD, text)]));
    let config = toml(&there, CONTAINERD);
    let keys = [
        "plugins",
        "io.containerd.grpc.v1.cri",
        "containerd",
        "runtimes",
        "sdg",
        "options",
        "BinaryName",
    ];
    assert_eq!(at(&config, &keys), Some(&"/usr/bin/sdg-runtime".into()));
}

#[test]
fn what_people_change_after_setup_stays() {
    let before = tree(&[(CONTAINERD, &fixture("containerd-debian.toml")), (DOCKER, "{}\n")]);
    for (engine, path, old, new) in [
        (
            Engine::Containerd,
            CONTAINERD,
            "[plugins]",
            "# mine\noom_score = 7\n[plugins]",
        ),
        (Engine::Docker, DOCKER, "{", "{\n  \"debug\": true,"),
    ] {
        let version = if engine == Engine::Docker { (26, 1) } else { (1, 7) };
        let there = before
            .clone()
            .with(&plan(engine, Action::Install, version, &before).unwrap().changes);
        let path = Path::new(path);
        let text = there.text(path).unwrap().replacen(old, new, 1);
        let mut edited = there.clone();
        edited.insert(path, &text);
        let removed = edited
            .clone()
            .with(&plan(engine, Action::Remove, version, &edited).unwrap().changes);
        let text = removed.text(path).unwrap();
        assert!(
            text.contains("oom_score = 7") || text.contains("\"debug\": true"),
            "{text}"
        );
        assert!(!text.contains("sdg"), "{text}");
    }
}

#[test]
fn docker_is_merged_and_cdi_switched_on_where_it_is_not_by_default() {
    let edited = fixture("docker-edited.json");
    // What grows beyond its line gets lines of its own and keeps them.
    let one_line = "{\"debug\":true,\"runtimes\":{}}";
    for (version, text, cdi) in [
        ((26, 1), None, Some(true)),
        ((28, 5), None, None),
        ((20, 10), None, None),
        ((26, 1), Some("{}"), Some(true)),
        ((26, 1), Some(one_line), Some(true)),
        ((26, 1), Some(edited.as_str()), Some(true)),
        ((28, 5), Some(edited.as_str()), Some(true)),
    ] {
        let files: Vec<(&str, &str)> = text.iter().map(|text| (DOCKER, *text)).collect();
        let before = tree(&files);
        let installed = plan(Engine::Docker, Action::Install, version, &before).unwrap();
        let there = before.clone().with(&installed.changes);
        let json: serde_json::Value = serde_json::from_str(there.text(Path::new(DOCKER)).unwrap()).unwrap();
        assert_eq!(json["runtimes"]["sdg"]["path"], "/usr/bin/sdg-runtime");
        assert_eq!(
            json["features"].get("cdi").and_then(|cdi| cdi.as_bool()),
            cdi,
            "{version:?} {text:?}"
        );
        if text != Some(one_line) {
            round_trip(Engine::Docker, version, &before);
        }
    }
    let there = round_trip(Engine::Docker, (26, 1), &tree(&[(DOCKER, &edited)]));
    let text = there.text(Path::new(DOCKER)).unwrap();
    for kept in [
        "\"log-opts\": { \"max-size\": \"10m\",  \"max-file\": \"3\" }",
        "  \"insecure-registries\" : [\"a.example:5000\",\"b.example:5000\"],",
    ] {
        assert!(text.contains(kept), "{text}");
    }
}

#[test]
fn podman_keeps_the_hooks_directories_that_were_configured() {
    let ours = "/usr/share/sdg/hooks.d/podman";
    let default = "/usr/share/containers/oci/hooks.d";
    let etc = "/etc/containers/containers.conf";
    let drop_in = "/etc/containers/containers.conf.d/50-site.conf";
    for (files, expected) in [
        (vec![], vec![default, ours]),
        (
            vec![(etc, "[engine]\nhooks_dir = [\"/a\", \"/b\"]\n")],
            vec!["/a", "/b", ours],
        ),
        (
            vec![
                (etc, "[engine]\nhooks_dir = [\"/a\"]\n"),
                (drop_in, "[engine]\nhooks_dir = [\"/c\"]\n"),
            ],
            vec!["/c", ours],
        ),
        (
            vec![
                (etc, "[engine]\nhooks_dir = [\"/a\"]\n"),
                (drop_in, "[engine]\nhooks_dir = [\"/c\", {append=true}]\n"),
            ],
            vec!["/a", "/c", ours],
        ),
    ] {
        let there = round_trip(Engine::Podman, (5, 4), &tree(&files));
        let config = toml(&there, PODMAN);
        assert_eq!(at(&config, &["engine", "hooks_dir"]), Some(&expected.into()));
    }
}

#[test]
fn crio_gets_its_own_hooks_directory_and_a_handler() {
    let site = "[crio.runtime]\nhooks_dir = [\"/a\"]\n";
    for (files, first) in [
        (vec![], "/usr/share/containers/oci/hooks.d"),
        (vec![("/etc/crio/crio.conf.d/10-site", site)], "/a"),
    ] {
        let there = round_trip(Engine::Crio, (1, 30), &tree(&files));
        let config = toml(&there, CRIO);
        let hooks = vec![first, "/usr/share/sdg/hooks.d/crio"];
        assert_eq!(
            at(&config, &["crio", "runtime", "hooks_dir"]),
            Some(&hooks.into())
        );
        let path = at(&config, &["crio", "runtime", "runtimes", "sdg", "runtime_path"]);
        assert_eq!(path, Some(&"/usr/bin/sdg-runtime".into()));
    }
}

#[test]
fn what_somebody_else_wrote_under_our_name_is_refused() {
    let taken = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.sdg]\nruntime_type = \"x\"\n";
    for (engine, path, text) in [
        (Engine::Containerd, CONTAINERD, taken),
        (
            Engine::Docker,
            DOCKER,
            "{\"runtimes\": {\"sdg\": {\"path\": \"/opt/other\"}}}",
        ),
        (
            Engine::Docker,
            DOCKER,
            "{\"runtimes\": {\"sdg\": {\"runtimeType\": \"other\"}}}",
        ),
        (Engine::Podman, PODMAN, "[engine]\nhooks_dir = []\n"),
        (Engine::Crio, CRIO, "[crio]\n"),
        (
            Engine::Crio,
            CRIO,
            "# Written by `sdg setup podman`, and then by me\n[crio]\n",
        ),
    ] {
        let before = tree(&[(path, text)]);
        let error = plan(engine, Action::Install, (1, 7), &before).unwrap_err();
        assert!(
            matches!(error, SetupError::Taken { .. } | SetupError::NotOurs(_)),
            "{error}"
        );
        assert_eq!(plan(engine, Action::Remove, (1, 7), &before).unwrap().changes, []);
    }
}

#[test]
fn broken_files_are_named_with_the_line() {
    let error = plan(
        Engine::Containerd,
        Action::Install,
        (1, 7),
        &tree(&[(CONTAINERD, "version = 2\n[plugins\n")]),
    );
    let text = error.unwrap_err().to_string();
    assert!(text.starts_with("/etc/containerd/config.toml: line 2:"), "{text}");
    let error = plan(
        Engine::Docker,
        Action::Install,
        (26, 1),
        &tree(&[(DOCKER, "{\"debug\": true,}")]),
    );
    let text = error.unwrap_err().to_string();
    assert!(text.starts_with("/etc/docker/daemon.json: "), "{text}");
    let error = plan(
        Engine::Containerd,
        Action::Install,
        (1, 7),
        &tree(&[(CONTAINERD, "version = 2\nplugins = 7\n")]),
    );
    assert!(error.unwrap_err().to_string().contains("plugins is not a table"));
}
