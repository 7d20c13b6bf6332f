//! The Kubernetes manifests of packaging/, examples/ and README.md are what the API's own types know, key by key, ask for what
//! sdg reads, and name one another rightly.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::node::v1::RuntimeClass;
use sdg::request::PodRequest;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A document of a file.
struct Manifest {
    file: PathBuf,
    content: Value,
}

impl Manifest {
    /// A text at a path like `/spec/handler`; empty where there is none.
    fn text(&self, path: &str) -> &str {
        self.content.pointer(path).and_then(Value::as_str).unwrap_or("")
    }

    fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// What a pod is made of: its own specification, or that of a DaemonSet's pods.
    fn pod_spec(&self) -> Option<&Value> {
        let path = match self.kind() {
            "Pod" => "/spec",
            "DaemonSet" => "/spec/template/spec",
            _ => return None,
        };
        self.content.pointer(path)
    }
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn parse(file: &Path, text: &str) -> Vec<Manifest> {
    let manifest = |document| Manifest {
        file: file.to_owned(),
        content: Value::deserialize(document)
            .unwrap_or_else(|error: serde_norway::Error| panic!("{}: {error}", file.display())),
    };
    serde_norway::Deserializer::from_str(text).map(manifest).collect()
}

/// Of all files of a directory, but kustomize's own.
fn of_directory(path: &str) -> Vec<Manifest> {
    let files = fs::read_dir(project(path))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let manifests = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "yaml"))
        .flat_map(|file| parse(&file, &fs::read_to_string(&file).unwrap()));
    manifests
        .filter(|manifest| manifest.kind() != "Kustomization")
        .collect()
}

/// Of README's blocks.
fn of_readme() -> Vec<Manifest> {
    let file = project("README.md");
    let text = fs::read_to_string(&file).unwrap();
    let blocks = text.split("```yaml\n").skip(1);
    let block = |text: &str| parse(&file, text.split("```").next().unwrap());
    blocks.flat_map(block).collect()
}

fn all() -> Vec<Manifest> {
    let mut manifests = of_directory("packaging/kubernetes");
    manifests.extend(of_directory("examples/kubernetes"));
    let readme = of_readme();
    assert_eq!(readme.len(), 2, "README shows a RuntimeClass and a Pod");
    manifests.extend(readme);
    manifests
}

/// What a type of the API has kept of a document: a key that it does not know is gone.
fn as_known<T: DeserializeOwned + Serialize>(manifest: &Manifest) -> Value {
    let typed: T = serde_json::from_value(manifest.content.clone())
        .unwrap_or_else(|error| panic!("{}: {error}", manifest.file.display()));
    serde_json::to_value(typed).unwrap()
}

#[test]
fn the_api_knows_every_key() {
    for manifest in all() {
        let known = match manifest.kind() {
            "DaemonSet" => as_known::<DaemonSet>(&manifest),
            "Namespace" => as_known::<Namespace>(&manifest),
            "Pod" => as_known::<Pod>(&manifest),
            "RuntimeClass" => as_known::<RuntimeClass>(&manifest),
            "ServiceAccount" => as_known::<ServiceAccount>(&manifest),
            other => panic!("{}: a {other} is not looked at here", manifest.file.display()),
        };
        assert_eq!(known, manifest.content, "{}", manifest.file.display());
    }
}

/// Source: Kubernetes, values of labels: at most 63 letters, digits, `-`, `_`, `.`, the first and the last a letter or digit.
fn is_label_value(value: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_end = |end: Option<&u8>| end.is_some_and(u8::is_ascii_alphanumeric);
    value.len() <= 63
        && value.bytes().all(inner)
        && is_end(value.as_bytes().first())
        && is_end(value.as_bytes().last())
}

fn pairs<'a>(manifest: &'a Manifest, path: &str) -> Vec<(&'a str, &'a str)> {
    let map = manifest.content.pointer(path).and_then(Value::as_object);
    let pairs = map.into_iter().flatten();
    pairs
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap()))
        .collect()
}

#[test]
fn pods_ask_for_slices_that_are_read() {
    let pods: Vec<_> = all()
        .into_iter()
        .filter(|manifest| manifest.kind() == "Pod")
        .collect();
    assert_eq!(pods.len(), 4, "two of the example, the one with labels, README's");
    for pod in pods {
        let labels = pairs(&pod, "/metadata/labels");
        let annotations = pairs(&pod, "/metadata/annotations");
        for (key, value) in &labels {
            assert!(is_label_value(value), "{}: {key}: {value}", pod.file.display());
        }
        let asked = PodRequest::parse(labels.iter().chain(&annotations).copied());
        assert!(asked.unwrap().is_some(), "{}", pod.file.display());
        // Only the plugin reads labels; the runtime class reads annotations alone.
        let by_class = pod.text("/spec/runtimeClassName") == "sdg";
        assert_ne!(by_class, annotations.is_empty(), "{}", pod.file.display());
    }
}

#[test]
fn what_the_scheduler_counts_is_what_the_labels_ask_for() {
    let pods = of_directory("packaging/kubernetes");
    let pod = pods.iter().find(|manifest| manifest.kind() == "Pod").unwrap();
    let limits = pod
        .content
        .pointer("/spec/containers/0/resources/limits")
        .unwrap();
    let labels = &pod.content["metadata"]["labels"];
    assert_eq!(
        limits["sdg.exostellar.io/memory"],
        labels["sdg.exostellar.io/memory"]
    );
    let compute = labels["sdg.exostellar.io/compute"].as_str().unwrap();
    assert_eq!(
        limits["sdg.exostellar.io/compute"],
        compute.strip_suffix('m').unwrap()
    );
}

fn names(list: Option<&Value>) -> BTreeSet<&str> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn what_they_name_is_there() {
    let manifests = all();
    let have = |kind: &str, name: &str| {
        manifests
            .iter()
            .any(|manifest| manifest.kind() == kind && manifest.text("/metadata/name") == name)
    };
    for manifest in &manifests {
        let file = manifest.file.display();
        let namespace = manifest.text("/metadata/namespace");
        assert!(
            namespace.is_empty() || have("Namespace", namespace),
            "{file}: {namespace}"
        );
        let Some(spec) = manifest.pod_spec() else { continue };
        for (key, kind) in [
            ("serviceAccountName", "ServiceAccount"),
            ("runtimeClassName", "RuntimeClass"),
        ] {
            let name = spec[key].as_str().unwrap_or("");
            assert!(name.is_empty() || have(kind, name), "{file}: {key}: {name}");
        }
        let volumes = names(spec.get("volumes"));
        for list in ["initContainers", "containers"] {
            for container in spec.get(list).and_then(Value::as_array).into_iter().flatten() {
                let mounted = names(container.get("volumeMounts"));
                assert!(mounted.is_subset(&volumes), "{file}: {mounted:?} of {volumes:?}");
            }
        }
    }
}

#[test]
fn the_base_has_all_but_the_example() {
    let directory = project("packaging/kubernetes");
    let file = directory.join("kustomization.yaml");
    let base = parse(&file, &fs::read_to_string(&file).unwrap());
    let resources = base[0].content["resources"].as_array().unwrap().iter();
    let mut listed: BTreeSet<_> = resources
        .map(|name| directory.join(name.as_str().unwrap()))
        .collect();
    listed.insert(directory.join("pod.example.yaml"));
    let there = of_directory("packaging/kubernetes")
        .into_iter()
        .map(|manifest| manifest.file);
    assert_eq!(there.collect::<BTreeSet<_>>(), listed);
}
