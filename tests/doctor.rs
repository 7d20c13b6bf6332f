//! `sdg doctor`: every check is broken once, on simulated nodes and trees of files that stand for a machine's.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

#[path = "support/sandbox.rs"]
mod sandbox;

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use sandbox::{Sandbox, stderr};
use sdg::agent_view::AgentView;
use sdg::broker::client::BrokerError;
use sdg::config::Watchdog;
use sdg::doctor::engines::Engines;
use sdg::doctor::kernel::Kernel;
use sdg::doctor::layers::{Agent, Layers, Seen};
use sdg::doctor::machine::Machine;
use sdg::doctor::{Check, State, page, works};
use sdg::engines::Programs;
use sdg::host::{Host, Places};
use sdg::inventory::{Detail, LeftOut};
use serde_json::Value;

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn check<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks.iter().find(|check| check.name == name).unwrap()
}

/// A check that says more than "good" says what mends it.
fn bad(checks: &[Check], name: &str, state: State, mend: &str) {
    let check = check(checks, name);
    assert_eq!(check.state, state, "{check:?}");
    assert!(check.mend.as_deref().unwrap().contains(mend), "{check:?}");
    assert_eq!(works(checks), state != State::Broken);
}

fn machine(sandbox: &Sandbox) -> Vec<Check> {
    let places = Places {
        sysroot: Some(sandbox.path("root")),
        state: Some(sandbox.path("state")),
        config: Some(sandbox.path("config.toml")),
    };
    Machine::read(&Host::new(&places).unwrap()).checks()
}

#[test]
fn the_driver_and_its_gpus() {
    let sandbox = Sandbox::new("mi300x-8", &[]);
    let good = machine(&sandbox);
    assert!(works(&good));
    assert!(check(&good, "GPUs").found.starts_with("8 × "), "{good:?}");
    assert_eq!(check(&good, "partition modes").found, "8 × SPX/NPS1");
    assert_eq!(
        check(&good, "least useful slice").found,
        "8 × 503Mi (2 compute queues of 177.4Mi, 140Mi for scratch, 8Mi for itself)"
    );
    write(&sandbox.path("root"), "sys/module/amdgpu/version", "6.14.14\n");
    assert_eq!(check(&machine(&sandbox), "driver").found, "amdgpu 6.14.14");

    std::fs::remove_file(sandbox.path("root/dev/kfd")).unwrap();
    bad(&machine(&sandbox), "driver", State::Broken, "modprobe amdgpu");
}

#[test]
fn a_gpu_that_cannot_be_read_is_named_and_none_at_all_is_the_end() {
    let sandbox = Sandbox::new("mi300x-8", &[]);
    let nodes = sandbox.path("root/sys/class/kfd/kfd/topology/nodes");
    let mut gpus: Vec<_> = std::fs::read_dir(&nodes)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|node| std::fs::read_to_string(node.join("gpu_id")).unwrap().trim() != "0")
        .collect();
    let first = gpus.pop().unwrap();
    std::fs::remove_dir_all(first.join("mem_banks")).unwrap();
    let checks = machine(&sandbox);
    bad(&checks, "GPUs", State::Absent, "dmesg");
    assert!(check(&checks, "GPUs").found.starts_with("7 × "), "{checks:?}");
    for node in gpus.iter().chain([&first]) {
        std::fs::remove_dir_all(node).unwrap();
    }
    bad(&machine(&sandbox), "GPUs", State::Broken, "dmesg");
}

/// A machine with everything that slices can use.
fn kernel_tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let actions = "kill_process trap user_notif allow\n";
    write(root.path(), "proc/sys/kernel/seccomp/actions_avail", actions);
    write(
        root.path(),
        "sys/fs/cgroup/cgroup.controllers",
        "cpu memory dmem pids\n",
    );
    write(
        root.path(),
        "sys/fs/cgroup/dmem.capacity",
        "drm/0000:05:00.0/vram 206141652992\n",
    );
    root
}

fn kernel(root: &Path) -> Kernel {
    Kernel::read(root, &root.join("sys/fs/cgroup"))
}

#[test]
fn the_kernels_features() {
    let tree = kernel_tree();
    let root = tree.path();
    let checks = || kernel(root).checks();
    assert!(
        checks().iter().all(|check| check.state == State::Good),
        "{:?}",
        checks()
    );

    write(root, "sys/fs/cgroup/dmem.capacity", "");
    bad(&checks(), "dmem", State::Absent, "amdgpu of Linux 6.14");
    std::fs::remove_file(root.join("sys/fs/cgroup/dmem.capacity")).unwrap();
    bad(
        &checks(),
        "dmem",
        State::Absent,
        "echo +dmem > /sys/fs/cgroup/cgroup.subtree_control",
    );
    write(root, "sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n");
    bad(&checks(), "dmem", State::Absent, "CONFIG_CGROUP_DMEM=y");
    std::fs::remove_file(root.join("sys/fs/cgroup/cgroup.controllers")).unwrap();
    std::fs::create_dir(root.join("sys/fs/cgroup/devices")).unwrap();
    bad(
        &checks(),
        "dmem",
        State::Absent,
        "systemd.unified_cgroup_hierarchy=1",
    );
    assert_eq!(check(&checks(), "cgroups").state, State::Good);
    std::fs::remove_dir(root.join("sys/fs/cgroup/devices")).unwrap();
    bad(&checks(), "cgroups", State::Broken, "mount -t cgroup2");
}

#[test]
fn seccomp_and_openat2() {
    let tree = kernel_tree();
    write(
        tree.path(),
        "proc/sys/kernel/seccomp/actions_avail",
        "kill_process trap allow\n",
    );
    bad(
        &kernel(tree.path()).checks(),
        "seccomp",
        State::Absent,
        "CONFIG_SECCOMP_FILTER",
    );
    let mut kernel = kernel(tree.path());
    kernel.openat2 = false;
    bad(&kernel.checks(), "openat2", State::Absent, "Linux 5.6");
}

/// A machine's configuration, programs that print a version, and our own files.
struct EngineGround(tempfile::TempDir);

impl EngineGround {
    fn new(engines: &[&str]) -> Self {
        let ground = Self(tempfile::tempdir().unwrap());
        for engine in engines {
            write(
                ground.0.path(),
                &format!("bin/{engine}"),
                "#!/bin/sh\necho version 2.1.9\n",
            );
            let program = ground.0.path().join("bin").join(engine);
            std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        write(ground.0.path(), "usr/bin/sdg-runtime", "");
        std::fs::create_dir_all(ground.0.path().join("hooks")).unwrap();
        ground
    }

    fn checks(&self) -> Vec<Check> {
        let root = self.0.path();
        let programs = Programs {
            runtime: root.join("usr/bin/sdg-runtime"),
            hooks: root.join("hooks"),
        };
        Engines::read(root, root.join("bin").as_os_str(), &programs).checks()
    }
}

#[test]
fn engines_that_are_here_and_how_they_are_set_up() {
    let ground = EngineGround::new(&["podman", "containerd"]);
    let checks = ground.checks();
    assert!(works(&checks));
    assert_eq!(check(&checks, "any").found, "podman, containerd");
    assert_eq!(check(&checks, "crio").state, State::Absent);
    assert_eq!(check(&checks, "crio").mend, None);
    bad(&checks, "podman", State::Absent, "sdg setup podman");
    bad(&checks, "containerd", State::Absent, "sdg setup containerd");

    let drop_in = format!(
        "[engine]\nhooks_dir = [\"{}\"]\n",
        ground.0.path().join("hooks/podman").display()
    );
    write(
        ground.0.path(),
        "etc/containers/containers.conf.d/zz-sdg.conf",
        &drop_in,
    );
    write(ground.0.path(), "etc/containerd/config.toml", "version = \n");
    let checks = ground.checks();
    bad(&checks, "containerd", State::Absent, "--dry-run");
    assert!(
        check(&checks, "containerd").found.contains("config.toml"),
        "{checks:?}"
    );
}

#[test]
fn an_engine_that_was_set_up_is_known_again() {
    let ground = EngineGround::new(&["podman"]);
    let root = ground.0.path();
    let programs = ["--root", root.to_str().unwrap()];
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sdg"));
    assert!(
        command
            .args(["setup", "podman"])
            .args(programs)
            .status()
            .unwrap()
            .success()
    );
    // `setup --root` writes what an installed sdg needs.
    let installed = Programs {
        runtime: "/usr/bin/sdg-runtime".into(),
        hooks: "/usr/share/sdg/hooks.d".into(),
    };
    let checks = Engines::read(root, root.join("bin").as_os_str(), &installed).checks();
    assert_eq!(check(&checks, "podman").found, "set up");
}

#[test]
fn no_engine_and_half_an_installation() {
    let none = EngineGround::new(&[]);
    bad(&none.checks(), "any", State::Broken, "apt-get install podman");
    let half = EngineGround::new(&["podman"]);
    std::fs::remove_dir(half.0.path().join("hooks")).unwrap();
    bad(
        &half.checks(),
        "sdg for engines",
        State::Broken,
        "install sdg as a whole",
    );
    std::fs::set_permissions(
        half.0.path().join("bin/podman"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    assert_eq!(check(&half.checks(), "any").state, State::Broken);
}

fn host(sandbox: &Sandbox) -> Host {
    Host::new(&Places {
        sysroot: Some(sandbox.path("root")),
        state: Some(sandbox.path("state")),
        config: Some(sandbox.path("config.toml")),
    })
    .unwrap()
}

#[test]
fn layers_and_what_each_needs() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let tree = kernel_tree();
    let checks = |sandbox: &Sandbox| Layers::read(&host(sandbox), &kernel(tree.path())).checks();
    bad(
        &checks(&sandbox),
        "agent",
        State::Absent,
        "systemctl enable --now sdg-agent",
    );
    bad(
        &checks(&sandbox),
        "guarded",
        State::Absent,
        "systemctl enable --now sdg-agent",
    );
    std::fs::create_dir_all(sandbox.path("state")).unwrap();
    let agent = UnixListener::bind(host(&sandbox).guard_socket()).unwrap();
    assert!(
        checks(&sandbox).iter().all(|check| check.state == State::Good),
        "{:?}",
        checks(&sandbox)
    );
    drop(agent);
    assert_eq!(
        check(&checks(&sandbox), "agent").state,
        State::Absent,
        "a socket that nobody listens on"
    );

    std::fs::remove_file(tree.path().join("sys/fs/cgroup/dmem.capacity")).unwrap();
    std::fs::remove_file(tree.path().join("proc/sys/kernel/seccomp/actions_avail")).unwrap();
    bad(&checks(&sandbox), "dmem", State::Absent, "see kernel, dmem");
    bad(&checks(&sandbox), "guarded", State::Absent, "see kernel, seccomp");
    sandbox.configure("allow_uncovered_images = true\n");
    bad(
        &checks(&sandbox),
        "other images",
        State::Absent,
        "allow_uncovered_images = false",
    );
    let shim = sandbox.path("libsdg.so");
    std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o640)).unwrap();
    bad(&checks(&sandbox), "cooperative", State::Broken, "chmod o+r");
    std::fs::remove_file(&shim).unwrap();
    bad(&checks(&sandbox), "cooperative", State::Broken, "install sdg");
    std::fs::write(&shim, "hello").unwrap();
    bad(&checks(&sandbox), "cooperative", State::Broken, "install sdg");
}

#[test]
fn what_the_watchdog_would_do_is_not_done_without_the_agent() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let tree = kernel_tree();
    let checks = || Layers::read(&host(&sandbox), &kernel(tree.path())).checks();
    bad(
        &checks(),
        "watchdog",
        State::Absent,
        "systemctl enable --now sdg-agent",
    );
    let found = |setting: &str| {
        sandbox.configure(setting);
        check(&checks(), "watchdog").found.clone()
    };
    assert_eq!(
        found(""),
        "watchdog = \"kill\", but sdg-agent, which would do it, does not run"
    );
    assert!(found("watchdog = \"log\"\n").starts_with("watchdog = \"log\", but sdg-agent"));
    std::fs::create_dir_all(sandbox.path("state")).unwrap();
    let _agent = UnixListener::bind(host(&sandbox).guard_socket()).unwrap();
    assert_eq!(
        found("watchdog = \"log\"\n"),
        "a process that has more than its slice is told of in the agent's log"
    );
    assert_eq!(found(""), "a process that has more than its slice is killed");
    assert!(found("watchdog = \"off\"\n").contains("nobody looks"));
    bad(&checks(), "watchdog", State::Absent, "watchdog = \"kill\"");
}

#[test]
fn an_agent_that_sees_fewer_gpus_than_there_are_is_told_of() {
    let sandbox = Sandbox::new("mi300x-8", &[]);
    let tree = kernel_tree();
    let state = sandbox.path("state");
    let checks = || Layers::read(&host(&sandbox), &kernel(tree.path())).checks();
    let mut inventory = host(&sandbox).inventory(Detail::Placement).unwrap();
    AgentView::of(&inventory).write(&state).unwrap();
    let _agent = UnixListener::bind(host(&sandbox).guard_socket()).unwrap();
    assert_eq!(check(&checks(), "agent").found, "answers");
    inventory.gpus.truncate(6);
    inventory.left_out = [6, 7]
        .map(|index| LeftOut {
            index,
            node: index + 2,
            reason: format!("reason {index}"),
        })
        .into();
    AgentView::of(&inventory).write(&state).unwrap();
    bad(&checks(), "agent", State::Absent, "DeviceAllow=char-drm rw");
    assert_eq!(
        check(&checks(), "agent").found,
        "answers, but sees 6 of 8 GPUs: GPU 6 (KFD node 8) is left out: reason 6; and 1 more"
    );
}

#[test]
fn an_ordinary_user_is_told_one_thing_of_the_agent() {
    let forbidden = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
    let refused = || Err(BrokerError::Refused("user 65534 is no member".to_owned()));
    let absent = || {
        Err(BrokerError::Absent {
            socket: "/run/sdg/broker.sock".into(),
            source: io::Error::from(io::ErrorKind::NotFound),
        })
    };
    // Whoever is refused has been answered.
    for (broker, seen) in [
        (Ok(()), Agent::Answers),
        (refused(), Agent::Answers),
        (absent(), Agent::Unseen),
    ] {
        assert_eq!(Agent::of(&forbidden(), Some(&broker)), seen, "{broker:?}");
    }
    let nobody = Err(io::Error::from(io::ErrorKind::ConnectionRefused));
    assert_eq!(Agent::of(&nobody, Some(&absent())), Agent::Silent);
    assert_eq!(Agent::of(&nobody, None), Agent::Silent);

    let layers = |agent, slices, broker: Result<(), String>| Layers {
        shim: Ok("/usr/lib/sdg/libsdg.so".into()),
        ledger: Err("/run/sdg: Permission denied".to_owned()),
        broker: Some(broker),
        slices: Ok(slices),
        agent,
        agent_fault: None,
        watchdog: Watchdog::Kill,
        dmem: true,
        user_notification: true,
        allow_uncovered: false,
    };
    let checks = layers(Agent::Answers, Seen::Own(2), Ok(())).checks();
    assert!(works(&checks), "{checks:?}");
    for (name, found) in [
        (
            "ledger",
            "root's: the broker of sdg-agent places slices for this user",
        ),
        ("slices", "2 of this user's"),
        ("agent", "answers"),
        ("guarded", "for root's slices that ask for it"),
        ("watchdog", "a process that has more than its slice is killed"),
    ] {
        assert_eq!(check(&checks, name).found, found);
    }
    let checks = layers(Agent::Unseen, Seen::Nothing, Err("no broker answers".to_owned())).checks();
    for name in ["slices", "agent", "guarded", "watchdog"] {
        assert_eq!(check(&checks, name).found, "root's to see");
    }
}

#[test]
fn a_ledger_that_cannot_be_written() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let mut host = host(&sandbox);
    // Not even root makes a directory there.
    host.state = sandbox.path("libsdg.so").join("state");
    let checks = Layers::read(&host, &kernel(Path::new("/"))).checks();
    bad(&checks, "ledger", State::Broken, "run as root");
}

fn doctor(sandbox: &Sandbox, path: &OsStr, args: &[&str]) -> std::process::Output {
    // The test's program is in no installation: its runtime and hooks are looked for beside it.
    sandbox
        .sdg(&[&["doctor"], args].concat())
        .env("PATH", path)
        .output()
        .unwrap()
}

#[test]
fn the_program_prints_a_page_or_json_and_its_status_says_whether_slices_work() {
    let mut sandbox = Sandbox::new("mi300x", &[]);
    let engines = EngineGround::new(&["podman"]);
    let path = engines.0.path().join("bin");
    let installed = sandbox.path("usr/bin");
    std::fs::create_dir_all(&installed).unwrap();
    std::fs::create_dir_all(sandbox.path("usr/share/sdg/hooks.d")).unwrap();
    for name in ["sdg", "sdg-runtime"] {
        std::fs::copy(env!("CARGO_BIN_EXE_sdg"), installed.join(name)).unwrap();
    }
    sandbox.program = installed.join("sdg");

    let output = doctor(&sandbox, path.as_os_str(), &["--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["works"], true);
    let groups: Vec<&str> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["group"].as_str().unwrap())
        .collect();
    for group in ["machine", "kernel", "engines", "layers"] {
        assert!(groups.contains(&group), "{groups:?}");
    }

    std::fs::remove_file(sandbox.path("root/dev/kfd")).unwrap();
    let output = doctor(&sandbox, path.as_os_str(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "sdg: slices do not work here: machine: driver\n");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("BROKEN  driver") && text.contains("→ modprobe amdgpu"),
        "{text}"
    );
    assert!(text.ends_with("slices do not work here\n"), "{text}");
}

#[test]
fn a_page_says_what_mends() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let text = page(&machine(&sandbox));
    assert!(text.starts_with("machine\n  good    driver "), "{text}");
    assert!(text.ends_with("slices work here\n"), "{text}");
}
