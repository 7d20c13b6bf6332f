//! The keys of a request and the two forms they are written in.

use super::error::RequestError;

/// Prefix of the long form. Looked for first: the short one begins it.
pub const LONG_PREFIX: &str = "sdg.exostellar.io/";
/// Prefix of the short form.
pub const SHORT_PREFIX: &str = "sdg.";

/// A key of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `vendor`
    Vendor,
    /// `memory`
    Memory,
    /// `memoryLimit`
    MemoryLimit,
    /// `compute`
    Compute,
    /// `computeLimit`
    ComputeLimit,
    /// `count`
    Count,
    /// `gpu`
    Gpu,
    /// `group`
    Group,
    /// `placement`
    Placement,
    /// `enforcement`
    Enforcement,
}

/// Every key with its name.
pub const KEYS: [(Key, &str); 10] = [
    (Key::Vendor, "vendor"),
    (Key::Memory, "memory"),
    (Key::MemoryLimit, "memoryLimit"),
    (Key::Compute, "compute"),
    (Key::ComputeLimit, "computeLimit"),
    (Key::Count, "count"),
    (Key::Gpu, "gpu"),
    (Key::Group, "group"),
    (Key::Placement, "placement"),
    (Key::Enforcement, "enforcement"),
];

/// A key as someone wrote it, with its value.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// Which key.
    pub key: Key,
    /// As written.
    pub written: &'a str,
    /// Its value.
    pub value: &'a str,
}

impl Given<'_> {
    /// Another key in the form that this one was written in.
    pub fn sibling(&self, name: &str) -> String {
        format!("{}{name}", prefix_of(self.written))
    }
}

/// The keys that were given, each once.
#[derive(Debug, Default)]
pub struct GivenKeys<'a>(Vec<Given<'a>>);

impl<'a> GivenKeys<'a> {
    /// Picks our keys from annotations or labels.
    pub fn collect(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, RequestError> {
        let mut found = Self::default();
        for (written, value) in pairs {
            let prefix = prefix_of(written);
            let Some(name) = written.strip_prefix(prefix).filter(|_| !prefix.is_empty()) else {
                continue;
            };
            let Some((key, _)) = KEYS.into_iter().find(|(_, known)| *known == name) else {
                return Err(unknown(written, prefix));
            };
            found.add(Given { key, written, value })?;
        }
        Ok(found)
    }

    fn add(&mut self, new: Given<'a>) -> Result<(), RequestError> {
        match self.get(new.key) {
            None => self.0.push(new),
            Some(first) if first.value == new.value => {}
            Some(first) => {
                return Err(RequestError::Contradiction {
                    key: new.written.to_owned(),
                    value: new.value.to_owned(),
                    other_key: first.written.to_owned(),
                    other_value: first.value.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// A key, if it was given.
    pub fn get(&self, key: Key) -> Option<Given<'a>> {
        self.0.iter().find(|given| given.key == key).copied()
    }

    /// The key that came first; none where there is none of ours.
    pub fn first(&self) -> Option<Given<'a>> {
        self.0.first().copied()
    }
}

fn prefix_of(written: &str) -> &'static str {
    [LONG_PREFIX, SHORT_PREFIX]
        .into_iter()
        .find(|prefix| written.starts_with(prefix))
        .unwrap_or("")
}

fn unknown(written: &str, prefix: &str) -> RequestError {
    let names: Vec<String> = KEYS.iter().map(|(_, name)| format!("{prefix}{name}")).collect();
    RequestError::UnknownKey {
        key: written.to_owned(),
        known: names.join(", "),
    }
}
