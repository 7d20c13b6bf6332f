//! Annotations and labels to requests: every key, every refusal with its words.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail by a panic"
)]

use proptest::prelude::*;
use sdg::inventory::GpuSelector;
use sdg::request::quantity::Quantity;
use sdg::request::{
    ComputeRequest, Enforcement, KEYS, LONG_PREFIX, MemoryRequest, Millis, PlacementPolicy, SHORT_PREFIX,
    Share, SliceRequest, parse,
};

const GIB: u64 = 1 << 30;

fn good(pairs: &[(&str, &str)]) -> SliceRequest {
    match parse(pairs.iter().copied()) {
        Ok(Some(request)) => request,
        other => panic!("{pairs:?}: {other:?}"),
    }
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    parse(pairs.iter().copied()).expect_err("a refusal").to_string()
}

fn memory(pairs: &[(&str, &str)]) -> MemoryRequest {
    match good(pairs).share {
        Share::Part { memory, .. } => memory,
        Share::Whole => panic!("whole"),
    }
}

fn compute(pairs: &[(&str, &str)]) -> ComputeRequest {
    match good(pairs).share {
        Share::Part { compute, .. } => compute,
        Share::Whole => panic!("whole"),
    }
}

#[test]
fn keys_of_others_are_passed_over() {
    let others = [
        ("io.podman.annotations.ulimit", "x"),
        ("sdgx", "1"),
        ("exostellar.io/memory", "1"),
        ("", ""),
    ];
    assert_eq!(parse(others), Ok(None));
    assert_eq!(parse([]), Ok(None));
}

#[test]
fn every_key_in_both_forms() {
    let values = [
        ("vendor", "amd"),
        ("memory", "20Gi"),
        ("memoryLimit", "30Gi"),
        ("compute", "250m"),
        ("computeLimit", "0.5"),
        ("count", "2"),
        ("gpu", "3"),
        ("group", "team-a"),
        ("placement", "spread"),
        ("enforcement", "guarded"),
    ];
    assert_eq!(values.len(), KEYS.len());
    for prefix in [SHORT_PREFIX, LONG_PREFIX] {
        let keys: Vec<(String, &str)> = values
            .map(|(key, value)| (format!("{prefix}{key}"), value))
            .to_vec();
        let pairs: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        assert_eq!(
            good(&pairs),
            SliceRequest {
                share: Share::Part {
                    memory: MemoryRequest {
                        guarantee: 20 * GIB,
                        limit: 30 * GIB
                    },
                    compute: ComputeRequest::Guaranteed {
                        guarantee: Millis(250),
                        limit: Millis(500)
                    },
                },
                count: 2,
                gpu: Some(GpuSelector::Index(3)),
                group: Some("team-a".to_owned()),
                placement: PlacementPolicy::Spread,
                enforcement: Enforcement::Guarded,
            }
        );
    }
}

#[test]
fn defaults() {
    let request = good(&[("sdg.memory", "1Gi")]);
    assert_eq!((request.count, request.gpu, request.group), (1, None, None));
    assert_eq!(request.placement, PlacementPolicy::Pack);
    assert_eq!(compute(&[("sdg.memory", "1Gi")]), ComputeRequest::BestEffort);
}

#[test]
fn one_of_guarantee_and_limit_is_both() {
    let both = MemoryRequest {
        guarantee: GIB,
        limit: GIB,
    };
    assert_eq!(memory(&[("sdg.memory", "1Gi")]), both);
    assert_eq!(memory(&[("sdg.memoryLimit", "1Gi")]), both);
    let half = ComputeRequest::Guaranteed {
        guarantee: Millis(500),
        limit: Millis(500),
    };
    assert_eq!(compute(&[("sdg.memory", "1Gi"), ("sdg.compute", "500m")]), half);
    assert_eq!(
        compute(&[("sdg.memory", "1Gi"), ("sdg.computeLimit", "500m")]),
        half
    );
}

#[test]
fn count_or_gpu_alone_are_whole_gpus() {
    assert_eq!(good(&[("sdg.count", "3")]).share, Share::Whole);
    assert_eq!(
        good(&[("sdg.gpu", "0"), ("sdg.vendor", "amd")]).share,
        Share::Whole
    );
}

#[test]
fn gpus_are_named_in_three_ways() {
    let gpu = |value| good(&[("sdg.gpu", value)]).gpu.unwrap();
    assert_eq!(gpu("12"), GpuSelector::Index(12));
    assert_eq!(
        gpu("GPU-6f7bf9e13e8c2a01-3"),
        GpuSelector::Uuid("GPU-6f7bf9e13e8c2a01-3".to_owned())
    );
    assert_eq!(gpu("0000:47:00.0"), GpuSelector::Pci("0000:47:00.0".to_owned()));
    assert_eq!(gpu("c1:00.0"), GpuSelector::Pci("0000:c1:00.0".to_owned()));
}

#[test]
fn both_forms_have_to_agree() {
    let same = [("sdg.memory", "4Gi"), ("sdg.exostellar.io/memory", "4Gi")];
    assert_eq!(memory(&same).guarantee, 4 * GIB);
    assert_eq!(
        refusal(&[("sdg.memory", "4Gi"), ("sdg.exostellar.io/memory", "8Gi")]),
        r#"sdg.exostellar.io/memory: "8Gi" contradicts sdg.memory: "4Gi" (give one, or both the same)"#
    );
}

#[test]
fn every_refusal_names_key_value_and_what_would_do() {
    let quantity = "a Kubernetes quantity such as 4Gi or 1500M";
    let cases: [(&[(&str, &str)], String); 32] = [
        (
            &[("sdg.mem", "4Gi")],
            "sdg.mem: no such key (there are sdg.vendor, sdg.memory, sdg.memoryLimit, sdg.compute, \
             sdg.computeLimit, sdg.count, sdg.gpu, sdg.group, sdg.placement, sdg.enforcement)"
                .into(),
        ),
        (&[("sdg.vendor", "nvidia")], r#"sdg.vendor: "nvidia" is not served here (accepted: amd)"#.into()),
        (&[("sdg.vendor", "AMD")], r#"sdg.vendor: "AMD" is not served here (accepted: amd)"#.into()),
        (&[("sdg.memory", "4GB")], format!(r#"sdg.memory: "4GB" is no amount of memory (accepted: {quantity})"#)),
        (&[("sdg.memory", "")], format!(r#"sdg.memory: "" is no amount of memory (accepted: {quantity})"#)),
        (&[("sdg.memory", " 4Gi")], format!(r#"sdg.memory: " 4Gi" is no amount of memory (accepted: {quantity})"#)),
        (&[("sdg.memory", "0")], format!("sdg.memory: 0 asks for nothing (accepted: {quantity})")),
        (&[("sdg.memoryLimit", "0Gi")], format!("sdg.memoryLimit: 0Gi asks for nothing (accepted: {quantity})")),
        (&[("sdg.memory", "-1Gi")], format!("sdg.memory: -1Gi is below zero (accepted: {quantity})")),
        (
            &[("sdg.memory", "20")],
            "sdg.memory: 20 is 20 bytes, less than any GPU program can use (accepted: 2Mi and more); did you mean 20Gi?"
                .into(),
        ),
        (
            &[("sdg.memory", "0.0001")],
            "sdg.memory: 0.0001 is 1 byte, less than any GPU program can use (accepted: 2Mi and more)".into(),
        ),
        (
            &[("sdg.memory", "4Gi"), ("sdg.exostellar.io/memoryLimit", "4096m")],
            "sdg.exostellar.io/memoryLimit: 4096m is 5 bytes, less than any GPU program can use (accepted: 2Mi and \
             more); did you mean 4096Mi?"
                .into(),
        ),
        (
            &[("sdg.memory", "99Ei")],
            "sdg.memory: 99Ei is more memory than there can be (accepted: less than 16Ei)".into(),
        ),
        (
            &[("sdg.memory", "4Gi"), ("sdg.exostellar.io/memoryLimit", "2Gi")],
            "sdg.memory: 4Gi is above sdg.exostellar.io/memoryLimit: 2Gi (a guarantee is at most the limit)".into(),
        ),
        (
            &[("sdg.memory", "4Gi"), ("sdg.compute", "500m"), ("sdg.computeLimit", "0.25")],
            "sdg.compute: 500m is above sdg.computeLimit: 0.25 (a guarantee is at most the limit)".into(),
        ),
        (
            &[("sdg.memory", "4Gi"), ("sdg.compute", "half")],
            r#"sdg.compute: "half" is no share of a GPU (accepted: 1m to 1000m, in whole thousandths)"#.into(),
        ),
        (
            &[("sdg.memory", "4Gi"), ("sdg.compute", "0.0005")],
            r#"sdg.compute: "0.0005" is no share of a GPU (accepted: 1m to 1000m, in whole thousandths)"#.into(),
        ),
        (
            &[("sdg.memory", "4Gi"), ("sdg.compute", "0m")],
            "sdg.compute: 0m asks for nothing (accepted: 1m to 1000m)".into(),
        ),
        (
            &[("sdg.memory", "4Gi"), ("sdg.compute", "-100m")],
            "sdg.compute: -100m is below zero (accepted: 1m to 1000m)".into(),
        ),
        (
            &[("sdg.memory", "4Gi"), ("sdg.compute", "1001m")],
            "sdg.compute: 1001m is more than one GPU (accepted: 1m to 1000m; sdg.count asks for several GPUs)".into(),
        ),
        (
            &[("sdg.memory", "4Gi"), ("sdg.exostellar.io/compute", "250")],
            "sdg.exostellar.io/compute: 250 is more than one GPU (accepted: 1m to 1000m; sdg.exostellar.io/count \
             asks for several GPUs); did you mean 250m?"
                .into(),
        ),
        (&[("sdg.count", "0")], r#"sdg.count: "0" is no number of GPUs (accepted: 1 to 64)"#.into()),
        (&[("sdg.count", "65")], r#"sdg.count: "65" is no number of GPUs (accepted: 1 to 64)"#.into()),
        (&[("sdg.count", "+1")], r#"sdg.count: "+1" is no number of GPUs (accepted: 1 to 64)"#.into()),
        (
            &[("sdg.gpu", "first")],
            "sdg.gpu: \"first\" names no GPU (accepted: an index such as 0, a UUID such as GPU-6f7bf9e13e8c2a01, a \
             PCI address such as 0000:47:00.0)"
                .into(),
        ),
        (
            &[("sdg.memory", "4Gi"), ("sdg.group", "-a")],
            "sdg.group: \"-a\" is no name for a group (accepted: 1 to 63 of a-z A-Z 0-9 - _ . that begin and end with \
             a letter or digit)"
                .into(),
        ),
        (
            &[("sdg.memory", "4Gi"), ("sdg.placement", "best")],
            r#"sdg.placement: "best" is no placement (accepted: pack, spread)"#.into(),
        ),
        (
            &[("sdg.memory", "4Gi"), ("sdg.enforcement", "cooperative")],
            r#"sdg.enforcement: "cooperative" cannot be asked for (accepted: guarded, which is more than the default)"#
                .into(),
        ),
        (
            &[("sdg.compute", "250m")],
            "sdg.memory: missing, and sdg.compute alone is no slice (give sdg.memory, e.g. 4Gi)".into(),
        ),
        (
            &[("sdg.gpu", "0"), ("sdg.exostellar.io/computeLimit", "250m")],
            "sdg.exostellar.io/memory: missing, and sdg.exostellar.io/computeLimit alone is no slice (give \
             sdg.exostellar.io/memory, e.g. 4Gi)"
                .into(),
        ),
        (
            &[("sdg.group", "a")],
            "sdg.memory: missing, and sdg.group alone is no slice (give sdg.memory, e.g. 4Gi; or sdg.count, e.g. 1, \
             for whole GPUs)"
                .into(),
        ),
        (
            &[("sdg.vendor", "amd")],
            "sdg.memory: missing, and sdg.vendor alone is no slice (give sdg.memory, e.g. 4Gi; or sdg.count, e.g. 1, \
             for whole GPUs)"
                .into(),
        ),
    ];
    for (pairs, expected) in cases {
        assert_eq!(refusal(pairs), expected);
    }
}

#[test]
fn amounts_that_nobody_means_are_refused_and_small_ones_are_not() {
    for value in [
        "20", "3000", "4096m", "0.25", "1n", "1e3", "1k", "1Mi", "2097151", "1.99Mi", "2e6",
    ] {
        for key in ["sdg.memory", "sdg.exostellar.io/memory", "sdg.memoryLimit"] {
            let text = refusal(&[(key, value)]);
            assert!(
                text.starts_with(&format!("{key}: {value} is ")) && text.contains("did you mean "),
                "{text}"
            );
        }
    }
    for (value, bytes) in [
        ("2Mi", 2 << 20),
        ("2097152", 2 << 20),
        ("2.5M", 2_500_000),
        ("0.25Gi", 1 << 28),
    ] {
        assert_eq!(memory(&[("sdg.memory", value)]).guarantee, bytes);
    }
}

#[test]
fn names_of_groups() {
    let group = |name: &str| parse([("sdg.memory", "4Gi"), ("sdg.group", name)]).is_ok();
    for name in ["a", "A.b_c-9", &"x".repeat(63)] {
        assert!(group(name), "{name}");
    }
    for name in ["", "a/b", "..", "a ", "é", "_a", "a.", &"x".repeat(64)] {
        assert!(!group(name), "{name}");
    }
}

proptest! {
    /// kube_quantity as a second opinion, where it is exact: whole numbers below 2^53 with any suffix but E and Ei.
    #[test]
    fn quantities_are_as_kube_quantity_reads_them(
        number in 0u64..1 << 20, suffix in prop::sample::select(vec!["", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"]),
    ) {
        let text = format!("{number}{suffix}");
        let theirs = kube_quantity::ParsedQuantity::try_from(text.as_str()).unwrap().to_bytes_i128().unwrap();
        let ours = Quantity::parse(&text).unwrap().rounded_up().unwrap();
        prop_assert_eq!(i128::from(ours), theirs);
    }

    /// Whatever is written: an answer, never a panic; a message is one line that names the key.
    #[test]
    fn any_text_is_answered(key in "(memory|memoryLimit|compute|computeLimit|count|gpu|group|vendor|placement|enforcement)", value in ".{0,40}") {
        let key = format!("sdg.{key}");
        if let Err(error) = parse([("sdg.memory", "1Gi"), (key.as_str(), value.as_str())]) {
            let text = error.to_string();
            prop_assert!(text.contains(&key) && !text.contains('\n'), "{text:?}");
        }
    }

    #[test]
    fn numbers_with_suffixes_never_panic(text in "[+-]?[0-9]{0,45}\\.?[0-9]{0,45}(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?[0-9]{0,12})?") {
        if let Ok(quantity) = Quantity::parse(&text) {
            let (bytes, millis) = (quantity.rounded_up(), quantity.whole_millis());
            if let (Some(bytes), Some(millis)) = (bytes, millis) {
                prop_assert_eq!(bytes, millis.div_ceil(1000));
            }
        }
    }
}
