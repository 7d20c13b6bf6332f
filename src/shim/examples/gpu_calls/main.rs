//! A program that makes the GPU calls it is told to, one a line on standard input, and answers `ok …` or `errno N`.
//!
//! It calls libc's `ioctl`, as ROCm's libraries do, so a preloaded `libsdg.so` sees what it would see of them. With `hub`
//! as its first line it starts others like itself: `NAME start`, `NAME end`, `NAME kill`, and `NAME CALL …` for each.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test program, which is to stop at what it does not expect"
)]

mod calls;
mod drm;
mod kfd;
mod rough;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

fn main() {
    let mut lines = std::io::stdin().lines().map(Result::unwrap).peekable();
    if lines.next_if(|line| line == "hub").is_some() {
        return hub(lines);
    }
    for line in lines {
        println!("{}", answer(&line));
    }
}

fn answer(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match calls::perform(&words) {
        Ok(values) => values
            .iter()
            .fold("ok".to_owned(), |text, value| format!("{text} {value:#x}")),
        Err(errno) => format!("errno {errno}"),
    }
}

struct Program {
    child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

fn hub(lines: impl Iterator<Item = String>) {
    let mut programs: HashMap<String, Program> = HashMap::new();
    for line in lines {
        let (name, call) = line.split_once(' ').unwrap();
        let answer = match call {
            "start" => {
                programs.insert(name.to_owned(), Program::start());
                "ok".to_owned()
            }
            "kill" => {
                let mut program = programs.remove(name).unwrap();
                program.child.kill().unwrap();
                program.child.wait().unwrap();
                "ok".to_owned()
            }
            "end" => {
                let mut program = programs.remove(name).unwrap();
                drop(program.commands);
                program.child.wait().unwrap().to_string()
            }
            call => programs.get_mut(name).unwrap().call(call),
        };
        println!("{answer}");
    }
}

impl Program {
    fn start() -> Self {
        let mut child = Command::new("/proc/self/exe")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            child,
            commands,
            answers,
        }
    }

    fn call(&mut self, call: &str) -> String {
        writeln!(self.commands, "{call}").unwrap();
        self.answers.next().unwrap().unwrap()
    }
}
