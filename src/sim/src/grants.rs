//! Which GPUs a caller's device cgroup grants.
//!
//! The rules of a device cgroup cannot be read: a list (cgroup v1) leaves out what it excepts, and in cgroup v2 they
//! are a program of the kernel's. So the kernel is asked: a helper ([`probe`]) moves itself into the caller's cgroup,
//! and tries for each render node whether it could be opened.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{AccessFlags, access};

/// How long the helper may take, in milliseconds: in a frozen cgroup it never ends.
const PATIENCE: u16 = 1000;

/// What the helper writes of a render node that the cgroup grants, and of one that it forbids.
const GRANTED: u8 = b'+';
const FORBIDDEN: u8 = b'-';

/// The device cgroups of the machine, and what is known of them.
#[derive(Debug)]
pub struct Grants {
    hierarchies: Hierarchies,
    render_nodes: Vec<PathBuf>,
    own: Option<PathBuf>,
    known: Mutex<HashMap<PathBuf, Answered>>,
}

/// What a cgroup has answered. One that is made anew in the same place, as for a service that is restarted, is another.
#[derive(Debug)]
struct Answered {
    inode: u64,
    verdicts: Arc<[u8]>,
}

impl Grants {
    /// For GPUs with these render nodes. Whoever is in the simulator's own cgroup may use all of them.
    pub fn new(render_nodes: Vec<PathBuf>) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let hierarchies = Hierarchies::of(&mounts);
        let own = hierarchies.cgroup_of("self");
        Self {
            hierarchies,
            render_nodes,
            own,
            known: Mutex::default(),
        }
    }

    /// Whether the device cgroup of thread `tid` forbids GPU number `gpu`. A cgroup is asked once: the kernel, too,
    /// keeps to what it found when a process opened the KFD.
    pub fn forbid(&self, tid: i32, gpu: usize) -> bool {
        let Some(cgroup) = self.hierarchies.cgroup_of(&tid.to_string()) else {
            return false;
        };
        if self.own.as_ref() == Some(&cgroup) {
            return false;
        }
        self.verdicts(cgroup)
            .is_ok_and(|verdicts| verdicts.get(gpu) == Some(&FORBIDDEN))
    }

    fn verdicts(&self, cgroup: PathBuf) -> io::Result<Arc<[u8]>> {
        let inode = fs::metadata(&cgroup)?.ino();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answered) = known.get(&cgroup).filter(|answered| answered.inode == inode) {
            return Ok(Arc::clone(&answered.verdicts));
        }
        let verdicts: Arc<[u8]> = self.ask(&cgroup)?.into();
        let answered = Answered {
            inode,
            verdicts: Arc::clone(&verdicts),
        };
        known.insert(cgroup, answered);
        Ok(verdicts)
    }

    fn ask(&self, cgroup: &Path) -> io::Result<Vec<u8>> {
        let mut helper = Command::new("/proc/self/exe")
            .arg("probe")
            .arg(cgroup)
            .args(&self.render_nodes)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let verdicts = self.verdicts_of(&mut helper);
        let _ended = helper.kill();
        helper.wait()?;
        verdicts
    }

    fn verdicts_of(&self, helper: &mut Child) -> io::Result<Vec<u8>> {
        let mut output = helper.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut watched = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        if poll(&mut watched, PollTimeout::from(PATIENCE))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut verdicts = vec![0; self.render_nodes.len()];
        output.read_exact(&mut verdicts)?;
        Ok(verdicts)
    }
}

/// `sdg-sim probe`: moves this process into `cgroup`; a byte for each of the render nodes says whether it is granted.
pub fn probe(cgroup: &Path, render_nodes: &[PathBuf]) -> io::Result<Vec<u8>> {
    fs::write(cgroup.join("cgroup.procs"), "0")?;
    let verdict = |node: &PathBuf| match access(node, AccessFlags::R_OK | AccessFlags::W_OK) {
        Err(Errno::EPERM) => FORBIDDEN,
        _ => GRANTED,
    };
    Ok(render_nodes.iter().map(verdict).collect())
}

/// Where the hierarchies that can have rules for devices are mounted: mount point, and the cgroup that it shows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hierarchies {
    devices: Option<(PathBuf, PathBuf)>,
    unified: Option<(PathBuf, PathBuf)>,
}

impl Hierarchies {
    /// From the lines of `/proc/self/mountinfo`.
    fn of(mounts: &str) -> Self {
        let mut found = Self::default();
        for line in mounts.lines() {
            let Some((place, kind)) = line.split_once(" - ") else {
                continue;
            };
            let place: Vec<&str> = place.split(' ').collect();
            let (Some(root), Some(point)) = (place.get(3), place.get(4)) else {
                continue;
            };
            let mounted = Some((PathBuf::from(point), PathBuf::from(root)));
            let options = kind.rsplit(' ').next().unwrap_or_default();
            if kind.starts_with("cgroup2 ") {
                found.unified = mounted;
            } else if kind.starts_with("cgroup ") && options.split(',').any(|option| option == "devices") {
                found.devices = mounted;
            }
        }
        found
    }

    /// The directory of the cgroup that rules over the devices of a process; `process` as /proc names it.
    fn cgroup_of(&self, process: &str) -> Option<PathBuf> {
        self.directory(&fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?)
    }

    /// From the lines of `/proc/PID/cgroup`.
    fn directory(&self, cgroups: &str) -> Option<PathBuf> {
        let path_of = |is_wanted: &dyn Fn(&str) -> bool| {
            cgroups.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                is_wanted(controllers).then_some(path)
            })
        };
        let ((point, root), path) = match &self.devices {
            Some(devices) => (
                devices,
                path_of(&|controllers| controllers.split(',').any(|one| one == "devices"))?,
            ),
            None => (self.unified.as_ref()?, path_of(&str::is_empty)?),
        };
        Some(point.join(Path::new(path).strip_prefix(root).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
31 24 0:27 / /sys/fs/cgroup/devices rw,nosuid shared:9 - cgroup cgroup rw,devices
32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
    const CGROUPS: &str = "5:devices:/libpod_parent/libpod-1\n1:cpu,cpuacct:/\n0::/other";

    #[test]
    fn the_devices_hierarchy_counts_where_there_is_one() {
        let found = Hierarchies::of(V1).directory(CGROUPS);
        assert_eq!(
            found,
            Some("/sys/fs/cgroup/devices/libpod_parent/libpod-1".into())
        );
    }

    #[test]
    fn the_unified_hierarchy_counts_elsewhere() {
        let mounts = "40 24 0:30 /machine /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate";
        let hierarchies = Hierarchies::of(mounts);
        assert_eq!(
            hierarchies.directory("0::/machine/libpod-1"),
            Some("/sys/fs/cgroup/libpod-1".into())
        );
        assert_eq!(hierarchies.directory("0::/elsewhere"), None);
    }

    #[test]
    fn without_cgroups_nothing_is_known() {
        assert_eq!(Hierarchies::of("").directory(CGROUPS), None);
    }
}
