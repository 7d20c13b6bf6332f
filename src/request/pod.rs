//! A pod's labels and annotations → [`PodRequest`]: one slice, and who shares it. Pure.

use super::error::RequestError;
use super::keys::{LONG_PREFIX, SHORT_PREFIX};
use super::{SliceRequest, parse};

/// Names the containers of a pod that share its slice; absent: all.
const CONTAINERS: &str = "containers";

/// What a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRequest {
    /// The slice.
    pub request: SliceRequest,
    /// Names of the containers that share it; none named: all.
    containers: Option<Vec<String>>,
}

impl PodRequest {
    /// Reads a pod's labels and annotations. None of our keys: no request.
    pub fn parse<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<Self>, RequestError> {
        let (naming, asking): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(key, _)| is_containers(key));
        let mut containers = None;
        for (key, value) in naming {
            let names = Some(names(key, value)?);
            if containers.is_some() && containers != names {
                return Err(RequestError::ContainersTwice { key: key.to_owned() });
            }
            containers = names;
        }
        match parse(asking)? {
            Some(request) => Ok(Some(Self { request, containers })),
            None if containers.is_some() => Err(RequestError::ContainersAlone),
            None => Ok(None),
        }
    }

    /// Whether a container of the pod has the slice.
    pub fn includes(&self, container: &str) -> bool {
        self.containers
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name == container))
    }
}

fn is_containers(key: &str) -> bool {
    [LONG_PREFIX, SHORT_PREFIX]
        .into_iter()
        .any(|prefix| key.strip_prefix(prefix) == Some(CONTAINERS))
}

/// A label's value has no comma: there a dot or an underscore divides names, which neither can be part of. Source:
/// Kubernetes, names of containers are DNS labels (RFC 1123).
fn names(key: &str, value: &str) -> Result<Vec<String>, RequestError> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let parts = value.split([',', '.', '_']).map(str::trim);
    let names: Vec<String> = parts.map(str::to_owned).collect();
    if names.iter().all(|name| is_name(name)) {
        return Ok(names);
    }
    Err(RequestError::Containers {
        key: key.to_owned(),
        value: value.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: (&str, &str) = ("sdg.exostellar.io/memory", "4Gi");

    fn request(containers: &[(&str, &str)]) -> Result<Option<PodRequest>, RequestError> {
        PodRequest::parse(containers.iter().copied().chain([MEMORY]))
    }

    #[test]
    fn all_containers_share_a_slice_unless_some_are_named() {
        let all = request(&[]).unwrap().unwrap();
        assert!(all.includes("main") && all.includes("sidecar"));
        for value in ["main,load", "main.load", "main_load", "main, load"] {
            let some = request(&[("sdg.containers", value)]).unwrap().unwrap();
            assert!(some.includes("main") && some.includes("load"), "{value}");
            assert!(!some.includes("sidecar"), "{value}");
        }
    }

    #[test]
    fn both_forms_may_say_the_same() {
        let both = |long| request(&[("sdg.containers", "main"), ("sdg.exostellar.io/containers", long)]);
        assert!(both("main").is_ok());
        let error = both("other").unwrap_err().to_string();
        assert!(error.starts_with("sdg.exostellar.io/containers: "), "{error}");
    }

    #[test]
    fn an_amount_that_nobody_means_is_refused_in_a_label_too() {
        let error = PodRequest::parse([("sdg.exostellar.io/memory", "20")]).unwrap_err();
        assert!(error.to_string().ends_with("; did you mean 20Gi?"), "{error}");
    }

    #[test]
    fn wrong_names_are_refused() {
        for value in ["", "main,", "Main", "a b"] {
            let error = request(&[("sdg.containers", value)]).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("sdg.containers: {value:?} ")),
                "{error}"
            );
        }
        assert!(
            PodRequest::parse([("sdg.containers", "main")]).is_err(),
            "of what slice?"
        );
        assert_eq!(PodRequest::parse([("app", "x")]), Ok(None));
    }
}
