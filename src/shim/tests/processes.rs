//! Several processes of a container on a simulated node share one limit, and give back what they held however they go.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/container.rs"]
mod container;
#[path = "support/library.rs"]
mod library;

use container::{Container, ENOMEM, GIB, Setup, VRAM};

#[test]
fn what_a_killed_process_held_can_be_had_at_once() {
    let container = Container::start(&Setup::default());
    let (one, two) = (container.program("one"), container.program("two"));
    let (kfd_of_one, kfd_of_two) = (one.open_gpu(0), two.open_gpu(0));
    one.alloc(kfd_of_one, 3 * GIB).unwrap();
    assert_eq!(two.available(kfd_of_two), GIB);
    assert_eq!(two.alloc(kfd_of_two, GIB + 4096), Err(ENOMEM));
    one.kill();
    assert_eq!(two.available(kfd_of_two), 4 * GIB);
    two.alloc(kfd_of_two, 4 * GIB).unwrap();
    assert_eq!(container.held_by_device(0), 4 * GIB);
}

#[test]
fn a_forked_child_counts_for_itself() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    let handle = program.alloc(kfd, 3 * GIB).unwrap();
    let id = container.gpus[0].id;
    // Through the parent's descriptor the kernel lets a child do nothing: nothing may be counted or forgotten for it.
    assert!(
        program
            .call(&format!("fork alloc {kfd} {id} 4096 {VRAM}"))
            .is_err()
    );
    assert!(program.call(&format!("fork free {kfd} {handle}")).is_err());
    assert_eq!(container.noted(0), 3 * GIB);
    assert_eq!(
        program.call(&format!("fork alloc {kfd} {id} {} {VRAM}", 2 * GIB)),
        Err(ENOMEM)
    );
    program.alloc(kfd, GIB).unwrap();
    program.go(&format!("free {kfd} {handle}"));
    assert_eq!(container.held_by_device(0), GIB);
    assert_eq!(program.available(kfd), 3 * GIB);
}

#[test]
fn closed_descriptors_leave_the_memory_counted() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    program.alloc(kfd, 3 * GIB).unwrap();
    program.go(&format!("close {kfd}"));
    let again = program.get("open /dev/kfd");
    assert_eq!(program.available(again), GIB);
    assert_eq!(program.alloc(again, GIB + 4096), Err(ENOMEM));
}

#[test]
fn a_resize_holds_for_every_process_at_once() {
    let container = Container::start(&Setup::default());
    let (one, two) = (container.program("one"), container.program("two"));
    let (kfd_of_one, kfd_of_two) = (one.open_gpu(0), two.open_gpu(0));
    one.alloc(kfd_of_one, 2 * GIB).unwrap();
    two.alloc(kfd_of_two, 2 * GIB).unwrap();
    container.change(|gpus| gpus[0].memory_limit = 5 * GIB);
    two.alloc(kfd_of_two, GIB).unwrap();
    container.change(|gpus| gpus[0].memory_limit = 3 * GIB);
    assert_eq!(one.alloc(kfd_of_one, 4096), Err(ENOMEM));
    assert_eq!(two.available(kfd_of_two), 0);
}
