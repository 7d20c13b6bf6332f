//! The built-in presets, and changes to them.

use sdg_sim::preset::{Preset, XcpSpelling};

#[test]
fn every_built_in_preset_is_complete_and_consistent() {
    for name in Preset::names() {
        Preset::named(name).unwrap();
    }
}

#[test]
fn a_preset_takes_what_it_does_not_say_from_its_base() {
    let (one, eight) = (
        Preset::named("mi300x").unwrap(),
        Preset::named("mi300x-8-cpx").unwrap(),
    );
    assert_eq!(
        (eight.gpus, eight.partitions(), eight.xcc_per_partition()),
        (8, 8, 1)
    );
    assert_eq!(eight.memory_bytes, one.memory_bytes);
}

#[test]
fn compute_units_are_spread_over_the_engines() {
    assert_eq!(Preset::named("mi300x").unwrap().cus_of_engines(), [10, 10, 9, 9]);
    assert_eq!(Preset::named("mi210-4").unwrap().cus_of_engines(), [13; 8]);
}

#[test]
fn values_are_changed_by_key() {
    let mut preset = Preset::named("mi300x").unwrap();
    preset.set("compute_partition=DPX").unwrap();
    preset.set("memory_bytes=0x4000_0000").unwrap();
    preset.set("xcp_spelling=dot").unwrap();
    preset.set("pci_buses=[1, 2]").unwrap();
    assert_eq!((preset.partitions(), preset.xcc_per_partition()), (2, 4));
    assert_eq!(preset.memory_bytes, 1 << 30);
    assert_eq!(preset.xcp_spelling, XcpSpelling::Dot);
    assert_eq!(preset.pci_buses, [1, 2]);
}

#[test]
fn a_bad_change_says_what_would_do_and_leaves_the_preset_alone() {
    let mut preset = Preset::named("mi300x").unwrap();
    let before = preset.clone();
    for (change, expected) in [
        ("gpus", "--set gpus: expected KEY=VALUE"),
        ("gpus=many", "--set gpus=many: expected a whole number"),
        ("gpus=0", "--set gpus=0: expected 1 to 64"),
        ("gpus=-1", "--set gpus=-1: "),
        ("cu_slots=5", "--set cu_slots=5: active_cus: expected 1 to 20"),
        ("active_cus=41", "--set active_cus=41: expected 1 to 40"),
        (
            "compute_partition=TPX",
            "--set compute_partition=TPX: this GPU has: SPX, DPX, QPX, CPX",
        ),
        ("xcp_spelling=dash", "--set xcp_spelling=dash: "),
        (
            "ip_versions=[\"GC 11 9.4\"]",
            "--set ip_versions=[\"GC 11 9.4\"]: \"GC 11 9.4\": expected \"NAME HW_ID MAJOR.MINOR.REVISION ADDRESS…\" for each block",
        ),
        ("speed=9", "--set speed: no such key; accepted: active_cus, "),
        ("gpus=1\nxcc=2", "--set gpus=1\nxcc=2: expected a whole number"),
    ] {
        let message = preset.set(change).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{change}: {message}");
    }
    assert_eq!(preset, before);
}

#[test]
fn an_unknown_preset_names_those_there_are() {
    let message = Preset::named("mi400").unwrap_err().to_string();
    assert!(
        message.contains("\"mi400\"") && message.contains("mi300x-8-cpx"),
        "{message}"
    );
}
