//! What the kernel has of what slices can use.

use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, openat2};

use super::{Check, State};
use crate::dmem::{self, Region};
use crate::files::below;

const GROUP: &str = "kernel";

/// How cgroups are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// Not at all.
    None,
    /// Version 1, perhaps with version 2 beside it.
    V1,
    /// Version 2 alone.
    V2,
}

/// What was read.
#[derive(Debug)]
pub struct Kernel {
    /// How cgroups are mounted.
    pub cgroups: Cgroups,
    /// Whether the controller dmem is there.
    pub dmem: bool,
    /// Whether it is enabled, without which it does not say what it can limit.
    pub dmem_enabled: bool,
    /// What it can limit.
    pub regions: Vec<Region>,
    /// Whether a filter can send a system call to another process (Linux 5.0).
    pub user_notification: bool,
    /// Whether a path can be resolved beneath a directory (Linux 5.6).
    pub openat2: bool,
}

impl Kernel {
    /// Reads it: below a root, the machine's own, whatever GPUs are simulated; and where cgroups are.
    pub fn read(root: &Path, cgroups: &Path) -> Self {
        let controllers = std::fs::read_to_string(cgroups.join("cgroup.controllers"));
        let actions = below(root, Path::new("/proc/sys/kernel/seccomp/actions_avail"));
        let actions = std::fs::read_to_string(actions).unwrap_or_default();
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC);
        Self {
            cgroups: match &controllers {
                Ok(_) => Cgroups::V2,
                Err(_) if cgroups.join("devices").is_dir() => Cgroups::V1,
                Err(_) => Cgroups::None,
            },
            dmem: dmem::is_available(cgroups),
            dmem_enabled: cgroups.join("dmem.capacity").exists(),
            regions: dmem::regions(cgroups),
            user_notification: has_word(&actions, "user_notif"),
            openat2: openat2(nix::fcntl::AT_FDCWD, root, how).is_ok(),
        }
    }

    /// All checks.
    pub fn checks(&self) -> Vec<Check> {
        vec![
            self.cgroups(),
            self.dmem(),
            self.user_notification(),
            self.openat2(),
        ]
    }

    fn cgroups(&self) -> Check {
        let good = |found: &str| Check::good(GROUP, "cgroups", found);
        match self.cgroups {
            Cgroups::V2 => good("version 2"),
            Cgroups::V1 => good("version 1: device rules can be read back; no limit by the kernel"),
            Cgroups::None => good("not mounted").with(State::Broken, "mount -t cgroup2 none /sys/fs/cgroup"),
        }
    }

    fn dmem(&self) -> Check {
        let check = |found: &str| Check::good(GROUP, "dmem", found);
        match (self.cgroups, self.dmem, self.regions.is_empty()) {
            (Cgroups::V2, true, false) => check(&format!("{} region(s) of device memory can be limited", self.regions.len())),
            (Cgroups::V2, true, true) if !self.dmem_enabled => check("the controller is there and not enabled yet")
                .with(State::Absent, "echo +dmem > /sys/fs/cgroup/cgroup.subtree_control"),
            (Cgroups::V2, true, true) => check("the controller is there, and no driver has registered memory with it")
                .with(State::Absent, "use a driver that does: amdgpu of Linux 6.14 or later"),
            (Cgroups::V2, false, _) => check("the kernel has no such controller").with(
                State::Absent,
                "boot Linux 6.14 or later with CONFIG_CGROUP_DMEM=y (Ubuntu's generic kernels have it, Debian's have not)",
            ),
            _ => check("cgroup version 1 has no such controller").with(
                State::Absent,
                "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line",
            ),
        }
    }

    fn user_notification(&self) -> Check {
        let check = |found: &str| Check::good(GROUP, "seccomp", found);
        match self.user_notification {
            true => check("filters can ask another process"),
            false => check("filters cannot ask another process: no guarded slices").with(
                State::Absent,
                "boot Linux 5.0 or later with CONFIG_SECCOMP_FILTER=y",
            ),
        }
    }

    fn openat2(&self) -> Check {
        let check = |found: &str| Check::good(GROUP, "openat2", found);
        match self.openat2 {
            true => check("paths in images are resolved by the kernel"),
            false => check("paths in images are resolved step by step")
                .with(State::Absent, "boot Linux 5.6 or later"),
        }
    }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split_whitespace().any(|there| there == word)
}
