//! Who is at the other end: by the kernel, as he was when he connected.

use std::io;
use std::os::unix::net::UnixStream;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Group;
use sdg::sys;

/// Why somebody may not ask.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// No such group.
    #[error("broker_group: there is no group {0:?} here (its members may have slices)")]
    NoGroup(String),
    /// The kernel does not say.
    #[error("who asks: {0}")]
    Socket(#[from] io::Error),
    /// Not one of them.
    #[error(
        "user {user} is no member of group {group}, whose members may have slices (usermod -aG {group} USER, and log in anew)"
    )]
    NoMember {
        /// Who.
        user: u32,
        /// The group's name or number.
        group: String,
    },
}

/// A group by its name or its number.
pub fn group_id(name: &str) -> Result<u32, PeerError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        _ => Err(PeerError::NoGroup(name.to_owned())),
    }
}

/// Somebody.
#[derive(Debug)]
pub struct Peer {
    /// Effective user.
    pub user: u32,
    /// Effective group and supplementary groups.
    groups: Vec<u32>,
}

impl Peer {
    /// Whoever has connected.
    pub fn of(stream: &UnixStream) -> Result<Self, PeerError> {
        let credentials = getsockopt(stream, PeerCredentials).map_err(io::Error::from)?;
        let mut groups = sys::peer_groups(stream)?;
        groups.push(credentials.gid());
        Ok(Self {
            user: credentials.uid(),
            groups,
        })
    }

    /// Refuses who is no member of a group.
    pub fn check_member(&self, group: u32) -> Result<(), PeerError> {
        if self.groups.contains(&group) {
            return Ok(());
        }
        let known = Group::from_gid(group.into()).ok().flatten();
        Err(PeerError::NoMember {
            user: self.user,
            group: known.map_or_else(|| group.to_string(), |known| known.name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_names_or_numbers() {
        assert_eq!(group_id("root").unwrap(), 0);
        assert_eq!(group_id("4242").unwrap(), 4242);
        let error = group_id("nobody-has-this-name").unwrap_err().to_string();
        assert!(error.contains("\"nobody-has-this-name\""), "{error}");
    }

    #[test]
    fn a_member_is_one_by_any_of_his_groups() {
        let peer = Peer {
            user: 1000,
            groups: vec![7, 1000],
        };
        assert!(peer.check_member(7).is_ok() && peer.check_member(1000).is_ok());
        let refusal = peer.check_member(0).unwrap_err().to_string();
        assert!(
            refusal.starts_with("user 1000 is no member of group root"),
            "{refusal}"
        );
    }
}
