//! One rule of the device cgroup: from the spec, or from a line of cgroup v1's `devices.list`. Pure.

use std::fmt;

use serde_json::Value;

use crate::inventory::DeviceFile;

/// What a rule says of devices. A number that is absent stands for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allowed or denied.
    pub allow: bool,
    /// `a`, `b` or `c`.
    pub kind: char,
    /// Major number.
    pub major: Option<i64>,
    /// Minor number.
    pub minor: Option<i64>,
    /// Letters of `rwm`.
    pub access: String,
}

impl DeviceRule {
    /// From an entry of `linux.resources.devices`. Absent type or access: all of them.
    pub fn from_spec(rule: &Value) -> Self {
        let text = |key| rule.get(key).and_then(Value::as_str);
        let number = |key| {
            rule.get(key)
                .and_then(Value::as_i64)
                .filter(|number| *number >= 0)
        };
        Self {
            allow: rule.get("allow") == Some(&Value::Bool(true)),
            kind: text("type").and_then(|kind| kind.chars().next()).unwrap_or('a'),
            major: number("major"),
            minor: number("minor"),
            access: text("access").unwrap_or("rwm").to_owned(),
        }
    }

    /// From a line such as `c 226:128 rwm` or `a *:* rwm`.
    pub fn from_cgroup(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let kind = fields.next()?.chars().next()?;
        let (major, minor) = fields.next()?.split_once(':')?;
        let number = |text: &str| match text {
            "*" => Some(None),
            text => text.parse().ok().map(Some),
        };
        Some(Self {
            allow: true,
            kind,
            major: number(major)?,
            minor: number(minor)?,
            access: fields.next()?.to_owned(),
        })
    }

    /// Whether a GPU that was not granted can be opened under it. Engines allow mknod ("m") of everything: that opens
    /// nothing.
    pub fn reaches_past(&self, granted: &[DeviceFile]) -> bool {
        let opens = self.access.contains(['r', 'w']) && matches!(self.kind, 'a' | 'c');
        let gpu_major = self
            .major
            .is_none_or(|major| major == i64::from(sdg_abi::drm::MAJOR));
        // Rules of type "a" concern every device, whatever numbers they bear (cgroup v1, devices.allow).
        let wide = self.kind == 'a' || (gpu_major && !granted.iter().any(|own| self.is_of(own)));
        self.allow && opens && wide
    }

    /// Whether the rule is for just this device.
    pub fn is_of(&self, device: &DeviceFile) -> bool {
        (self.major, self.minor) == (Some(i64::from(device.major)), Some(i64::from(device.minor)))
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |number: Option<i64>| number.map_or("*".to_owned(), |number| number.to_string());
        write!(
            f,
            "{} {}:{} {}",
            self.kind,
            shown(self.major),
            shown(self.minor),
            self.access
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_cgroup() {
        for line in ["c 226:128 rwm", "a *:* rwm", "c 136:* rw"] {
            assert_eq!(DeviceRule::from_cgroup(line).unwrap().to_string(), line);
        }
        assert_eq!(DeviceRule::from_cgroup("c 226 rwm"), None);
        assert!(DeviceRule::from_cgroup("a *:* rwm").unwrap().reaches_past(&[]));
        assert!(!DeviceRule::from_cgroup("c *:* m").unwrap().reaches_past(&[]));
        assert!(!DeviceRule::from_cgroup("c 136:* rwm").unwrap().reaches_past(&[]));
    }
}
