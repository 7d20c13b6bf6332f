//! However a program uses its threads, descriptors and stacks, and however it ends: the shim does not end it, and what it
//! had is free afterwards.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/container.rs"]
mod container;
#[path = "support/library.rs"]
mod library;

use container::{Container, ENOMEM, GIB, Program, Setup};
use sdg_abi::usage;

const FINE: &str = "exit status: 0";

/// Lets programs be rough in these ways, one after the other, while the host changes their masks; each has to end by itself.
fn end_well(programs: usize, ways: &[&str]) {
    let container = Container::start(&Setup::default());
    for number in 0..programs {
        let program = container.program(&format!("program {number}").replace(' ', "-"));
        let kfd = program.open_gpu(0);
        for way in ways {
            program.go(&format!("rough {way} {kfd} {}", container.gpus[0].id));
        }
        for change in 1..8u32 {
            container.change(|gpus| gpus[0].mask[0] = u32::MAX >> (change % 8));
        }
        assert_eq!(program.end(), FINE, "{ways:?}: {}", container.errors());
    }
    all_is_free(&container);
}

fn all_is_free(container: &Container) {
    let program: Program<'_> = container.program("last");
    let kfd = program.open_gpu(0);
    assert_eq!(program.available(kfd), 4 * GIB);
    program.alloc(kfd, 4 * GIB).unwrap();
}

#[test]
fn while_its_threads_are_calling() {
    end_well(8, &["threads"]);
}

#[test]
fn with_handlers_that_call_after_main() {
    end_well(4, &["threads", "handlers"]);
}

#[test]
fn under_signals() {
    end_well(4, &["signals", "threads", "handlers"]);
}

#[test]
fn with_children_of_many_threads() {
    end_well(2, &["threads", "children"]);
}

#[test]
fn with_descriptors_that_become_others() {
    end_well(2, &["threads", "descriptors"]);
}

#[test]
fn with_no_memory_and_the_smallest_stack() {
    end_well(2, &["no-memory", "small-stack"]);
}

#[test]
fn where_the_pages_file_system_is_full() {
    let container = Container::start(&Setup {
        room: false,
        ..Setup::default()
    });
    // The host has written the page's head; the slots on the same page of memory are there.
    let number = (4096 - size_of::<usage::Header>()) / size_of::<usage::Slot>() + 1;
    let programs: Vec<Program<'_>> = (0..number)
        .map(|number| container.program(&format!("program-{number}")))
        .collect();
    let outcomes = programs
        .iter()
        .map(|program| program.alloc(program.open_gpu(0), 4096).map(drop));
    let refused: Vec<_> = outcomes.filter_map(Result::err).collect();
    assert_eq!(refused, [ENOMEM], "{}", container.errors());
    assert!(
        container
            .errors()
            .contains("/run/sdg/usage has no room left on its file system")
    );
    for program in programs {
        assert_eq!(program.end(), FINE);
    }
}
