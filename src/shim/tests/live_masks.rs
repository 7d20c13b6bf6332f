//! A changed mask reaches the queues of a program that makes no call, and the thread that brings it is no concern of the
//! program's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/container.rs"]
mod container;
#[path = "support/library.rs"]
mod library;

use std::fs;
use std::path::PathBuf;

use container::{Container, Setup, mask};

const AQL: u32 = 2;
const THREAD: &str = "sdg-masks";

fn queue_of(container: &Container, program: &container::Program<'_>) -> u64 {
    let kfd = program.open_gpu(0);
    program.get(&format!("queue {kfd} {} {AQL}", container.gpus[0].id))
}

/// The directories of a process's threads of the shim, below /proc.
fn threads_of(pid: u32) -> Vec<PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let tasks = tasks.map(|task| task.unwrap().path());
    tasks
        .filter(|task| fs::read_to_string(task.join("comm")).unwrap().trim() == THREAD)
        .collect()
}

#[test]
fn a_program_that_makes_no_call_has_the_new_mask_and_says_so() {
    let container = Container::start(&Setup::default());
    let (one, two) = (container.program("one"), container.program("two"));
    queue_of(&container, &one);
    queue_of(&container, &two);
    for (change, words) in [[u32::MAX, 0, 0], [0, u32::MAX, 0], [u32::MAX; 3]]
        .iter()
        .enumerate()
    {
        let before = container.seen("mask").len();
        container.change(|gpus| gpus[0].mask[..3].copy_from_slice(words));
        container.wait_until("both say so", || {
            let slots = container.usage().slots;
            slots[..2]
                .iter()
                .all(|slot| slot.acknowledged == change as u64 + 2)
        });
        let new = container.seen("mask").split_off(before);
        assert_eq!(new.len(), 2, "one for each queue");
        assert_ne!(new[0]["pid"], new[1]["pid"]);
        assert!(
            new.iter()
                .all(|event| event["mask"] == serde_json::json!(mask(words))),
            "{new:?}"
        );
    }
}

#[test]
fn a_change_of_the_memory_alone_sets_no_mask() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    queue_of(&container, &program);
    let before = container.seen("mask").len();
    container.change(|gpus| gpus[0].memory_limit /= 2);
    container.wait_until("the process says so", || {
        container.usage().slots[0].acknowledged == 2
    });
    assert_eq!(container.seen("mask").len(), before);
}

#[test]
fn the_thread_begins_with_the_first_queue_takes_no_signal_and_has_no_rights() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    program.alloc(kfd, 4096).unwrap();
    assert_eq!(program.get("threads"), 1);
    for _ in 0..3 {
        program.go(&format!("queue {kfd} {} {AQL}", container.gpus[0].id));
    }
    assert_eq!(program.get("threads"), 2);
    let pid = container.usage().slots[0].pid;
    container.wait_until("the thread has its name", || threads_of(pid).len() == 1);
    let thread = threads_of(pid).pop().unwrap();
    container.wait_until("the thread sleeps", || {
        fs::read_to_string(thread.join("wchan"))
            .unwrap()
            .contains("futex")
            || fs::read_to_string(thread.join("stat")).unwrap().contains(") S ")
    });
    let status = fs::read_to_string(thread.join("status")).unwrap();
    let field = |name: &str| {
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(value.trim(), 16).unwrap()
    };
    // All 64 but SIGKILL and SIGSTOP, which nobody blocks.
    assert_eq!(field("SigBlk:"), !(1 << 8 | 1 << 18));
    assert_eq!((field("CapEff:"), field("CapPrm:")), (0, 0));
    assert_eq!(program.end(), "exit status: 0");
}

#[test]
fn a_whole_gpu_needs_no_thread() {
    let container = Container::start(&Setup {
        mask: vec![],
        ..Setup::default()
    });
    let program = container.program("one");
    queue_of(&container, &program);
    assert_eq!(program.get("threads"), 1);
}

#[test]
fn a_forked_child_has_a_thread_when_it_has_a_queue() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let of_parent = queue_of(&container, &program);
    assert_eq!(program.get("threads"), 2);
    assert_eq!(program.get("fork threads"), 1);
    let id = container.gpus[0].id;
    let minor = container.gpus[0].render_minor;
    let calls = format!("open-gpu {id} {minor} ; queue $ {id} {AQL} ; threads");
    assert_eq!(program.get(&format!("fork {calls}")), 2);
    // The parent's thread is there still.
    container.change(|gpus| gpus[0].mask[0] = 0xff);
    container.wait_until("the parent's queue has the mask", || {
        container.masks_of(of_parent).last() == Some(&mask(&[0xff, u32::MAX]))
    });
}
