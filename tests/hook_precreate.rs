//! `sdg hook precreate` and `poststop` with a config that Podman 4.3.1 gave to a hook.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

#[path = "support/image.rs"]
mod image;
#[path = "support/sandbox.rs"]
mod sandbox;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use sandbox::{Sandbox, complaint, stderr};
use serde_json::{Value, json};

const CONFIG: &str = include_str!("fixtures/podman-4.3.1-config.json");

struct Container {
    sandbox: Sandbox,
    rootfs: PathBuf,
}

impl Container {
    fn new() -> Self {
        let sandbox = Sandbox::new("mi300x", &[]);
        let rootfs = sandbox.path("rootfs");
        image::fill(&rootfs);
        Self { sandbox, rootfs }
    }

    /// Podman's config with the container's root file system and these annotations.
    fn config(&self, annotations: &[(&str, &str)]) -> Value {
        let mut config: Value = serde_json::from_str(CONFIG).unwrap();
        config["root"]["path"] = json!(self.rootfs);
        let there = config["annotations"].as_object_mut().unwrap();
        there.retain(|key, _| !key.starts_with("sdg."));
        for (key, value) in annotations {
            there.insert((*key).to_owned(), json!(value));
        }
        config
    }

    fn edit(&self, config: &Value) -> Value {
        let output = self
            .sandbox
            .run_with(&["hook", "precreate"], config.to_string().as_bytes());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The one line of a refusal, after which nothing is left behind.
    fn refusal(&self, config: &Value) -> String {
        let output = self
            .sandbox
            .run_with(&["hook", "precreate"], config.to_string().as_bytes());
        assert_eq!(output.stdout, b"", "nothing for an engine to use");
        assert_eq!(self.sandbox.ledger_files(), [""; 0]);
        complaint(&output)
    }

    fn standard(&self) -> Value {
        self.config(&[("sdg.memory", "20Gi"), ("sdg.compute", "250m")])
    }

    fn preload(&self, edited: &Value) -> String {
        let mounts = edited["mounts"].as_array().unwrap();
        let mount = mounts
            .iter()
            .find(|mount| mount["destination"] == "/etc/ld.so.preload")
            .unwrap();
        std::fs::read_to_string(mount["source"].as_str().unwrap()).unwrap()
    }
}

#[test]
fn a_config_without_our_keys_comes_back_byte_for_byte() {
    let container = Container::new();
    let without = CONFIG
        .replace("sdg.memory", "other.memory")
        .replace("sdg.compute", "x");
    // Valid JSON in a form that no serializer of ours would write.
    let odd = r#"{ "annotations": {"a":"sdg.memory", "\u0062": "1"},  "x": 1.0e3 }"#;
    for text in [without.as_str(), odd, "not JSON at all", ""] {
        let output = container
            .sandbox
            .run_with(&["hook", "precreate"], text.as_bytes());
        assert!(output.status.success(), "{text}: {}", stderr(&output));
        assert_eq!(output.stdout, text.as_bytes());
    }
    assert_eq!(container.sandbox.ledger_files(), [""; 0]);
}

#[test]
fn a_user_namespace_in_which_nobody_could_look_is_refused_before_anything_is_placed() {
    let container = Container::new();
    let mut config = container.standard();
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "user"}));
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 5000}]);
    let refusal = container.refusal(&config);
    assert!(
        refusal.starts_with("sdg: a container with a user namespace of its own cannot have a slice here: ")
            && refusal.contains("leave out --userns"),
        "{refusal}"
    );
    // Its root is the host's: its hooks can look.
    config["linux"]["uidMappings"][0]["hostID"] = json!(0);
    container.edit(&config);
}

#[test]
fn the_slice_is_in_the_config_and_everything_else_is_as_it_was() {
    let container = Container::new();
    let mut config = container.standard();
    config["future"] = json!({"key": [1, 2.5, null]});
    config["linux"]["future"] = json!("kept");
    let edited = container.edit(&config);
    assert_eq!(edited["future"], config["future"]);
    assert_eq!(edited["linux"]["future"], "kept");
    assert_eq!(edited["linux"]["seccomp"], config["linux"]["seccomp"]);
    assert_eq!(
        edited["process"]["capabilities"],
        config["process"]["capabilities"]
    );
    let keys = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&edited), keys(&config), "in the same order");

    let paths: Vec<&str> = edited["linux"]["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| device["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["/dev/kfd", "/dev/dri/renderD128"]);
    let mounts: Vec<&str> = edited["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["destination"].as_str().unwrap())
        .collect();
    for target in [
        "/run/sdg/limits",
        "/run/sdg/usage",
        "/run/sdg/libsdg.so",
        "/run/sdg/libasan.so/preload",
        "/etc/ld.so.preload",
    ] {
        assert!(mounts.contains(&target), "{target} in {mounts:?}");
    }
    // Each program is told by the shim.
    assert_eq!(edited["process"]["env"], config["process"]["env"]);
    let slices = container.sandbox.slices();
    assert_eq!(slices[0]["state"], "placed");
    assert_eq!(slices[0]["gpus"][0]["compute_units"], 72);
}

#[test]
fn an_image_that_the_shim_does_not_get_into_is_refused_unless_the_administrator_allows_it() {
    let container = Container::new();
    let enforcement = || container.sandbox.slices()[0]["enforcement"].clone();
    container.edit(&container.standard());
    assert_eq!(enforcement(), json!(["devices", "cooperative"]));
    let program = container.rootfs.join("bin/sh");
    std::fs::copy("/bin/busybox", &program).unwrap();
    for slice in container.sandbox.slices() {
        container
            .sandbox
            .run(&["slice", "delete", slice["id"].as_str().unwrap()]);
    }
    let text = container.refusal(&container.standard());
    assert!(
        text.contains("/bin/sh is a static program") && text.contains("allow_uncovered_images = true"),
        "{text}"
    );
    // Whole GPUs have no limit that could be missed.
    container.edit(&container.config(&[("sdg.count", "1")]));
    assert_eq!(enforcement(), json!(["devices"]));
    let id = container.sandbox.slices()[0]["id"].clone();
    container.sandbox.run(&["slice", "delete", id.as_str().unwrap()]);
    container.sandbox.configure("allow_uncovered_images = true\n");
    container.edit(&container.standard());
    assert_eq!(enforcement(), json!(["devices"]));
}

#[test]
fn hooks_carry_the_places_and_an_environment() {
    let container = Container::new();
    let edited = container.edit(&container.standard());
    let slice = container.sandbox.slices()[0]["id"].as_str().unwrap().to_owned();
    for (stage, verb) in [
        ("createRuntime", "create-runtime"),
        ("createContainer", "create-container"),
        ("poststop", "poststop"),
    ] {
        let hook = &edited["hooks"][stage][0];
        assert_eq!(hook["env"], json!(["PATH=/usr/bin:/bin"]));
        assert!(hook["path"].as_str().unwrap().starts_with('/'));
        assert_eq!(
            hook["args"],
            json!([
                "sdg",
                "hook",
                verb,
                "--slice",
                slice,
                "--sysroot",
                container.sandbox.path("root"),
                "--state",
                container.sandbox.path("state"),
                "--config",
                container.sandbox.path("config.toml"),
            ])
        );
    }
}

#[test]
fn the_view_says_the_slice_and_leaves_the_geometry() {
    let container = Container::new();
    let edited = container.edit(&container.standard());
    let files: Vec<(String, String)> = edited["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|mount| {
            mount["destination"]
                .as_str()
                .unwrap()
                .starts_with("/sys/devices/")
        })
        .map(|mount| {
            let options = mount["options"].as_array().unwrap();
            assert!(options.contains(&json!("ro")), "{mount}");
            let content = std::fs::read_to_string(mount["source"].as_str().unwrap()).unwrap();
            (mount["destination"].as_str().unwrap().to_owned(), content)
        })
        .collect();
    let ends_with = |name: &str| files.iter().find(|(path, _)| path.ends_with(name)).unwrap();
    let (bank, text) = ends_with("/mem_banks/0/properties");
    assert!(
        bank.starts_with("/sys/devices/virtual/kfd/kfd/topology/nodes/"),
        "{bank}"
    );
    assert!(text.contains("size_in_bytes 21474836480\n"), "{text}");
    assert!(text.contains("heap_type 1\n"), "{text}");
    assert_eq!(ends_with("/mem_info_vram_total").1, "21474836480\n");
    assert_eq!(ends_with("/mem_info_vram_used").1.trim(), "0");
    assert_eq!(ends_with("/mem_info_vis_vram_total").1, "21474836480\n");
    assert_eq!(ends_with("/mem_info_vis_vram_used").1.trim(), "0");
    assert_eq!(files.len(), 5, "neither simd_count nor num_xcc");
    let sys = edited["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|mount| mount["destination"] == "/sys")
        .collect::<Vec<_>>();
    assert_eq!(sys.len(), 1);
    assert_eq!(sys[0]["source"], json!(container.sandbox.path("root/sys")));
}

#[test]
fn a_config_that_has_its_slice_is_left_alone_and_one_whose_slice_is_gone_is_refused() {
    let container = Container::new();
    let edited = container.edit(&container.standard());
    assert_eq!(container.edit(&edited), edited);
    let slices = container.sandbox.slices();
    assert_eq!(slices.len(), 1, "placed once");
    let id = slices[0]["id"].as_str().unwrap();
    let released = container
        .sandbox
        .run_with(&["hook", "poststop", "--slice", id], b"{\"id\":\"c\"}");
    assert!(released.status.success());
    let refusal = container.refusal(&edited);
    assert!(refusal.contains(id), "{refusal}");
}

#[test]
fn what_reaches_past_the_slice_is_refused_and_leaves_nothing() {
    let container = Container::new();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut config = container.standard();
        change(&mut config);
        container.refusal(&config)
    };
    let other = json!({"path": "/dev/dri/renderD136", "type": "c", "major": 226, "minor": 136});
    let refusal = with(&|config| config["linux"]["devices"] = json!([other]));
    assert!(refusal.contains("/dev/dri/renderD136 (226:136)"), "{refusal}");
    let refusal = with(&|config| {
        let mount = json!({"destination": "/dev/dri", "type": "bind", "source": "/dev/dri"});
        config["mounts"].as_array_mut().unwrap().push(mount);
    });
    assert!(refusal.contains("mounts /dev/dri"), "{refusal}");
    let refusal = with(&|config| {
        config["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
    });
    assert!(refusal.contains("a *:* rwm"), "{refusal}");
    let refusal = with(&|config| config["annotations"]["io.podman.annotations.privileged"] = json!("TRUE"));
    assert!(refusal.contains("privileged"), "{refusal}");
}

#[test]
fn bad_requests_and_bad_ground_are_refused_in_one_line_and_leave_nothing() {
    let container = Container::new();
    for (annotations, expected) in [
        (&[("sdg.memory", "300Gi")][..], "sdg.memory: 300Gi"),
        (&[("sdg.memory", "4X")], "sdg.memory: \"4X\""),
        (&[("sdg.memry", "4Gi")], "sdg.memry"),
        (
            &[("sdg.exostellar.io/compute", "250m")],
            "sdg.exostellar.io/memory",
        ),
        (&[("sdg.memory", "4Gi"), ("sdg.vendor", "other")], "sdg.vendor"),
    ] {
        let refusal = container.refusal(&container.config(annotations));
        assert!(refusal.contains(expected), "{refusal}");
    }
    let broken = container
        .sandbox
        .run_with(&["hook", "precreate"], b"{\"annotations\": {\"sdg.memory\": ");
    assert!(complaint(&broken).contains("JSON"));
}

#[test]
fn a_shim_that_not_every_program_can_load_makes_no_slice() {
    let container = Container::new();
    let shim = container.sandbox.path("libsdg.so");
    let whole = std::fs::read(&shim).unwrap();
    let set_mode = |mode| std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(mode)).unwrap();
    let refusal = || {
        let refusal = container.refusal(&container.standard());
        assert!(
            refusal.contains(shim.to_str().unwrap()) && refusal.contains("without a limit"),
            "{refusal}"
        );
        assert!(container.sandbox.ledger_files().is_empty(), "{refusal}");
        refusal
    };
    // Root may read it, and makes the slice; who runs in the container may not be root.
    set_mode(0o600);
    assert!(refusal().contains("mode 0600) (chmod o+r"));
    set_mode(0o644);
    for (content, reason) in [
        (&b""[..], "it is empty"),
        (b"hello\n", "no shared library"),
        (&whole[..100], "cut short"),
    ] {
        std::fs::write(&shim, content).unwrap();
        let refusal = refusal();
        assert!(refusal.contains(reason), "{refusal}");
    }
    std::fs::remove_file(&shim).unwrap();
    assert!(refusal().contains("libsdg.so is not there"));
    std::fs::write(&shim, whole).unwrap();
    container.edit(&container.standard());
}

#[test]
fn what_a_refusal_quotes_gives_a_terminal_no_orders() {
    let container = Container::new();
    let config = container.config(&[("sdg.mem\u{1b}[2J\nory", "1Gi")]);
    let line = container.refusal(&config);
    assert!(
        line.starts_with(r"sdg: sdg.mem\u{1b}[2J ory: no such key"),
        "{line:?}"
    );
}

#[test]
fn the_images_preload_file_is_kept_and_never_followed_out_of_the_image() {
    let container = Container::new();
    let preload = container.rootfs.join("etc/ld.so.preload");
    let secret = container.sandbox.path("secret");
    std::fs::write(&secret, "secret").unwrap();
    let place = || {
        let edited = container.edit(&container.standard());
        let content = container.preload(&edited);
        let id = container.sandbox.slices()[0]["id"].as_str().unwrap().to_owned();
        container
            .sandbox
            .run_with(&["hook", "poststop", "--slice", &id], b"");
        content
    };
    assert_eq!(place(), "/run/sdg/libasan.so/../libsdg.so\n", "none in the image");
    std::fs::write(&preload, "/opt/own.so").unwrap();
    assert_eq!(place(), "/opt/own.so\n/run/sdg/libasan.so/../libsdg.so\n");

    std::fs::rename(&preload, container.rootfs.join("real")).unwrap();
    symlink("/real", &preload).unwrap();
    assert_eq!(
        place(),
        "/opt/own.so\n/run/sdg/libasan.so/../libsdg.so\n",
        "a link is the container's, not the host's"
    );
    std::fs::remove_file(&preload).unwrap();
    symlink(&secret, &preload).unwrap();
    assert_eq!(
        place(),
        "/run/sdg/libasan.so/../libsdg.so\n",
        "what the link names is not in the image"
    );
    std::fs::remove_file(&preload).unwrap();
    symlink("../../../../../../../../../../../../secret", &preload).unwrap();
    assert_eq!(place(), "/run/sdg/libasan.so/../libsdg.so\n");
}

#[test]
fn preload_files_that_no_loader_reads_are_refused() {
    let container = Container::new();
    let preload = container.rootfs.join("etc/ld.so.preload");
    std::fs::create_dir(&preload).unwrap();
    assert!(
        container
            .refusal(&container.standard())
            .contains("no regular file")
    );
    std::fs::remove_dir(&preload).unwrap();
    nix::unistd::mkfifo(&preload, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    assert!(
        container
            .refusal(&container.standard())
            .contains("no regular file"),
        "a FIFO would never end"
    );
    std::fs::remove_file(&preload).unwrap();
    let file = std::fs::File::create(&preload).unwrap();
    file.set_len(1 << 30).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
        .unwrap();
    assert!(
        container
            .refusal(&container.standard())
            .contains("1073741824 bytes long")
    );
}

#[test]
fn poststop_releases_what_is_the_containers_and_never_fails() {
    let container = Container::new();
    container.edit(&container.standard());
    let id = container.sandbox.slices()[0]["id"].as_str().unwrap().to_owned();
    let state = format!("{{\"id\": \"c\", \"pid\": 0, \"slice\": \"{id}\"}}");
    for (slice, left) in [("000000000000", 1), ("../../etc", 1), (&id, 0), (&id, 0)] {
        let output = container
            .sandbox
            .run_with(&["hook", "poststop", "--slice", slice], state.as_bytes());
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(container.sandbox.ledger_files().len(), left);
    }
    container.edit(&container.standard());
    let id = container.sandbox.slices()[0]["id"].as_str().unwrap().to_owned();
    container.sandbox.configure("nonsense = 1\n");
    let output = container
        .sandbox
        .run_with(&["hook", "poststop", "--slice", &id], b"no state");
    assert!(output.status.success(), "a bad config does not fail a stop");
    assert!(stderr(&output).contains("config.toml:2"), "{}", stderr(&output));
    assert_eq!(container.sandbox.ledger_files(), [""; 0], "nor a release");
}

#[test]
fn an_amount_that_nobody_means_is_refused_and_a_small_one_is_told() {
    let container = Container::new();
    for key in ["sdg.memory", "sdg.exostellar.io/memoryLimit"] {
        let refusal = container.refusal(&container.config(&[(key, "3000")]));
        assert!(
            refusal.starts_with(&format!("sdg: {key}: 3000 is 3000 bytes, ")),
            "{refusal}"
        );
        assert!(refusal.ends_with("; did you mean 3000Mi?"), "{refusal}");
    }
    let config = container.config(&[("sdg.memory", "100Mi")]).to_string();
    let output = container
        .sandbox
        .run_with(&["hook", "precreate"], config.as_bytes());
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stderr(&output);
    assert!(
        told.starts_with("sdg: warning: sdg.memory: 100Mi on GPU 0 is less than a HIP program may take"),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1);
}
