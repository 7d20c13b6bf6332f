//! What runs in a slice, written down for those who look at its past.

use crate::coverage;
use crate::host::Host;
use crate::ledger::record::{Holder, SliceRecord};
use crate::ledger::workload::Workload;
use crate::oci::config::Spec;

/// Annotations that name a pod's namespace, the pod, and its container: containerd's, and those of the kubelet, which
/// CRI-O has.
const KUBERNETES: [[&str; 3]; 2] = [
    [
        "io.kubernetes.cri.sandbox-namespace",
        "io.kubernetes.cri.sandbox-name",
        "io.kubernetes.cri.container-name",
    ],
    [
        "io.kubernetes.pod.namespace",
        "io.kubernetes.pod.name",
        "io.kubernetes.container.name",
    ],
];

/// Writes down what a container runs that has a slice of its own. One that is shared has a name, or is a pod's.
pub fn note(host: &Host, record: &SliceRecord, spec: &Spec) {
    if matches!(record.holder, Holder::Container { .. }) {
        // Without it the past has a name less.
        let _ = of(spec).write(&host.ledger().slice_dir(&record.id));
    }
}

/// What a container runs.
pub fn of(spec: &Spec) -> Workload {
    let annotation = |key: &str| spec.annotations().find(|(name, _)| *name == key);
    let name = KUBERNETES.iter().find_map(|keys| {
        let parts: Option<Vec<&str>> = keys.iter().map(|key| Some(annotation(key)?.1)).collect();
        Some(parts?.join("/"))
    });
    Workload::new(coverage::program_of(spec), name.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_have_names_and_inits_are_no_programs() {
        let text = br#"{"process": {"args": ["/sbin/tini", "--", "/opt/vllm", "serve"]}, "annotations": {
            "io.kubernetes.cri.sandbox-namespace": "default", "io.kubernetes.cri.sandbox-name": "llama-0",
            "io.kubernetes.cri.container-name": "server"}}"#;
        let workload = of(&Spec::parse(text).unwrap());
        assert_eq!(workload.program.as_deref(), Some("vllm"));
        assert_eq!(workload.kubernetes.as_deref(), Some("default/llama-0/server"));
        let text = br#"{"annotations": {"io.kubernetes.cri.container-name": "server"}}"#;
        assert_eq!(of(&Spec::parse(text).unwrap()), Workload::default());
    }
}
