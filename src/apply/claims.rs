//! What a spec has by names: slices and whole GPUs, known by the hooks that claim them. A container has one slice, or
//! whole GPUs. Pure.

use serde_json::Value;

use crate::cdi::gpus::{CLAIM_VERB, GPU_OPTION};
use crate::edits::HookStage;
use crate::oci::config::Spec;
use crate::request::SliceRequest;

/// The names in a spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims<'a> {
    /// Ids of slices, each once.
    pub slices: Vec<&'a str>,
    /// UUIDs of whole GPUs, each once.
    pub gpus: Vec<&'a str>,
}

/// Claims that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// More than one slice.
    #[error(
        "the container has two slices, {first} and {second}: give it one (a slice may be on several GPUs)"
    )]
    TwoSlices {
        /// One.
        first: String,
        /// Another.
        second: String,
    },
    /// Both.
    #[error("the container has slice {slice} and whole GPUs ({gpu}): give it one or the other")]
    SliceAndGpus {
        /// The slice.
        slice: String,
        /// One of the GPUs.
        gpu: String,
    },
    /// Annotations beside whole GPUs.
    #[error(
        "the container has whole GPUs ({gpu}) by a device name and asks for a slice by annotations: leave one out"
    )]
    AnnotationsAndGpus {
        /// One of the GPUs.
        gpu: String,
    },
    /// Annotations that ask for something else.
    #[error(
        "the annotations ask for something else than slice {slice} is, which the container has by its name: leave the \
         annotations out, or give them the values that `sdg slice create` was given"
    )]
    Disagree {
        /// The slice.
        slice: String,
    },
}

impl<'a> Claims<'a> {
    /// Reads a spec's hooks.
    pub fn of(spec: &'a Spec) -> Self {
        let mut claims = Self::default();
        for hook in spec.list("/hooks/createRuntime") {
            let args = hook.get("args").and_then(Value::as_array);
            let args: Vec<&str> = args.into_iter().flatten().filter_map(Value::as_str).collect();
            match args.as_slice() {
                ["sdg", "hook", verb, "--slice", id, ..] if *verb == HookStage::CreateRuntime.verb() => {
                    add(&mut claims.slices, id);
                }
                ["sdg", "hook", CLAIM_VERB, rest @ ..] => {
                    for pair in rest
                        .chunks_exact(2)
                        .filter(|pair| pair.first() == Some(&GPU_OPTION))
                    {
                        pair.iter().skip(1).for_each(|gpu| add(&mut claims.gpus, gpu));
                    }
                }
                _ => {}
            }
        }
        claims
    }

    /// Refuses more than one slice, and a slice beside whole GPUs.
    pub fn check(&self) -> Result<(), ClaimError> {
        match (self.slices.as_slice(), self.gpus.as_slice()) {
            ([first, second, ..], _) => Err(ClaimError::TwoSlices {
                first: (*first).to_owned(),
                second: (*second).to_owned(),
            }),
            ([slice], [gpu, ..]) => Err(ClaimError::SliceAndGpus {
                slice: (*slice).to_owned(),
                gpu: (*gpu).to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Refuses annotations beside whole GPUs.
    pub fn check_annotations(&self) -> Result<(), ClaimError> {
        match self.gpus.first() {
            Some(gpu) => Err(ClaimError::AnnotationsAndGpus {
                gpu: (*gpu).to_owned(),
            }),
            None => Ok(()),
        }
    }
}

fn add<'a>(list: &mut Vec<&'a str>, name: &'a str) {
    if !list.contains(&name) {
        list.push(name);
    }
}

/// Refuses annotations that ask for something else than the slice that a container has by its name.
pub fn agree(asked: &SliceRequest, slice: &str, has: &SliceRequest) -> Result<(), ClaimError> {
    if asked == has {
        return Ok(());
    }
    Err(ClaimError::Disagree {
        slice: slice.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(hooks: &[&[&str]]) -> Spec {
        let hooks: Vec<Value> = hooks
            .iter()
            .map(|args| json!({"path": "/usr/bin/sdg", "args": args}))
            .collect();
        let text = json!({"hooks": {"createRuntime": hooks}}).to_string();
        Spec::parse(text.as_bytes()).unwrap()
    }

    const A: &[&str] = &["sdg", "hook", "create-runtime", "--slice", "a", "--state", "/s"];
    const B: &[&str] = &["sdg", "hook", "create-runtime", "--slice", "b"];
    const GPUS: &[&str] = &[
        "sdg",
        "hook",
        "claim-gpu",
        "--gpu",
        "G0",
        "--gpu",
        "G1",
        "--state",
        "/s",
    ];
    const OTHER: &[&str] = &["other", "hook", "claim-gpu", "--gpu", "G7"];

    #[test]
    fn names_are_read_from_our_hooks() {
        let spec = spec(&[OTHER, GPUS, A, A]);
        let claims = Claims::of(&spec);
        assert_eq!(claims.slices, ["a"]);
        assert_eq!(claims.gpus, ["G0", "G1"]);
    }

    #[test]
    fn one_slice_or_whole_gpus() {
        for (hooks, fits) in [
            (&[][..], true),
            (&[A, A], true),
            (&[GPUS, GPUS], true),
            (&[A, B], false),
            (&[A, GPUS], false),
        ] {
            let spec = spec(hooks);
            assert_eq!(Claims::of(&spec).check().is_ok(), fits, "{hooks:?}");
        }
        assert!(Claims::of(&spec(&[GPUS])).check_annotations().is_err());
        assert!(Claims::of(&spec(&[A])).check_annotations().is_ok());
    }
}
