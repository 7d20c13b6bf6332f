//! What slices that are over needed: written down however they end, kept within bounds, and no reason for a stop to fail.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

#[path = "support/sandbox.rs"]
mod sandbox;

use std::fs::File;
use std::mem::offset_of;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::Output;

use sandbox::{Sandbox, complaint, stderr};
use sdg::edits::HookStage;
use sdg::host::{Host, Places};
use sdg::inventory::{Detail, Inventory};
use sdg::ledger::record::{Holder, ProcessIdentity};
use sdg::lifecycle::{self, NewSlice};
use sdg::request;
use sdg_abi::usage;
use serde_json::{Value, json};

const GI: u64 = 1 << 30;
/// No process has this start time.
const DEAD: ProcessIdentity = ProcessIdentity {
    pid: 1,
    start_time: u64::MAX,
};
const CONTAINER: &str = "544099dab444548a64dea4371bd53f9024bde2c45b03e1762d6ba1fccfdde379";

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn host(sandbox: &Sandbox) -> Host {
    Host::new(&Places {
        sysroot: Some(sandbox.path("root")),
        state: Some(sandbox.path("state")),
        config: Some(sandbox.path("config.toml")),
    })
    .unwrap()
}

/// A slice of 20 GiB; its id.
fn place(sandbox: &Sandbox, holder: Holder) -> String {
    let host = host(sandbox);
    let inventory = Inventory::read(&host.sysroot, Detail::Placement).unwrap();
    let new = NewSlice {
        request: request::parse([("sdg.memory", "20Gi"), ("sdg.compute", "100m")])
            .unwrap()
            .unwrap(),
        holder,
        user: None,
        name: None,
        preload: b"",
        covered: true,
        hooks: HookStage::ALL,
    };
    lifecycle::place(&host, &inventory, &new).unwrap().record.id
}

fn container() -> Holder {
    Holder::Container {
        container: CONTAINER.to_owned(),
        process: DEAD,
    }
}

/// What the shims of a container have counted, or what it wrote there itself.
fn used(sandbox: &Sandbox, id: &str, (peak, refused): (u64, u64)) {
    let page = sandbox.path("state/slices").join(id).join(usage::FILE_NAME);
    let page = File::options().write(true).open(page).unwrap();
    for (offset, value) in [
        (offset_of!(usage::Header, peak), peak),
        (offset_of!(usage::Header, refused), refused),
    ] {
        page.write_all_at(&value.to_ne_bytes(), offset as u64).unwrap();
    }
}

fn history(sandbox: &Sandbox) -> Vec<Value> {
    let Value::Array(ended) = sandbox.json(&["slice", "history", "--json"]) else {
        panic!("no array")
    };
    ended
}

fn poststop(sandbox: &Sandbox, id: &str) -> Output {
    let state = json!({"id": CONTAINER, "status": "stopped"}).to_string();
    sandbox.run_with(&["hook", "poststop", "--slice", id], state.as_bytes())
}

#[test]
fn a_named_slice_says_what_it_needed_when_it_is_deleted() {
    let sandbox = Sandbox::new("mi300x", &[]);
    assert_eq!(history(&sandbox), [Value::Null; 0]);
    let created = sandbox.json(&[
        "slice",
        "create",
        "--name=llama",
        "--memory=20Gi",
        "--compute=250m",
        "--json",
    ]);
    let id = created["id"].as_str().unwrap();
    used(&sandbox, id, (13 * GI + GI / 10, 0));
    let running = sandbox.json(&["slice", "show", "llama", "--json"]);
    assert_eq!(running["suggested_memory_bytes"], json!(14 * GI));
    text(&sandbox.run(&["slice", "delete", "llama"]));

    let ended = sandbox.json(&["slice", "show", "llama", "--json"]);
    assert_eq!(history(&sandbox), std::slice::from_ref(&ended));
    assert_eq!(
        (&ended["id"], &ended["state"], &ended["created"]),
        (&created["id"], &json!("ended"), &created["created"])
    );
    assert_eq!(
        ended["gpus"],
        json!([{"index": 0, "uuid": created["gpus"][0]["uuid"], "memory_bytes": 20 * GI, "memory_limit_bytes": 20 * GI,
            "compute_units": 72}])
    );
    assert_eq!(
        (
            &ended["peak_memory_bytes"],
            &ended["refused_allocations"],
            &ended["suggested_memory_bytes"]
        ),
        (&json!(13 * GI + GI / 10), &json!(0), &json!(14 * GI))
    );
    // What a slice has needed that is there does not know of its earlier lives; those are listed beside it.
    sandbox.json(&["slice", "create", "--name=llama", "--memory=14Gi", "--json"]);
    assert_eq!(
        sandbox.json(&["slice", "show", "llama", "--json"])["state"],
        "named"
    );
    assert_eq!(history(&sandbox).len(), 1);
    let listed = text(&sandbox.run(&["slice", "history", "llama"]));
    assert!(
        listed.ends_with("\npeak 13.09Gi of 20Gi: 14Gi would do\n"),
        "{listed}"
    );
    assert!(listed.contains("  llama  "), "{listed}");
    let said = complaint(&sandbox.run(&["slice", "show", "other"]));
    assert!(said.starts_with("sdg: no slice \"other\""), "{said}");
}

#[test]
fn a_container_is_known_by_its_id_after_its_stop_and_by_what_ran_in_it() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let id = place(&sandbox, container());
    let workload = sandbox.path("state/slices").join(&id).join("workload");
    std::fs::write(workload, r#"{"program":"vllm","kubernetes":null}"#).unwrap();
    used(&sandbox, &id, (19 * GI, 3));
    let listed = text(&sandbox.run(&["slice", "show", &CONTAINER[..12]]));
    assert!(listed.contains(&id), "while it is there: {listed}");
    assert!(listed.contains(&format!("  {}  ", &CONTAINER[..12])), "{listed}");
    text(&poststop(&sandbox, &id));
    for name in [CONTAINER, &CONTAINER[..12], &id, "vllm"] {
        let ended = sandbox.json(&["slice", "show", name, "--json"]);
        assert_eq!(
            (&ended["id"], &ended["container"]),
            (&json!(id), &json!(CONTAINER)),
            "{name}"
        );
        assert_eq!(
            (&ended["program"], &ended["suggested_memory_bytes"]),
            (&json!("vllm"), &Value::Null)
        );
        let listed = text(&sandbox.run(&["slice", "show", name]));
        assert!(
            listed.ends_with("peak 19Gi of 20Gi; 3 allocations were refused: it would use more\n"),
            "{listed}"
        );
    }
    let mode = std::fs::metadata(sandbox.path("state/history"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_reap_writes_down_what_nobody_released() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let id = place(&sandbox, container());
    used(&sandbox, &id, (5 * GI, 0));
    text(&sandbox.run(&["slice", "create", "--memory=1Gi"]));
    let ended = history(&sandbox);
    assert_eq!(ended.len(), 1, "the placement has reaped it");
    assert_eq!(
        (&ended[0]["id"], &ended[0]["peak_memory_bytes"]),
        (&json!(id), &json!(5 * GI))
    );
}

#[test]
fn a_pods_slice_is_written_down_when_the_pod_is_gone_and_one_that_never_began_is_not() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let pod = Holder::Pod {
        sandbox: "s".to_owned(),
        pod: "default/llama-0".to_owned(),
        process: None,
    };
    let id = place(&sandbox, pod);
    let listed = text(&sandbox.run(&["slice", "list"]));
    assert!(listed.contains("  default/llama-0  "), "{listed}");
    used(&sandbox, &id, (2 * GI, 0));
    assert_eq!(
        lifecycle::pod::release(&host(&sandbox), "s").unwrap(),
        [id.as_str()]
    );
    let placed = Holder::Placed {
        maker: None,
        container: None,
    };
    let never = place(&sandbox, placed);
    text(&poststop(&sandbox, &never));
    assert_eq!(sandbox.ledger_files(), [""; 0]);
    let ended = sandbox.json(&["slice", "show", "default/llama-0", "--json"]);
    assert_eq!(history(&sandbox), std::slice::from_ref(&ended));
    assert_eq!(
        (&ended["id"], &ended["peak_memory_bytes"]),
        (&json!(id), &json!(2 * GI))
    );
    let over = text(&sandbox.run(&["slice", "history"]));
    assert!(over.contains("  default/llama-0  "), "{over}");
}

#[test]
fn a_container_that_scribbles_on_its_page_spoils_its_own_figures_alone() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let honest = place(&sandbox, container());
    used(&sandbox, &honest, (13 * GI, 0));
    text(&poststop(&sandbox, &honest));
    let page = |id: &str| sandbox.path("state/slices").join(id).join(usage::FILE_NAME);
    let cut = place(&sandbox, container());
    File::options()
        .write(true)
        .open(page(&cut))
        .unwrap()
        .set_len(0)
        .unwrap();
    text(&poststop(&sandbox, &cut));
    let boasts = place(&sandbox, container());
    used(&sandbox, &boasts, (u64::MAX, u64::MAX));
    text(&poststop(&sandbox, &boasts));

    let ended = history(&sandbox);
    let figures: Vec<_> = ended.iter().map(|ended| &ended["peak_memory_bytes"]).collect();
    assert_eq!(figures, [&json!(13 * GI), &Value::Null, &json!(u64::MAX)]);
    let shown = text(&sandbox.run(&["slice", "show", &honest]));
    assert!(shown.ends_with("peak 13Gi of 20Gi: 14Gi would do\n"), "{shown}");
    text(&sandbox.run(&["slice", "history"]));
}

#[test]
fn a_program_called_like_a_slice_does_not_mix_its_figures_with_that_slices() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let named = sandbox.json(&["slice", "create", "--name=llama", "--memory=20Gi", "--json"]);
    used(&sandbox, named["id"].as_str().unwrap(), (13 * GI, 0));
    text(&sandbox.run(&["slice", "delete", "llama"]));
    let id = place(&sandbox, container());
    let workload = sandbox.path("state/slices").join(&id).join("workload");
    std::fs::write(workload, r#"{"program":"llama","kubernetes":null}"#).unwrap();
    used(&sandbox, &id, (u64::MAX, 9));
    text(&poststop(&sandbox, &id));
    let shown = text(&sandbox.run(&["slice", "show", "llama"]));
    assert!(shown.ends_with("peak 13Gi of 20Gi: 14Gi would do\n"), "{shown}");
}

#[test]
fn a_history_that_cannot_be_written_stops_no_stop() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let id = place(&sandbox, container());
    std::fs::create_dir(sandbox.path("state/history")).unwrap();
    let stopped = poststop(&sandbox, &id);
    assert_eq!((text(&stopped), stderr(&stopped)), (String::new(), String::new()));
    assert_eq!(sandbox.ledger_files(), [""; 0]);
    let said = complaint(&sandbox.run(&["slice", "history"]));
    assert!(said.contains("state/history"), "{said}");
}

#[test]
fn the_history_stays_small_and_a_line_that_was_cut_short_costs_no_other() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let path = sandbox.path("state/history");
    let first = place(&sandbox, container());
    used(&sandbox, &first, (7 * GI, 0));
    text(&poststop(&sandbox, &first));
    let line = std::fs::read_to_string(&path).unwrap();
    // One container that ends again and again, and a kill in the midst of its last line.
    let mut grown = line.clone();
    for number in 0..500 {
        let id = format!("{number:012x}");
        grown += &line
            .replace(&first, &id)
            .replace(r#""program":null"#, r#""program":"loop""#);
    }
    grown += &line[..40];
    assert!(grown.len() > 128 << 10, "{}", grown.len());
    std::fs::write(&path, grown).unwrap();
    let last = place(&sandbox, container());
    used(&sandbox, &last, (9 * GI, 0));
    text(&poststop(&sandbox, &last));

    let length = std::fs::metadata(&path).unwrap().len();
    assert!(length < 64 << 10, "{length}");
    let ended = history(&sandbox);
    let peaks = [&ended[0], &ended[ended.len() - 1]].map(|ended| ended["peak_memory_bytes"].clone());
    assert_eq!(peaks, [json!(7 * GI), json!(9 * GI)]);
    assert_eq!(ended.len(), 2 + 16, "the last sixteen of the loop");
    assert!(!sandbox.path("state/history.next").exists());
}
