//! What the agent serves to Prometheus, on a simulated node.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set up its ground has failed"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sdg::counters::{Counters, Hook, Reason};
use sdg_sim::preset::Preset;

/// An agent that serves metrics of a node on a port of the kernel's choice.
struct Agent {
    child: Child,
    address: String,
    directory: tempfile::TempDir,
}

impl Agent {
    fn start(preset: &str) -> Self {
        Self::start_with(preset, "", Path::new("/nonexistent"))
    }

    /// With lines of the configuration, and a directory in which libraries are looked for first.
    fn start_with(preset: &str, lines: &str, libraries: &Path) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = |name: &str| directory.path().join(name);
        sdg_sim::node::build(&Preset::named(preset).unwrap(), &path("root")).unwrap();
        let config = format!("metrics = \"127.0.0.1:0\"\n{lines}");
        std::fs::write(path("config.toml"), config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_sdg-agent"))
            .arg("run")
            .env("LD_LIBRARY_PATH", libraries)
            .args([Path::new("--sysroot"), &path("root")])
            .args([Path::new("--state"), &path("state")])
            .args([Path::new("--config"), &path("config.toml")])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = said
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("http://")?.1.split('/').next()?.to_owned()));
        Self {
            child,
            address: address.unwrap(),
            directory,
        }
    }

    /// Head and body of the answer to a request.
    fn ask(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn get(&self, path: &str, accept: &str) -> (String, String) {
        self.ask(&format!(
            "GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n"
        ))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_empty_node_is_told_in_both_formats() {
    let agent = Agent::start("mi300x-8");
    let counters = Counters::open(&agent.directory.path().join("state")).unwrap();
    counters.refused(Reason::Memory).unwrap();
    counters
        .took(Hook::Precreate, std::time::Duration::from_millis(2))
        .unwrap();

    let (head, classic) = agent.get("/metrics", "*/*");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    for line in [
        "sdg_gpu_memory_capacity_bytes{gpu=\"7\"} 205604782080",
        "sdg_gpu_compute_units{gpu=\"0\",state=\"idle\"} 304",
        "# TYPE sdg_refusals_total counter",
        "sdg_refusals_total{reason=\"memory\"} 1",
        "sdg_refusals_total{reason=\"compute\"} 0",
        "sdg_hook_duration_seconds_bucket{le=\"0.001\",hook=\"precreate\"} 0",
        "sdg_hook_duration_seconds_bucket{le=\"0.0025\",hook=\"precreate\"} 1",
        "sdg_hook_duration_seconds_bucket{le=\"+Inf\",hook=\"precreate\"} 1",
        "sdg_hook_duration_seconds_sum{hook=\"precreate\"} 0.002",
        "sdg_slices{state=\"running\"} 0",
    ] {
        assert!(
            classic.lines().any(|said| said == line),
            "{line} is not in\n{classic}"
        );
    }

    let (head, open) = agent.get("/metrics", "application/openmetrics-text;version=1.0.0");
    assert!(
        head.contains("Content-Type: application/openmetrics-text"),
        "{head}"
    );
    assert!(open.contains("# TYPE sdg_refusals counter\n"), "{open}");
    assert!(open.ends_with("# EOF\n"));
}

#[test]
fn other_paths_and_methods_are_told_where_metrics_are() {
    let agent = Agent::start("mi300x");
    let status = |answer: (String, String)| answer.0.lines().next().unwrap().to_owned();
    assert!(status(agent.get("/", "*/*")).contains("200"));
    assert!(status(agent.get("/slices", "*/*")).contains("404"));
    assert!(status(agent.ask("POST /metrics HTTP/1.0\r\nContent-Length: 0\r\n\r\n")).contains("405"));
}

/// A libamd_smi that knows the first GPU of `mi300x`: no figure of how busy it is, no power of now, and at the edge a
/// status that nobody has heard of.
const LIBRARY: &str = r#"
#include <string.h>
static int card, processor;
int amdsmi_init(unsigned long flags) { return flags == 2 ? INIT : 1; }
int amdsmi_shut_down(void) { return 0; }
int amdsmi_get_socket_handles(unsigned *count, void **all) { *count = 1; if (all) all[0] = &card; return 0; }
int amdsmi_get_socket_info(void *socket, unsigned long size, char *name) {
    if (socket != &card || size < 11) return 1;
    strcpy(name, "0000:47:00");
    return 0;
}
int amdsmi_get_processor_handles(void *socket, unsigned *count, void **all) {
    *count = socket == &card; if (all) all[0] = &processor; return 0;
}
int amdsmi_get_gpu_activity(void *handle, unsigned *figures) { figures[0] = -1; return 0; }
int amdsmi_get_power_info(void *handle, unsigned *figures) { figures[2] = -1; figures[3] = 200; return handle != &processor; }
int amdsmi_get_temp_metric(void *handle, unsigned sensor, unsigned metric, long *degrees) {
    *degrees = 50 + metric; return sensor == 0 ? 9999 : 0;
}
"#;

/// Busy, power and temperature of the first GPU where that library answers its start with a status.
fn figures_with_library(status: u32) -> [String; 3] {
    let libraries = tempfile::tempdir().unwrap();
    let source = libraries.path().join("library.c");
    std::fs::write(&source, LIBRARY).unwrap();
    let compiled = Command::new("gcc")
        .args(["-shared", "-fPIC", "-w", &format!("-DINIT={status}"), "-o"])
        .args([libraries.path().join("libamd_smi.so.27"), source])
        .status();
    assert!(compiled.unwrap().success());
    let agent = Agent::start_with("mi300x", "amd_smi = true\n", libraries.path());
    let (_, text) = agent.get("/metrics", "*/*");
    ["busy_ratio", "power_watts", "temperature_celsius"].map(|figure| {
        let name = format!("sdg_board_{figure}{{gpu=\"0\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.unwrap_or_default().to_owned()
    })
}

#[cfg(feature = "amd-smi")]
#[test]
fn what_amds_library_says_counts_and_sysfs_says_the_rest() {
    assert_eq!(figures_with_library(0), ["0.0", "200.0", "50.0"]);
}

#[test]
fn a_library_that_does_not_start_leaves_sysfs() {
    assert_eq!(figures_with_library(34), ["0.0", "90.0", "35.0"]);
}
