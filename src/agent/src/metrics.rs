//! Metrics for Prometheus.
//!
//! ```text
//! GET /metrics → Scrape::read: a look at the node, counters → families of metrics → OpenMetrics, or Prometheus's older text
//! ```

mod board;
pub use board::Board;
mod classic;
mod encode;
mod gpus;
mod hooks;
mod scrape;
mod slices;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use sdg::host::Host;
use tiny_http::{Header, Method, Request, Response, Server};

use crate::parts::PartError;
use board::Boards;
use scrape::Scrape;

/// Between two attempts to get an address that somebody else has.
const RETRY: Duration = Duration::from_secs(10);
const OPEN_METRICS: &str = "application/openmetrics-text";
const OPEN_METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Source: Prometheus, exposition formats, text-based format.
const CLASSIC_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN_TYPE: &str = "text/plain; charset=utf-8";

/// Serves for ever. An address that somebody else has is no reason to end: slices do not need metrics.
pub fn run(host: &Host) -> Result<Infallible, PartError> {
    let address = host.config.metrics.unwrap_or(sdg::config::DEFAULT_METRICS);
    let boards = Boards::open(&host.config);
    loop {
        match Server::http(address) {
            Ok(server) => serve(host, &server, &boards),
            Err(error) => tracing::warn!(%address, %error, "no metrics"),
        }
        thread::sleep(RETRY);
    }
}

fn serve(host: &Host, server: &Server, boards: &Boards) {
    if let Some(address) = bound(server) {
        tracing::info!("metrics on http://{address}/metrics");
    }
    for request in server.incoming_requests() {
        let answer = answer(host, &request, boards);
        // Whoever asked and went away needs no answer.
        let _ = request.respond(answer.into_response());
    }
}

fn bound(server: &Server) -> Option<SocketAddr> {
    server.server_addr().to_ip()
}

struct Answer {
    status: u16,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn plain(status: u16, body: &str) -> Self {
        Self {
            status,
            kind: PLAIN_TYPE,
            body: format!("{body}\n"),
        }
    }

    fn into_response(self) -> Response<std::io::Cursor<Vec<u8>>> {
        let response = Response::from_string(self.body).with_status_code(self.status);
        match Header::from_bytes("Content-Type", self.kind) {
            Ok(header) => response.with_header(header),
            Err(()) => response,
        }
    }
}

fn answer(host: &Host, request: &Request, boards: &Boards) -> Answer {
    let path = request.url().split('?').next().unwrap_or_default();
    match (request.method(), path) {
        (Method::Get | Method::Head, "/metrics") => metrics((host, boards), accepts_open_metrics(request)),
        (Method::Get | Method::Head, "/") => Answer::plain(200, "sdg-agent: metrics are at /metrics"),
        (Method::Get | Method::Head, _) => Answer::plain(404, "not here (metrics are at /metrics)"),
        _ => Answer::plain(405, "only GET and HEAD are answered"),
    }
}

fn accepts_open_metrics(request: &Request) -> bool {
    request
        .headers()
        .iter()
        .any(|header| header.field.equiv("Accept") && header.value.as_str().contains(OPEN_METRICS))
}

fn metrics((host, boards): (&Host, &Boards), open_metrics: bool) -> Answer {
    let scrape = match Scrape::read(host, boards) {
        Ok(scrape) => scrape,
        Err(error) => return Answer::plain(503, &error.to_string()),
    };
    match encode::to_text(scrape) {
        Ok(body) if open_metrics => Answer {
            status: 200,
            kind: OPEN_METRICS_TYPE,
            body,
        },
        Ok(body) => Answer {
            status: 200,
            kind: CLASSIC_TYPE,
            body: classic::from_open_metrics(&body),
        },
        Err(error) => Answer::plain(500, &format!("metrics: {error}")),
    }
}
