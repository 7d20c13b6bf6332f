//! `sdg-sim status`: asks a running supervisor.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;

use crate::cli::StatusArgs;
use crate::status::SOCKET;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// No directory was named.
    #[error("which simulation? Give --node DIR, or run inside `sdg-sim run`, which sets SDG_SYSROOT")]
    NoNode,
    /// Nobody answers.
    #[error("{path}: {source} (is `sdg-sim run` running on this node?)")]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The answer is no JSON.
    #[error("{path}: {source}")]
    Garbled {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Asks, and returns what to print.
pub fn run(args: &StatusArgs) -> Result<String, StatusError> {
    let path = args.node.as_ref().ok_or(StatusError::NoNode)?.join(SOCKET);
    let mut text = String::new();
    UnixStream::connect(&path)
        .and_then(|mut stream| stream.read_to_string(&mut text))
        .map_err(|source| StatusError::NoAnswer {
            path: path.clone(),
            source,
        })?;
    if args.json {
        return Ok(text);
    }
    let status: Value =
        serde_json::from_str(&text).map_err(|source| StatusError::Garbled { path, source })?;
    Ok(table(&status))
}

fn each<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn mebibytes(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0) >> 20
}

fn table(status: &Value) -> String {
    let mut out = String::from("GPU     RENDER  UNITS  MEMORY MiB  USED MiB  AVAILABLE MiB\n");
    for gpu in each(status, "gpus") {
        let memory = ["memory_bytes", "used_bytes", "available_bytes"].map(|key| mebibytes(&gpu[key]));
        let (id, minor, units) = (&gpu["gpu_id"], &gpu["render_minor"], &gpu["compute_units"]);
        let _infallible = writeln!(
            out,
            "{id:<7} {minor:<7} {units:<6} {:<11} {:<9} {}",
            memory[0], memory[1], memory[2]
        );
    }
    for process in each(status, "processes") {
        let _infallible = writeln!(
            out,
            "\nprocess {} ({})",
            process["pid"],
            text(&process["program"])
        );
        for memory in each(process, "memory") {
            let (kfd, drm) = (mebibytes(&memory["kfd_bytes"]), mebibytes(&memory["drm_bytes"]));
            if kfd + drm > 0 {
                let _infallible = writeln!(
                    out,
                    "  GPU {}: {kfd} MiB by KFD, {drm} MiB by DRM",
                    memory["gpu_id"]
                );
            }
        }
        for queue in each(process, "queues") {
            let _infallible = writeln!(out, "  {}", queue_line(queue));
        }
    }
    out
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn queue_line(queue: &Value) -> String {
    let head = format!(
        "queue {} on GPU {}: {}",
        queue["id"],
        queue["gpu_id"],
        text(&queue["kind"])
    );
    if queue["units"].is_null() {
        return head;
    }
    let masked = if queue["mask"].is_null() {
        "no mask"
    } else {
        "masked"
    };
    let (units, effective) = (&queue["units"], &queue["effective_units"]);
    let uncovered = each(queue, "uncovered_xccs").count();
    let warning = match uncovered {
        0 => String::new(),
        count => format!(", {count} XCCs without a unit"),
    };
    format!("{head}, {masked}, {units} units, {effective} effective{warning}")
}
