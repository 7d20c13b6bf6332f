//! Where cgroups are: one root for all that reads or writes them.

use std::path::{Path, PathBuf};

use crate::files::below;

/// Where systemd and every engine mount them. Source: Linux, Documentation/admin-guide/cgroup-v2.rst; file-hierarchy(7).
const MOUNTED_AT: &str = "/sys/fs/cgroup";

/// The root of the cgroups below a system root. A node that is files alone (`sdg-sim node`) has an empty directory there,
/// on which a container's runtime mounts: its containers are in the machine's cgroups.
pub fn root(sysroot: &Path) -> PathBuf {
    let machines = PathBuf::from(MOUNTED_AT);
    if sysroot == Path::new("/") {
        return machines;
    }
    let own = below(sysroot, &machines);
    let has_some = std::fs::read_dir(&own).is_ok_and(|mut entries| entries.next().is_some());
    if has_some { own } else { machines }
}

/// A file of a cgroup in version 1's hierarchy of the controller `devices`; the cgroup as `/proc/PID/cgroup` says it.
pub fn v1_devices_file(root: &Path, cgroup: &str, name: &str) -> PathBuf {
    below(&root.join("devices"), Path::new(cgroup)).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_root_has_its_own_cgroups_and_a_node_of_files_the_machines() {
        assert_eq!(root(Path::new("/")), Path::new("/sys/fs/cgroup"));
        let sysroot = tempfile::tempdir().unwrap();
        assert_eq!(root(sysroot.path()), Path::new("/sys/fs/cgroup"));
        let own = sysroot.path().join("sys/fs/cgroup");
        std::fs::create_dir_all(&own).unwrap();
        assert_eq!(root(sysroot.path()), Path::new("/sys/fs/cgroup"), "a mount point");
        std::fs::write(own.join("cgroup.controllers"), "dmem\n").unwrap();
        assert_eq!(root(sysroot.path()), own);
    }

    #[test]
    fn a_cgroup_of_version_1_is_below_its_controller() {
        assert_eq!(
            v1_devices_file(Path::new("/node/sys/fs/cgroup"), "/pod/x:y", "devices.list"),
            Path::new("/node/sys/fs/cgroup/devices/pod/x:y/devices.list")
        );
    }
}
