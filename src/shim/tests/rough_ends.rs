//! However a program uses its threads, descriptors and stacks, and however it ends: the shim does not end it, and what it
//! had is free afterwards.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/container.rs"]
mod container;
#[path = "support/library.rs"]
mod library;

use container::{Container, ENOMEM, GIB, Program, Setup};

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
    end_well(20, &["threads"]);
}

#[test]
fn with_handlers_that_call_after_main() {
    end_well(10, &["threads", "handlers"]);
}

#[test]
fn under_signals() {
    end_well(10, &["signals", "threads", "handlers"]);
}

#[test]
fn with_children_of_many_threads() {
    end_well(5, &["threads", "children"]);
}

#[test]
fn with_descriptors_that_become_others() {
    end_well(3, &["threads", "descriptors"]);
}

#[test]
fn with_the_smallest_stack_and_no_memory() {
    end_well(3, &["small-stack", "no-memory", "small-stack"]);
}

#[test]
fn where_the_pages_file_system_is_full() {
    let container = Container::start(&Setup {
        room: false,
        ..Setup::default()
    });
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    assert_eq!(program.alloc(kfd, GIB), Err(ENOMEM));
    assert!(
        container
            .errors()
            .contains("/run/sdg/usage has no room left on its file system")
    );
    assert_eq!(program.end(), FINE);
}
