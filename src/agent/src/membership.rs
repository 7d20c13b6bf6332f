//! Which slice a process belongs to: that of the container in whose cgroup it is. A container's processes cannot leave
//! their cgroup for one that is not below it. An ordinary user names the process of his container himself: of his slices
//! only cgroups count that are a container's alone, and in them only his own processes.
//!
//! ```text
//! records, first processes of their containers → their cgroups ─ cgroup of a pid is one of them, or below ─→ slice
//! ```

use std::fs;

use sdg::files::FileError;
use sdg::ledger::members;
use sdg::ledger::record::{Holder, ProcessIdentity, SHORT_ID, SliceRecord};
use sdg::ledger::store::Ledger;

/// The containers' cgroups.
#[derive(Debug)]
pub struct Membership {
    homes: Vec<Home>,
}

#[derive(Debug)]
struct Home {
    slice: String,
    user: Option<u32>,
    cgroup: Cgroup,
}

impl Membership {
    /// The cgroups of these slices' containers. Left out: a container that shares its cgroup with this program, as with
    /// `podman run --cgroups=disabled`, since then anything could be in it.
    pub fn of(ledger: &Ledger, records: &[SliceRecord]) -> Result<Self, FileError> {
        let own = cgroups_of(std::process::id() as i32);
        let mut homes = Vec::new();
        for record in records {
            for process in first_processes(ledger, record)? {
                let cgroup = home(&cgroups_of(process.pid), &own);
                let cgroup = cgroup.filter(|cgroup| is_trusted(cgroup, record));
                homes.extend(cgroup.map(|cgroup| Home {
                    slice: record.id.clone(),
                    user: record.user,
                    cgroup,
                }));
            }
        }
        Ok(Self { homes })
    }

    /// The slice of a process.
    pub fn slice_of(&self, pid: i32) -> Option<&str> {
        let cgroups = cgroups_of(pid);
        let home = self.homes.iter().find(|home| {
            cgroups.iter().any(|cgroup| cgroup.is_in(&home.cgroup))
                && home.user.is_none_or(|user| is_of_user(pid, user))
        });
        home.map(|home| home.slice.as_str())
    }
}

/// Whether a cgroup tells a container's processes from others. A rootless engine without cgroups leaves its containers in
/// that of the session.
fn is_trusted(cgroup: &Cgroup, record: &SliceRecord) -> bool {
    let is_named = |container: &str| container.len() >= SHORT_ID && cgroup.path.contains(container);
    record.user.is_none() || record.holder.container().is_some_and(is_named)
}

fn is_of_user(pid: i32, user: u32) -> bool {
    ProcessIdentity::of_user(pid, user).is_ok_and(|process| process.is_some())
}

/// First processes of the containers that have a slice.
fn first_processes(ledger: &Ledger, record: &SliceRecord) -> Result<Vec<ProcessIdentity>, FileError> {
    match &record.holder {
        Holder::Placed { .. } => Ok(Vec::new()),
        Holder::Container { process, .. } => Ok(vec![*process]),
        Holder::Named | Holder::Pod { .. } => members::living_processes(&ledger.slice_dir(&record.id)),
    }
}

/// A place in one hierarchy of cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cgroup {
    /// Its controllers; empty for cgroup v2.
    controllers: String,
    path: String,
}

impl Cgroup {
    fn is_in(&self, home: &Self) -> bool {
        let rest = self.path.strip_prefix(&home.path);
        self.controllers == home.controllers
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || home.path == "/")
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.split(',').any(|name| name == controller)
    }
}

fn cgroups_of(pid: i32) -> Vec<Cgroup> {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).map_or_else(|_| Vec::new(), |text| parse(&text))
}

/// Lines of `<id>:<controllers>:<path>`. Source: cgroups(7).
fn parse(text: &str) -> Vec<Cgroup> {
    let cgroup = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some(Cgroup {
            controllers: parts.next()?.to_owned(),
            path: parts.next()?.to_owned(),
        })
    };
    text.lines().filter_map(cgroup).collect()
}

/// The cgroup by which a container's processes are known: one in which this program is not. That of the devices first,
/// which every runtime makes, then cgroup v2's.
fn home(container: &[Cgroup], own: &[Cgroup]) -> Option<Cgroup> {
    let apart: Vec<&Cgroup> = container
        .iter()
        .filter(|cgroup| !own.iter().any(|own| own.is_in(cgroup)))
        .collect();
    let preferred = apart.iter().find(|cgroup| cgroup.has("devices"));
    let preferred = preferred.or_else(|| apart.iter().find(|cgroup| cgroup.controllers.is_empty()));
    preferred.or(apart.first()).map(|cgroup| (*cgroup).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_a_cgroup_of_its_own() {
        let own = parse("12:pids:/user\n6:devices:/\n0::/agent.service\n");
        let v1 = parse("12:pids:/user\n6:devices:/libpod-1\n0::/\n");
        assert_eq!(home(&v1, &own).unwrap().path, "/libpod-1");
        let v2 = parse("0::/machine.slice/libpod-1.scope\n");
        assert_eq!(home(&v2, &own).unwrap().path, "/machine.slice/libpod-1.scope");
        assert_eq!(
            home(&parse("12:pids:/\n6:devices:/\n0::/agent.service\n"), &own),
            None
        );
    }

    #[test]
    fn below_counts_and_beside_does_not() {
        let [home, same, below, beside, other] =
            ["0::/a/b", "0::/a/b", "0::/a/b/c", "0::/a/bc", "3:devices:/a/b"]
                .map(|line| parse(line).remove(0));
        assert!(same.is_in(&home) && below.is_in(&home));
        assert!(!beside.is_in(&home) && !other.is_in(&home) && !home.is_in(&below));
    }
}
