//! `sdg slice` and `sdg gpu list` as a person or a program calls them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

#[path = "support/sandbox.rs"]
mod sandbox;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::{Output, Stdio};

use assert_cmd::assert::OutputAssertExt;
use nix::fcntl::{FcntlArg, fcntl};
use sandbox::{Sandbox, complaint, stderr};
use sdg_abi::limits::LimitsPage;
use sdg_abi::{Plain, usage};
use serde_json::{Value, json};

const GI: u64 = 1 << 30;

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn id(slice: &Value) -> String {
    slice["id"].as_str().unwrap().to_owned()
}

/// A process of the slice, as the host sees one: it holds a slot of the usage page and these bytes of the first GPU.
fn use_memory(sandbox: &Sandbox, slice: &Value, bytes: u64) -> File {
    let page = sandbox
        .path("state/slices")
        .join(id(slice))
        .join(usage::FILE_NAME);
    let file = File::options().read(true).write(true).open(page).unwrap();
    let slot = std::mem::offset_of!(usage::UsagePage, slots) + std::mem::offset_of!(usage::Slot, used);
    file.write_all_at(&bytes.to_ne_bytes(), slot as u64).unwrap();
    let high_water = std::mem::offset_of!(usage::Header, high_water) as u64;
    file.write_all_at(&1u32.to_ne_bytes(), high_water).unwrap();
    set_lock(&file, nix::libc::F_WRLCK);
    file
}

fn set_lock(file: &File, kind: i32) {
    let lock = nix::libc::flock {
        l_type: kind as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: usage::LOCK_BASE as i64,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock)).unwrap();
}

/// The process is gone. Closing the file would not do: a program that another test is starting has it for a moment too.
fn end(process: &File) {
    set_lock(process, nix::libc::F_UNLCK);
}

#[test]
fn a_dry_run_says_what_would_be_granted_and_does_nothing() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let create = [
        "slice",
        "create",
        "--memory",
        "20Gi",
        "--compute",
        "250m",
        "--dry-run",
    ];
    assert_eq!(
        text(&sandbox.run(&create)),
        "GPU 0: 20Gi; 76 asked: 64 effective in order, 72 as one shader engine of every XCC\n"
    );
    let slice = sandbox.json(&[&create[..], &["--json"]].concat());
    let gpu = &slice["gpus"][0];
    assert_eq!(
        (
            &gpu["requested_units"],
            &gpu["compute_units"],
            &gpu["effective_units"]
        ),
        (&json!(76), &json!(72), &json!(72))
    );
    assert_eq!(sandbox.ledger_files(), [""; 0]);
}

#[test]
fn json_has_the_documented_fields_and_show_agrees_with_list() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let create = [
        "slice",
        "create",
        "--name",
        "train",
        "--memory",
        "20Gi",
        "--memory-limit",
        "30Gi",
    ];
    let created = sandbox.json(&[&create[..], &["--compute", "250m", "--json"]].concat());
    let slice_keys = [
        "id",
        "name",
        "state",
        "container",
        "pid",
        "created",
        "enforcement",
        "gpus",
        "peak_memory_bytes",
        "refused_allocations",
        "suggested_memory_bytes",
    ];
    assert_eq!(keys(&created), slice_keys);
    assert_eq!(
        keys(&created["gpus"][0]),
        [
            "index",
            "uuid",
            "memory_bytes",
            "memory_limit_bytes",
            "memory_available_bytes",
            "memory_used_bytes",
            "requested_units",
            "compute_units",
            "compute_limit_units",
            "effective_units",
            "cu_mask",
        ]
    );
    assert_eq!(
        (&created["name"], &created["state"]),
        (&json!("train"), &json!("named"))
    );
    assert_eq!(
        (&created["container"], &created["pid"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(created["enforcement"], json!(["devices", "cooperative"]));
    let gpu = &created["gpus"][0];
    assert_eq!(
        (&gpu["index"], &gpu["memory_bytes"]),
        (&json!(0), &json!(20 * GI))
    );
    assert_eq!(gpu["memory_limit_bytes"], json!(30 * GI));
    let words: Vec<u32> = serde_json::from_value(gpu["cu_mask"].clone()).unwrap();
    assert_eq!(words.iter().map(|word| word.count_ones()).sum::<u32>(), 72);
    assert_eq!(sandbox.slices(), std::slice::from_ref(&created));
    for word in ["train", &id(&created)] {
        assert_eq!(sandbox.json(&["slice", "show", word, "--json"]), created);
    }
}

#[test]
fn tables_are_for_people() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let heading = [
        "SLICE",
        "NAME",
        "STATE",
        "CONTAINER",
        "GPU",
        "MEMORY",
        "LIMIT",
        "USED",
        "CUS",
        "EFFECTIVE",
    ];
    let rows = |output: &Output| -> Vec<Vec<String>> {
        let words = |line: &str| line.split_ascii_whitespace().map(str::to_owned).collect();
        text(output).lines().map(words).collect()
    };
    assert_eq!(rows(&sandbox.run(&["slice", "list"])), [heading]);
    let create = [
        "slice",
        "create",
        "--name",
        "a",
        "--memory",
        "20Gi",
        "--compute",
        "250m",
    ];
    let created = text(&sandbox.run(&create));
    let (id, units) = created.split_once('\n').unwrap();
    assert!(units.starts_with("GPU 0: 20Gi; 76 asked: "), "{units}");
    let row = [id, "a", "named", "-", "0", "20Gi", "20Gi", "0", "72", "72"];
    assert_eq!(rows(&sandbox.run(&["slice", "list"])), [heading, row]);
    assert_eq!(rows(&sandbox.run(&["slice", "show", "a"])), [heading, row]);
}

#[test]
fn a_watch_prints_an_array_a_line_on_every_change_and_ends_with_its_reader() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let mut watch = sandbox
        .sdg(&["slice", "list", "--watch", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next(), json!([]));
    let slice = sandbox.json(&["slice", "create", "--name", "a", "--memory", "20Gi", "--json"]);
    assert_eq!(next(), json!([slice]));
    let process = use_memory(&sandbox, &slice, GI);
    assert_eq!(next()[0]["gpus"][0]["memory_used_bytes"], json!(GI));
    drop(process);
    assert_eq!(next()[0]["gpus"][0]["memory_used_bytes"], json!(0));
    drop(lines);
    assert!(watch.wait().unwrap().success());
}

#[test]
fn a_resize_goes_up_and_down_but_not_below_what_is_used() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let slice = sandbox.json(&["slice", "create", "--name", "a", "--memory", "20Gi", "--json"]);
    let resize = |memory| ["slice", "resize", "a", "--memory", memory, "--json"];
    let view = |file| {
        let view = sandbox.path("state/slices").join(id(&slice)).join("view/0");
        std::fs::read_to_string(view.join(file))
            .unwrap()
            .trim()
            .to_owned()
    };
    let _process = use_memory(&sandbox, &slice, 10 * GI);
    for (memory, gib) in [("40Gi", 40), ("15Gi", 15)] {
        let gpu = &sandbox.json(&resize(memory))["gpus"][0];
        assert_eq!(gpu["memory_bytes"], json!(gib * GI));
        assert_eq!(gpu["memory_available_bytes"], json!(gib * GI));
        assert_eq!(view("vram_total"), (gib * GI).to_string());
        assert_eq!(view("vram_used"), (10 * GI).to_string());
        let page = std::fs::read(sandbox.path("state/slices").join(id(&slice)).join("limits")).unwrap();
        let page = LimitsPage::from_prefix(&page);
        assert_eq!(page.gpus[0].memory_total, gib * GI);
    }
    assert_eq!(
        complaint(&sandbox.run(&resize("9Gi"))),
        format!(
            "sdg: slice {}: it uses 10Gi now, more than a limit of 9Gi (its programs have to free memory first; --wait \
             waits for that)",
            id(&slice)
        )
    );
    let too_much = complaint(&sandbox.run(&resize("1Ti")));
    assert!(
        too_much.contains("a limit of 1Ti is more than GPU 0 has for slices (191.48Gi)"),
        "{too_much}"
    );
    // A ceiling alone leaves the guarantee.
    let gpu = &sandbox.json(&["slice", "resize", "a", "--memory-limit", "30Gi", "--json"])["gpus"][0];
    assert_eq!(
        (&gpu["memory_bytes"], &gpu["memory_limit_bytes"]),
        (&json!(15 * GI), &json!(30 * GI))
    );
}

#[test]
fn a_resize_says_what_became_of_memory_and_compute_and_does_all_or_nothing() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let create = [
        "slice",
        "create",
        "--name",
        "a",
        "--memory",
        "20Gi",
        "--compute",
        "250m",
    ];
    text(&sandbox.run(&create));
    let neighbour = ["slice", "create", "--memory", "20Gi", "--compute", "250m"];
    text(&sandbox.run(&neighbour));
    let resize = |options: &[&str]| sandbox.run(&[&["slice", "resize", "a"], options].concat());
    assert_eq!(
        text(&resize(&[
            "--memory",
            "10Gi",
            "--memory-limit",
            "30Gi",
            "--compute",
            "500m"
        ])),
        "GPU 0: memory 20Gi → 10Gi to 30Gi; compute 72 units → 144 units, delivering 144\n"
    );
    let before = sandbox.slices();
    let refused = complaint(&resize(&["--memory", "40Gi", "--compute", "900m"]));
    assert!(
        refused.contains("asked 900m on GPU 0; at most 500m can be guaranteed there beside the other slices"),
        "{refused}"
    );
    let refused = complaint(&resize(&["--memory", "180Gi", "--compute", "250m"]));
    assert!(
        refused.contains("asked 180Gi on GPU 0; at most 171.48Gi"),
        "{refused}"
    );
    assert_eq!(sandbox.slices(), before, "half of it was done");
    // A ceiling alone leaves the guarantee; what nobody has a guarantee on is lent.
    assert_eq!(
        text(&resize(&["--compute-limit", "750m"])),
        "GPU 0: memory 10Gi to 30Gi as before; compute 144 units → 144 to 216 units, delivering 216\n"
    );
    assert_eq!(
        text(&resize(&["--compute", "100m"])),
        "GPU 0: memory 10Gi to 30Gi as before; compute 144 to 216 units → 32 units, delivering 32\n"
    );
    let units = |slice: &Value| slice["gpus"][0]["cu_mask"].clone();
    let (mine, other) = (units(&sandbox.slices()[0]), units(&sandbox.slices()[1]));
    let overlap = |a: &Value, b: &Value| {
        let words = |mask: &Value| -> Vec<u64> { serde_json::from_value(mask.clone()).unwrap() };
        words(a).iter().zip(words(b)).any(|(a, b)| a & b != 0)
    };
    assert!(!overlap(&mine, &other), "{mine} {other}");
    let nothing = stderr(&resize(&[]));
    assert!(nothing.contains("--memory"), "{nothing}");
}

#[test]
fn a_resize_that_waits_shrinks_as_memory_is_freed() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let slice = sandbox.json(&["slice", "create", "--name", "a", "--memory", "20Gi", "--json"]);
    let process = use_memory(&sandbox, &slice, 15 * GI);
    let mut waiting = sandbox
        .sdg(&[
            "slice",
            "resize",
            "a",
            "--memory",
            "10Gi",
            "--compute",
            "250m",
            "--wait",
        ])
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut errors = std::io::BufReader::new(waiting.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut errors, &mut said).unwrap();
    assert_eq!(
        said,
        format!("sdg: slice {}: waiting, it still uses 15Gi\n", id(&slice))
    );
    // It has shrunk to what it uses, and others can have the rest.
    let gpu = sandbox.slices()[0]["gpus"][0].clone();
    assert_eq!(
        (&gpu["memory_bytes"], &gpu["memory_available_bytes"]),
        (&json!(15 * GI), &json!(15 * GI))
    );
    assert_eq!(
        gpu["compute_units"],
        json!(0),
        "compute changes with all the rest"
    );
    drop(process);
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(
        text(&output),
        "GPU 0: memory 20Gi → 10Gi; compute best effort → 72 units, delivering 72\n"
    );
    let gpu = sandbox.slices()[0]["gpus"][0].clone();
    assert_eq!(gpu["memory_available_bytes"], json!(10 * GI));
}

#[test]
fn what_is_used_is_not_deleted() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let slice = sandbox.json(&["slice", "create", "--name", "a", "--memory", "20Gi", "--json"]);
    let other = sandbox.json(&["slice", "create", "--memory", "20Gi", "--json"]);
    let process = use_memory(&sandbox, &slice, GI);
    assert_eq!(
        complaint(&sandbox.run(&["slice", "delete", "a"])),
        format!(
            "sdg: slice {} is used by 1 running process(es) (stop it first)",
            id(&slice)
        )
    );
    end(&process);
    text(&sandbox.run(&["slice", "delete", "a", &id(&other)]));
    assert_eq!(sandbox.ledger_files(), [""; 0]);
}

#[test]
fn a_reap_names_what_it_removed() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let kept = sandbox.json(&["slice", "create", "--memory", "20Gi", "--json"]);
    let dead = id(&sandbox.json(&["slice", "create", "--memory", "20Gi", "--json"]));
    let path = sandbox.path("state/slices").join(&dead).join("slice.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    // No process has this start time.
    record["holder"] =
        json!({"state": "container", "container": "c", "process": {"pid": 1, "start_time": u64::MAX}});
    std::fs::write(&path, record.to_string()).unwrap();
    std::fs::create_dir(sandbox.path("state/slices/.new-0123456789ab")).unwrap();
    let ended = sandbox.json(&["slice", "show", &dead, "--json"]);
    assert_eq!(
        (&ended["state"], &ended["container"]),
        (&json!("ended"), &json!("c"))
    );
    assert_eq!(text(&sandbox.run(&["slice", "reap"])), format!("{dead}\n"));
    assert_eq!(sandbox.ledger_files(), [id(&kept)]);
    assert_eq!(text(&sandbox.run(&["slice", "reap"])), "");
}

#[test]
fn refusals_are_one_line_and_leave_nothing() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let unknown = "sdg: no slice \"nobody\" (`sdg slice list` shows those there are)";
    let too_much = "sdg: sdg.memory: 500Gi is more than any GPU here has (largest: 191.98Gi on GPU 0)";
    for (args, reason) in [
        (&["slice", "show", "nobody"][..], unknown),
        (&["slice", "delete", "nobody"], unknown),
        (&["slice", "resize", "nobody", "--memory", "1Gi"], unknown),
        (&["slice", "create"], "sdg: say what the slice is: --memory 20Gi"),
        (&["slice", "create", "--memory", "500Gi"], too_much),
        (&["slice", "create", "--memory", "500Gi", "--dry-run"], too_much),
        (
            &["slice", "create", "--memory", "20GB"],
            "sdg: sdg.memory: \"20GB\" is no amount of memory",
        ),
        (
            &["slice", "create", "--memory", "1Gi", "--name", "../x"],
            "sdg: \"../x\" is no name for a slice",
        ),
        (
            &["slice", "create", "--memory", "1Gi", "--gpu", "7"],
            "sdg: sdg.gpu: 7 is not here",
        ),
    ] {
        let line = complaint(&sandbox.run(args));
        assert!(line.starts_with(reason), "{args:?}: {line}");
        assert_eq!(sandbox.ledger_files(), [""; 0], "{args:?}");
    }
}

#[test]
fn a_machine_without_a_gpu_says_so_and_lists_nothing() {
    let sandbox = Sandbox::new("mi300x", &[]);
    std::fs::remove_dir_all(sandbox.path("root/sys/devices/virtual/kfd")).unwrap();
    let line =
        "sdg: no GPU that the KFD knows (/sys/class/kfd/kfd/topology/nodes; is the driver amdgpu loaded?)\n";
    let list = |args: &[&str], stdout: &'static str| {
        sandbox.sdg(args).assert().success().stderr(line).stdout(stdout);
    };
    list(&["gpu", "list"], "");
    list(&["gpu", "list", "--json"], "[]\n");
    let refused = complaint(&sandbox.run(&["slice", "create", "--memory", "1Gi"]));
    assert!(refused.contains("no AMD GPU"), "{refused}");
}

#[test]
fn gpus_are_listed_with_the_documented_fields() {
    let sandbox = Sandbox::new("mi300x-8", &[]);
    let gpus = sandbox.json(&["gpu", "list", "--json"]);
    assert_eq!(gpus.as_array().unwrap().len(), 8);
    let documented = [
        "index",
        "uuid",
        "name",
        "pci",
        "gpu_id",
        "render_node",
        "memory_bytes",
        "compute_units",
        "xcc",
        "shader_engines",
        "compute_partition",
        "memory_partition",
        "numa_node",
        "compute_queue_bytes",
        "least_useful_bytes",
        "integrated",
        "offered_to",
    ];
    assert_eq!(keys(&gpus[7]), documented);
    assert_eq!(
        (&gpus[7]["index"], &gpus[7]["compute_units"]),
        (&json!(7), &json!(304))
    );
    let table = text(&sandbox.run(&["gpu", "list"]));
    assert_eq!(table.lines().count(), 9, "{table}");
    assert!(table.lines().nth(8).unwrap().contains("SPX/NPS1"), "{table}");
}

#[test]
fn an_amount_that_nobody_means_is_refused_by_every_verb_and_leaves_nothing() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let slice = sandbox.json(&["slice", "create", "--memory", "20Gi", "--name", "web", "--json"]);
    for (amount, meant) in [
        ("20", "20Gi"),
        ("4096m", "4096Mi"),
        ("1e3", "1000Mi"),
        ("0.25", "0.25Gi"),
    ] {
        for verb in [
            &["slice", "create", "--dry-run"][..],
            &["slice", "create"],
            &["slice", "resize", "web"],
        ] {
            let text = complaint(&sandbox.run(&[verb, &["--memory", amount]].concat()));
            let begin = format!("sdg: sdg.memory: {amount} is ");
            let end = format!("; did you mean {meant}?");
            assert!(text.starts_with(&begin) && text.ends_with(&end), "{text}");
            let text = complaint(&sandbox.run(&[verb, &["--memory-limit", amount]].concat()));
            assert!(
                text.starts_with("sdg: sdg.memoryLimit: ") && text.ends_with(&end),
                "{text}"
            );
        }
    }
    assert_eq!(sandbox.ledger_files(), [id(&slice)]);
    let kept = &sandbox.slices()[0]["gpus"][0]["memory_bytes"];
    assert_eq!(*kept, json!(20 * GI));
}

#[test]
fn a_slice_below_the_least_useful_one_is_given_with_a_warning() {
    let sandbox = Sandbox::new("mi300x", &[]);
    let warning = "sdg: warning: sdg.memory: 502Mi on GPU 0 is less than a HIP program may take before its data, 503Mi (2 \
                   compute queues of 177.4Mi, 140Mi for scratch, 8Mi for itself): ask for more\n";
    for create in [
        &["slice", "create", "--memory", "502Mi", "--dry-run"][..],
        &["slice", "create", "--memory", "502Mi", "--name", "small"],
        &["slice", "resize", "small", "--memory", "502Mi"],
    ] {
        let output = sandbox.run(create);
        text(&output);
        assert_eq!(stderr(&output), warning, "{create:?}");
    }
    let shown = text(&sandbox.run(&["slice", "show", "small"]));
    assert!(shown.contains("less than a HIP program may take"), "{shown}");
    // What may be lent counts, and whole GPUs have no such size.
    for enough in [
        &["slice", "create", "--memory", "503Mi"][..],
        &["slice", "create", "--memory", "2Mi", "--memory-limit", "503Mi"],
    ] {
        assert_eq!(stderr(&sandbox.run(enough)), "", "{enough:?}");
    }
    let limited = sandbox.run(&["slice", "create", "--memory", "2Mi", "--memory-limit", "400Mi"]);
    assert!(stderr(&limited).starts_with("sdg: warning: sdg.memoryLimit: 400Mi on GPU 0 "));
}

#[test]
fn beside_a_half_bound_gpu_the_others_serve() {
    let sandbox = Sandbox::new("mi210-4", &[]);
    std::fs::remove_file(sandbox.path("root/dev/dri/renderD128")).unwrap();
    std::fs::remove_file(sandbox.path("root/sys/class/drm/renderD128")).unwrap();
    let left_out = "GPU 0 (KFD node ";
    let list = sandbox.run(&["gpu", "list"]);
    assert_eq!(text(&list).lines().count(), 4);
    assert!(
        stderr(&list).starts_with(&format!("sdg: warning: {left_out}")),
        "{}",
        stderr(&list)
    );
    let doctor = String::from_utf8(sandbox.run(&["doctor"]).stdout).unwrap();
    let line = doctor.lines().find(|line| line.contains(" GPUs ")).unwrap();
    assert!(line.contains("3 × ") && line.contains(left_out), "{line}");
    for gpu in 1..4 {
        let slice = sandbox.json(&["slice", "create", "--memory", "60Gi", "--json"]);
        assert_eq!(slice["gpus"][0]["index"], gpu);
    }
    let refusal = sandbox.run(&["slice", "create", "--memory", "1Gi", "--gpu", "0"]);
    let line = stderr(&refusal);
    let line = line.lines().last().unwrap();
    assert!(
        line.starts_with("sdg: sdg.gpu: 0 is not here (there are 1, 2, 3); GPU 0 (KFD node "),
        "{line}"
    );
}

#[test]
fn without_a_gpu_that_serves_the_refusal_says_why() {
    let sandbox = Sandbox::new("mi300x", &[]);
    std::fs::remove_file(sandbox.path("root/sys/class/drm/renderD128")).unwrap();
    let refusal = sandbox.run(&["slice", "create", "--memory", "1Gi"]);
    let line = stderr(&refusal);
    assert!(!refusal.status.success());
    assert!(
        line.lines()
            .last()
            .unwrap()
            .contains("no AMD GPU here that slices can be made of (GPU 0 (KFD node "),
        "{line}"
    );
}

#[test]
fn cards_with_one_serial_number_have_slices_and_cdi_names_of_their_own() {
    let sandbox = Sandbox::new("mi300x", &["gpus=2"]);
    let nodes = sandbox.path("root/sys/class/kfd/kfd/topology/nodes");
    for gpu in ["1", "2"] {
        let file = nodes.join(gpu).join("properties");
        let properties = std::fs::read_to_string(&file).unwrap();
        let (before, after) = properties.split_once("unique_id ").unwrap();
        let (_, after) = after.split_once('\n').unwrap();
        std::fs::write(&file, format!("{before}unique_id 7\n{after}")).unwrap();
    }
    let cdi = sandbox.json(&["cdi", "generate", "--output", "-"]);
    let names: Vec<&str> = cdi["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| device["name"].as_str().unwrap())
        .collect();
    for name in [
        "GPU-0000000000000007-0000-47-00-0",
        "GPU-0000000000000007-0000-48-00-0",
    ] {
        assert!(names.contains(&name), "{names:?}");
        let slice = sandbox.json(&["slice", "create", "--memory", "150Gi", "--gpu", name, "--json"]);
        assert_eq!(slice["gpus"][0]["uuid"], name);
    }
}

/// Two cards and between them a processor's GPU (gfx1036, two compute units).
fn node_with_an_integrated_gpu() -> Sandbox {
    let sandbox = Sandbox::new("rx7900xtx", &["gpus=3"]);
    make_integrated(&sandbox, 1);
    sandbox
}

fn make_integrated(sandbox: &Sandbox, index: usize) {
    let gpus = sandbox.json(&["gpu", "list", "--json"]);
    let minor = gpus[index]["render_node"].as_str().unwrap().to_owned();
    let minor = minor.trim_start_matches("/dev/dri/renderD");
    let nodes = sandbox.path("root/sys/class/kfd/kfd/topology/nodes");
    let file = std::fs::read_dir(nodes)
        .unwrap()
        .map(|node| node.unwrap().path().join("properties"))
        .find(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            text.contains(&format!("drm_render_minor {minor}\n"))
        })
        .unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("gfx_target_version 110000", "gfx_target_version 100306");
    std::fs::write(&file, text.replace("device_id 29772", "device_id 5710")).unwrap();
}

fn refusal(sandbox: &Sandbox, args: &[&str]) -> String {
    complaint(&sandbox.run(&[&["slice", "create"], args].concat()))
}

#[test]
fn beside_cards_an_integrated_gpu_is_given_to_who_names_it() {
    let sandbox = node_with_an_integrated_gpu();
    let gpus = sandbox.json(&["gpu", "list", "--json"]);
    assert_eq!(
        (&gpus[1]["integrated"], &gpus[1]["offered_to"]),
        (&json!(true), &json!("named"))
    );
    assert_eq!(
        (&gpus[0]["integrated"], &gpus[0]["offered_to"]),
        (&json!(false), &json!("any"))
    );
    for index in [0, 2] {
        let slice = sandbox.json(&["slice", "create", "--memory", "20Gi", "--json"]);
        assert_eq!(slice["gpus"][0]["index"], index);
    }
    let full = refusal(&sandbox, &["--memory", "20Gi"]);
    assert!(
        full.starts_with("sdg: sdg.memory: asked 20Gi on one GPU; most free: "),
        "{full}"
    );
    assert_eq!(
        refusal(&sandbox, &["--memory", "1Gi", "--count", "3"]),
        "sdg: sdg.count: 3 is more than the GPUs here (2, and 1 integrated, which sdg.gpu has to name)"
    );
    let named = sandbox.json(&["slice", "create", "--memory", "20Gi", "--gpu", "1", "--json"]);
    assert_eq!(named["gpus"][0]["index"], 1);
    let doctor = String::from_utf8(sandbox.run(&["doctor"]).stdout).unwrap();
    let line = doctor
        .lines()
        .find(|line| line.contains(" not for any slice "))
        .unwrap();
    assert!(
        line.contains("GPU 1 (") && line.ends_with(") is integrated: for requests that name it"),
        "{line}"
    );
}

#[test]
fn an_integrated_gpu_that_is_the_only_one_serves() {
    let sandbox = Sandbox::new("rx7900xtx", &[]);
    make_integrated(&sandbox, 0);
    let gpus = sandbox.json(&["gpu", "list", "--json"]);
    assert_eq!(
        (&gpus[0]["integrated"], &gpus[0]["offered_to"]),
        (&json!(true), &json!("any"))
    );
    let slice = sandbox.json(&["slice", "create", "--memory", "1Gi", "--json"]);
    assert_eq!(slice["gpus"][0]["index"], 0);
    // And where the configuration leaves the cards out.
    let sandbox = node_with_an_integrated_gpu();
    sandbox.configure("exclude_gpus = [0, 2]\n");
    let slice = sandbox.json(&["slice", "create", "--memory", "1Gi", "--json"]);
    assert_eq!(slice["gpus"][0]["index"], 1);
}

#[test]
fn the_configuration_leaves_gpus_out() {
    let sandbox = Sandbox::new("mi210-4", &[]);
    let gpus = sandbox.json(&["gpu", "list", "--json"]);
    let before = sandbox.json(&[
        "slice", "create", "--memory", "1Gi", "--gpu", "0", "--name", "before", "--json",
    ]);
    let (uuid, pci) = (
        gpus[1]["uuid"].as_str().unwrap(),
        gpus[2]["pci"].as_str().unwrap(),
    );
    sandbox.configure(&format!("exclude_gpus = [0, {uuid:?}, {pci:?}]\n"));
    let listed = sandbox.json(&["gpu", "list", "--json"]);
    let offers: Vec<&Value> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|gpu| &gpu["offered_to"])
        .collect();
    assert_eq!(offers, ["nobody", "nobody", "nobody", "any"]);
    let table = text(&sandbox.run(&["gpu", "list"]));
    assert!(table.lines().nth(1).unwrap().ends_with("excluded"), "{table}");
    assert!(table.lines().nth(4).unwrap().ends_with("yes"), "{table}");
    let slice = sandbox.json(&["slice", "create", "--memory", "1Gi", "--json"]);
    assert_eq!(slice["gpus"][0]["index"], 3);
    assert_eq!(
        refusal(&sandbox, &["--memory", "1Gi", "--gpu", "0"]),
        "sdg: sdg.gpu: 0 is left out by exclude_gpus in the configuration (there is 3)"
    );
    assert_eq!(
        refusal(&sandbox, &["--memory", "1Gi", "--count", "2"]),
        "sdg: sdg.count: 2 is more than the GPUs here (1)"
    );
    // A slice that is there stays as it is, and can be resized.
    text(&sandbox.run(&["slice", "resize", "before", "--memory", "2Gi"]));
    let slices = sandbox.slices();
    let resized = slices.iter().find(|slice| slice["id"] == before["id"]).unwrap();
    assert_eq!(resized["gpus"][0]["memory_bytes"], json!(2 * GI));
    let cdi = sandbox.json(&["cdi", "generate", "--output", "-"]);
    let names: Vec<&Value> = cdi["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| &device["name"])
        .collect();
    assert!(
        names.contains(&&json!("3")) && !names.contains(&&json!("0")),
        "{names:?}"
    );

    sandbox.configure("exclude_gpus = [0, 1, 2, 3, 9]\n");
    let refused = stderr(&sandbox.run(&["slice", "create", "--memory", "1Gi"]));
    assert_eq!(
        refused,
        "sdg: warning: exclude_gpus: 9 names no GPU here\nsdg: there is no AMD GPU here that slices can be made of \
         (exclude_gpus in the configuration names all)\n"
    );
    let doctor = String::from_utf8(sandbox.run(&["doctor"]).stdout).unwrap();
    assert!(
        doctor.contains("GPU 3 (AMD Instinct MI210) is left out by exclude_gpus"),
        "{doctor}"
    );
    assert!(doctor.contains("exclude_gpus: 9 names no GPU here"), "{doctor}");
}
