//! Capabilities that hooks keep, as the kernel shows them while a hook waits for its input.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set up its ground has failed"
)]

#[path = "support/sandbox.rs"]
mod sandbox;

use std::process::Stdio;

use sandbox::Sandbox;

/// Bits of linux/capability.h.
const DAC_OVERRIDE: u64 = 1 << 1;
const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;

fn field(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

/// The sets of a hook that waits for its input: permitted, effective, inheritable.
fn kept(args: &[&str]) -> [u64; 3] {
    let sandbox = Sandbox::new("mi300x", &[]);
    let mut hook = sandbox
        .sdg(args)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It waits in read(2), which is system call 0.
    let syscall = format!("/proc/{}/syscall", hook.id());
    while !std::fs::read_to_string(&syscall)
        .unwrap_or_default()
        .starts_with("0 ")
    {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let sets = ["CapPrm:", "CapEff:", "CapInh:"].map(|name| field(hook.id(), name));
    drop(hook.stdin.take());
    hook.wait().unwrap();
    sets
}

#[test]
fn hooks_keep_what_they_need_and_no_more() {
    let own = field(std::process::id(), "CapPrm:");
    let needed = own & (DAC_OVERRIDE | DAC_READ_SEARCH | SYS_PTRACE);
    for hook in ["precreate", "poststop"] {
        assert_eq!(kept(&["hook", hook]), [needed, needed, 0], "{hook}");
    }
    let [permitted, ..] = kept(&["hook", "create-container", "--slice", "0123456789ab"]);
    assert_eq!(permitted, needed);
    // Without a slice in its arguments it makes mounts itself.
    let [permitted, ..] = kept(&["hook", "create-container"]);
    assert_eq!(permitted & SYS_ADMIN, own & SYS_ADMIN);
}
