//! On a loaded machine seconds pass between a peer's connection and what it sends. Nobody gives up on it before its engine does.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set up its ground has failed"
)]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use sdg::broker::{Answer, Ask, from_line, to_line};

/// More than the five seconds that both sockets once had.
const A_WHILE: Duration = Duration::from_secs(6);

/// An agent that is ended with the test.
struct Agent(Child);

impl Agent {
    /// On a machine without GPUs, with a broker for this process's group.
    fn start(directory: &Path) -> Self {
        let program = directory.join("sdg-agent");
        std::fs::copy(env!("CARGO_BIN_EXE_sdg-agent"), &program).unwrap();
        std::fs::write(directory.join("sdg"), "stands for the program of hooks").unwrap();
        let group = nix::unistd::getegid();
        let config =
            format!("broker = true\nbroker_group = \"{group}\"\nmetrics = \"off\"\nwatchdog = \"off\"\n");
        std::fs::write(directory.join("config.toml"), config).unwrap();
        let agent = Command::new(program)
            .args(["run", "--config"])
            .arg(directory.join("config.toml"))
            .arg("--sysroot")
            .arg(directory)
            .arg("--state")
            .arg(directory.join("state"))
            .stderr(Stdio::null())
            .spawn();
        Self(agent.unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

fn connect(socket: &Path) -> UnixStream {
    for _ in 0..600 {
        if let Ok(stream) = UnixStream::connect(socket) {
            return stream;
        }
        sleep(Duration::from_millis(50));
    }
    UnixStream::connect(socket).unwrap()
}

#[test]
fn runtimes_and_hooks_that_are_slow_are_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let _agent = Agent::start(directory.path());
    let mut runtime = connect(&directory.path().join("state/guard.sock"));
    let mut hook = connect(&directory.path().join("state/broker.sock"));
    sleep(A_WHILE);

    runtime.set_nonblocking(true).unwrap();
    let open = runtime.read(&mut [0]).unwrap_err();
    assert_eq!(
        open.kind(),
        ErrorKind::WouldBlock,
        "the runtime is not hung up on"
    );

    hook.write_all(&to_line(&Ask::Greet).unwrap()).unwrap();
    let mut answer = String::new();
    hook.read_to_string(&mut answer).unwrap();
    let answer: Answer = from_line(answer.trim_end().as_bytes()).unwrap();
    assert_eq!(answer, Answer::Done);
}
