//! Cgroups of containers: the controller enabled on the way down, limits written and looked at.
//!
//! The kernel keeps an old limit when more than the new one is in use and says nothing (6.14 to 7.2:
//! `set_resource_max` drops page_counter_set_max's EBUSY), so what was written is always read back.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::{Limit, MAX, MIN, Region, line};

/// Why limits are not in force.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file.
    #[error("{operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel took the text and has another value.
    #[error("{} says {found} for {region}, not {expected}", path.display())]
    Differs {
        /// The file.
        path: PathBuf,
        /// Whose limit.
        region: String,
        /// What it says.
        found: String,
        /// What it should say.
        expected: u64,
    },
    /// A process without a cgroup of version 2.
    #[error("process {0} is in no cgroup of version 2")]
    NoCgroup(i32),
}

/// What became of limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They hold.
    InForce,
    /// More than the new limit is in use: the kernel keeps the old one for now.
    Busy,
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_owned();
    move |source| CgroupError::File {
        operation,
        path,
        source,
    }
}

/// Where a runtime will put a container, below the root of the cgroups; none where that is not known beforehand.
/// cgroupfs: `/parent/name`. systemd: `slice:prefix:name`. Source: runc's and crun's documentation of `cgroupsPath`.
pub fn container_cgroup(cgroups_path: &str) -> Option<PathBuf> {
    let parts: Vec<&str> = cgroups_path.split(':').collect();
    if let [slice, prefix, name] = parts.as_slice() {
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        return Some(slice_path(slice)?.join(format!("{prefix}-{name}.scope")));
    }
    let below = Path::new(cgroups_path).strip_prefix("/").ok()?;
    let plain = below
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    (plain && below != Path::new("")).then(|| below.to_owned())
}

/// `a-b.slice` is in `a.slice`. Source: systemd.slice(5).
fn slice_path(slice: &str) -> Option<PathBuf> {
    let name = slice.strip_suffix(".slice")?;
    let mut path = PathBuf::new();
    if name == "-" {
        return Some(path);
    }
    let mut ends: Vec<usize> = name.match_indices('-').map(|(at, _)| at).collect();
    ends.push(name.len());
    for end in ends {
        path.push(format!("{}.slice", name.get(..end)?));
    }
    Some(path)
}

/// Makes the controller available in a cgroup that does not exist yet: enables it in those above, which crun does not
/// do by itself. Those of systemd are not made here: they are its own. Says whether it is available.
pub fn prepare(root: &Path, cgroups_path: &str) -> Result<bool, CgroupError> {
    let Some(parent) = container_cgroup(cgroups_path).and_then(|path| path.parent().map(Path::to_owned))
    else {
        return Ok(false);
    };
    let directory = root.join(&parent);
    if !directory.is_dir() {
        if cgroups_path.contains(':') {
            return Ok(false);
        }
        std::fs::create_dir_all(&directory).map_err(failed("mkdir", &directory))?;
    }
    enable(root, &parent)?;
    Ok(true)
}

/// Enables the controller from the root down to a cgroup's children.
fn enable(root: &Path, cgroup: &Path) -> Result<(), CgroupError> {
    let mut directory = root.to_owned();
    let mut names = cgroup.components();
    loop {
        let file = directory.join("cgroup.subtree_control");
        let there = std::fs::read_to_string(&file).map_err(failed("read", &file))?;
        if !there.split_whitespace().any(|controller| controller == "dmem") {
            std::fs::write(&file, "+dmem").map_err(failed("write +dmem to", &file))?;
        }
        match names.next() {
            Some(name) => directory.push(name),
            None => return Ok(()),
        }
    }
}

/// A process's cgroup below the root.
pub fn of_process(pid: i32) -> Result<PathBuf, CgroupError> {
    let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
    let text = std::fs::read_to_string(&path).map_err(failed("read", &path))?;
    let cgroup = text.lines().find_map(|line| line.strip_prefix("0::/"));
    cgroup.map(PathBuf::from).ok_or(CgroupError::NoCgroup(pid))
}

/// Writes what a container's cgroup does not say yet, and reads it back. A guarantee holds in a cgroup only as far as
/// those above it have one: they get all of the region, which promises nothing to anybody beside them.
pub fn put_in_force(root: &Path, cgroup: &Path, limits: &[Limit]) -> Result<Outcome, CgroupError> {
    if let Some(parent) = cgroup.parent() {
        enable(root, parent)?;
    }
    for above in cgroup.ancestors().skip(1).filter(|above| *above != Path::new("")) {
        for limit in limits {
            set(&root.join(above), MIN, (&limit.region, limit.region.capacity))?;
        }
    }
    let directory = root.join(cgroup);
    let mut outcome = Outcome::InForce;
    for limit in limits {
        set(&directory, MIN, (&limit.region, limit.min))?;
        if set(&directory, MAX, (&limit.region, limit.max))? == Outcome::Busy {
            outcome = Outcome::Busy;
        }
    }
    Ok(outcome)
}

fn set(directory: &Path, file: &str, (region, bytes): (&Region, u64)) -> Result<Outcome, CgroupError> {
    let path = directory.join(file);
    let wanted = bytes.to_string();
    if value(&path, region)? == wanted {
        return Ok(Outcome::InForce);
    }
    match std::fs::write(&path, line(region, bytes)) {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => return Ok(Outcome::Busy),
        result => result.map_err(failed("write", &path))?,
    }
    let found = value(&path, region)?;
    if found == wanted {
        return Ok(Outcome::InForce);
    }
    if file == MAX && used(directory, region)? > bytes {
        return Ok(Outcome::Busy);
    }
    Err(CgroupError::Differs {
        path,
        region: region.name.clone(),
        found,
        expected: bytes,
    })
}

fn value(path: &Path, region: &Region) -> Result<String, CgroupError> {
    let text = std::fs::read_to_string(path).map_err(failed("read", path))?;
    let mut values = text.lines().filter_map(|line| line.rsplit_once(' '));
    let value = values.find(|(name, _)| *name == region.name);
    Ok(value.map_or_else(|| "nothing".to_owned(), |(_, value)| value.to_owned()))
}

fn used(directory: &Path, region: &Region) -> Result<u64, CgroupError> {
    Ok(value(&directory.join("dmem.current"), region)?
        .parse()
        .unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files as Linux 7.2 has them, made by hand: they keep what is written and check nothing. What the kernel itself
    /// says and refuses is tested on a kernel (tests/e2e/dmem.bats).
    fn tree(cgroups: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for path in ["", "a", "a/b"].iter().chain(cgroups) {
            let directory = root.path().join(path);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("cgroup.subtree_control"), "cpu\n").unwrap();
            std::fs::write(directory.join(MIN), "drm/x/vram 0\n").unwrap();
            std::fs::write(directory.join(MAX), "drm/x/vram max\n").unwrap();
            std::fs::write(directory.join("dmem.current"), "drm/x/vram 7\n").unwrap();
        }
        root
    }

    fn limits() -> [Limit; 1] {
        [Limit {
            region: Region {
                name: "drm/x/vram".to_owned(),
                capacity: 100,
            },
            min: 10,
            max: 20,
        }]
    }

    fn text(root: &tempfile::TempDir, path: &str) -> String {
        std::fs::read_to_string(root.path().join(path)).unwrap()
    }

    #[test]
    fn a_runtimes_cgroup_is_known_by_both_its_spellings() {
        for (path, cgroup) in [
            ("/libpod_parent/libpod-1", Some("libpod_parent/libpod-1")),
            ("machine.slice:libpod:1", Some("machine.slice/libpod-1.scope")),
            (":crio:1", Some("system.slice/crio-1.scope")),
            (
                "kubepods-pod1.slice:cri:2",
                Some("kubepods.slice/kubepods-pod1.slice/cri-2.scope"),
            ),
            ("-.slice:a:b", Some("a-b.scope")),
            ("", None),
            ("/", None),
            ("relative/path", None),
            ("/a/../../b", None),
            ("no-slice:a:b", None),
        ] {
            assert_eq!(container_cgroup(path), cgroup.map(PathBuf::from), "{path}");
        }
    }

    #[test]
    fn the_controller_is_enabled_above_and_limits_are_written_once() {
        let root = tree(&[]);
        let outcome = put_in_force(root.path(), Path::new("a/b"), &limits()).unwrap();
        assert_eq!(outcome, Outcome::InForce);
        assert_eq!(text(&root, "cgroup.subtree_control"), "+dmem");
        assert_eq!(text(&root, "a/cgroup.subtree_control"), "+dmem");
        assert_eq!(text(&root, "a/b/cgroup.subtree_control"), "cpu\n");
        assert_eq!(text(&root, "a/dmem.min"), "drm/x/vram 100");
        assert_eq!(text(&root, "a/dmem.max"), "drm/x/vram max\n");
        assert_eq!(
            (text(&root, "a/b/dmem.min"), text(&root, "a/b/dmem.max")),
            ("drm/x/vram 10".to_owned(), "drm/x/vram 20".to_owned())
        );
    }

    #[test]
    fn only_parents_that_are_no_business_of_systemd_are_made() {
        let root = tree(&[]);
        assert!(prepare(root.path(), "/a/container").unwrap());
        assert_eq!(text(&root, "a/cgroup.subtree_control"), "+dmem");
        assert!(!prepare(root.path(), "new.slice:p:c").unwrap());
        assert!(!root.path().join("new.slice").exists());
        assert!(!prepare(root.path(), "").unwrap());
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_with_its_path() {
        let root = tree(&[]);
        std::fs::remove_file(root.path().join("a/b/dmem.max")).unwrap();
        let error = put_in_force(root.path(), Path::new("a/b"), &limits())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("read /") && error.contains("a/b/dmem.max"),
            "{error}"
        );
    }
}
