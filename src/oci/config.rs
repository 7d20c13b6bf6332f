//! config.json as a JSON value, so that keys we do not know survive, with typed access to the parts we read.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// Why a config was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON.
    #[error("the container's config is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Another type than the specification says.
    #[error("the container's config: {path} is not {expected}")]
    Type {
        /// Where, e.g. `linux.devices`.
        path: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

/// A runtime configuration. Source: OCI runtime specification, "Configuration".
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    value: Value,
}

impl Spec {
    /// Reads the JSON text.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        // Checked once as a whole and not string by string; what is no UTF-8 gets its error from the parser.
        let value: Value = match std::str::from_utf8(text) {
            Ok(text) => serde_json::from_str(text)?,
            Err(_) => serde_json::from_slice(text)?,
        };
        if value.is_object() {
            Ok(Self { value })
        } else {
            Err(ConfigError::Type {
                path: "the whole",
                expected: "an object",
            })
        }
    }

    /// The JSON text.
    pub fn to_json(&self) -> Vec<u8> {
        // Straight to bytes, without the detour over `fmt`; a JSON value always has a text.
        serde_json::to_vec(&self.value).unwrap_or_else(|_| self.value.to_string().into_bytes())
    }

    /// Annotations whose value is a text.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        let annotations = self.value.get("annotations").and_then(Value::as_object);
        annotations
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// The root file system as seen from the bundle.
    pub fn root(&self, bundle: &Path) -> Option<PathBuf> {
        let path = self.value.pointer("/root/path")?.as_str()?;
        Some(bundle.join(path))
    }

    /// A text, where there is one.
    pub fn text(&self, pointer: &'static str) -> Option<&str> {
        self.value.pointer(pointer)?.as_str()
    }

    /// An array; one that is absent or null is empty.
    pub fn list(&self, pointer: &'static str) -> &[Value] {
        self.value
            .pointer(pointer)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// An object; none where it is absent or something else.
    pub fn object(&self, pointer: &'static str) -> Option<&Map<String, Value>> {
        self.value.pointer(pointer).and_then(Value::as_object)
    }

    /// An array to be edited, made where it is absent or null together with the objects around it. `path` has the form
    /// `linux.resources.devices`.
    pub fn list_mut(&mut self, path: &'static str) -> Result<&mut Vec<Value>, ConfigError> {
        match self.entry(path)? {
            entry @ Value::Null => {
                *entry = Value::Array(Vec::new());
                as_list(entry, path)
            }
            entry => as_list(entry, path),
        }
    }

    /// An object to be edited, made where it is absent or null.
    pub fn object_mut(&mut self, path: &'static str) -> Result<&mut Map<String, Value>, ConfigError> {
        let entry = self.entry(path)?;
        if entry.is_null() {
            *entry = Value::Object(Map::new());
        }
        entry.as_object_mut().ok_or(ConfigError::Type {
            path,
            expected: "an object",
        })
    }

    fn entry(&mut self, path: &'static str) -> Result<&mut Value, ConfigError> {
        let mut value = &mut self.value;
        for key in path.split('.') {
            if value.is_null() {
                *value = Value::Object(Map::new());
            }
            let object = value.as_object_mut().ok_or(ConfigError::Type {
                path,
                expected: "below objects",
            })?;
            value = object.entry(key).or_insert(Value::Null);
        }
        Ok(value)
    }
}

fn as_list<'a>(entry: &'a mut Value, path: &'static str) -> Result<&'a mut Vec<Value>, ConfigError> {
    entry.as_array_mut().ok_or(ConfigError::Type {
        path,
        expected: "an array",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_their_order_survive() {
        let text = r#"{"z":1,"linux":{"future":{"a":[1,2.5,null]}},"hooks":{},"a":18446744073709551615}"#;
        let mut spec = Spec::parse(text.as_bytes()).unwrap();
        assert_eq!(spec.to_json(), text.as_bytes());
        spec.list_mut("linux.devices").unwrap().push(Value::from("x"));
        let text = String::from_utf8(spec.to_json()).unwrap();
        assert_eq!(
            text,
            r#"{"z":1,"linux":{"future":{"a":[1,2.5,null]},"devices":["x"]},"hooks":{},"a":18446744073709551615}"#
        );
    }

    #[test]
    fn nulls_are_absent_and_other_types_are_named() {
        let mut spec = Spec::parse(br#"{"mounts":null,"linux":7}"#).unwrap();
        assert!(spec.list("/mounts").is_empty());
        assert!(spec.list_mut("mounts").unwrap().is_empty());
        let error = spec.list_mut("linux.devices").unwrap_err();
        assert!(error.to_string().contains("linux.devices"), "{error}");
        assert!(Spec::parse(b"[]").is_err());
    }
}
