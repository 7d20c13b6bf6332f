//! An engine's version, from what its `--version` prints.

use std::str::FromStr;

/// Major and minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EngineVersion {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
}

impl EngineVersion {
    /// A version.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// The first word that looks like a version in what a program prints: `Docker version 26.1.5+dfsg1, build 411e817`,
    /// `containerd github.com/containerd/containerd/v2 2.1.9+unknown `, `podman version 5.4.2`.
    pub fn find(output: &str) -> Option<Self> {
        output.split_ascii_whitespace().find_map(|word| word.parse().ok())
    }
}

/// What [`EngineVersion`] accepts: `MAJOR.MINOR` and whatever follows.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no version (one looks like 1.7.24)")]
pub struct VersionError(String);

impl FromStr for EngineVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.strip_prefix('v').unwrap_or(text).splitn(3, '.');
        let major = parts.next().and_then(|part| part.parse().ok());
        let minor = parts.next().and_then(|part| {
            let digits = part.split(|letter: char| !letter.is_ascii_digit()).next()?;
            digits.parse().ok()
        });
        match (major, minor) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(VersionError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_the_engines_print() {
        for (output, version) in [
            (
                "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3",
                (1, 6),
            ),
            (
                "containerd github.com/containerd/containerd/v2 2.1.9+unknown \n",
                (2, 1),
            ),
            ("containerd containerd.io v2.0-rc 1234abc", (2, 0)),
            ("Docker version 26.1.5+dfsg1, build 411e817", (26, 1)),
            ("podman version 5.4.2", (5, 4)),
        ] {
            let expected = EngineVersion::new(version.0, version.1);
            assert_eq!(EngineVersion::find(output), Some(expected), "{output}");
        }
        assert_eq!(EngineVersion::find("command not found"), None);
        assert!("1".parse::<EngineVersion>().is_err());
    }
}
