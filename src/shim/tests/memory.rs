//! GPU memory through the KFD, on a simulated node: what the shim grants, and what the device then holds.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/container.rs"]
mod container;
#[path = "support/library.rs"]
mod library;

use container::{Container, EACCES, EFAULT, EINVAL, ENOMEM, GIB, GTT, MI300X, Setup, VRAM};

#[test]
fn the_byte_beyond_the_limit_is_refused_and_never_reaches_the_device() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    let first = program.alloc(kfd, 3 * GIB).unwrap();
    assert_eq!(program.alloc(kfd, GIB + 4096), Err(ENOMEM));
    program.alloc(kfd, GIB).unwrap();
    assert_eq!(program.alloc(kfd, 1), Err(ENOMEM));
    assert_eq!(container.held_by_device(0), 4 * GIB);
    assert_eq!(container.seen("alloc").len(), 2);
    program.go(&format!("free {kfd} {first}"));
    assert_eq!(container.noted(0), GIB);
    program.alloc(kfd, 3 * GIB).unwrap();
    assert_eq!(container.held_by_device(0), 4 * GIB);
    let head = container.usage().header;
    assert_eq!((head.peak, head.refused), (4 * GIB, 2));
    assert_eq!(container.errors(), "");
}

#[test]
fn available_memory_is_the_slice_s_at_every_step() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    assert_eq!(program.available(kfd), 4 * GIB);
    let handle = program.alloc(kfd, GIB).unwrap();
    assert_eq!(program.available(kfd), 3 * GIB);
    container.change(|gpus| gpus[0].memory_limit = GIB / 2);
    assert_eq!(program.available(kfd), 0);
    container.change(|gpus| gpus[0].memory_limit = 6 * GIB);
    assert_eq!(program.available(kfd), 5 * GIB);
    program.go(&format!("free {kfd} {handle}"));
    assert_eq!(program.available(kfd), 6 * GIB);
    // The kernel's own answer, where that is less than the slice's.
    container.change(|gpus| gpus[0].memory_limit = 1000 * GIB);
    assert!(program.available(kfd) <= MI300X);
}

#[test]
fn a_program_that_knows_its_total_is_never_told_of_more() {
    let container = Container::start(&Setup {
        memory_limit: 3 * GIB,
        memory_total: 4 * GIB,
        ..Setup::default()
    });
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    assert_eq!(program.available(kfd), 3 * GIB);
    // Lent memory that comes back belongs to the total; what a resize adds does not.
    container.change(|gpus| gpus[0].memory_limit = 4 * GIB);
    assert_eq!(program.available(kfd), 4 * GIB);
    container.change(|gpus| (gpus[0].memory_limit, gpus[0].memory_total) = (6 * GIB, 6 * GIB));
    assert_eq!(program.available(kfd), 4 * GIB);
    program.alloc(kfd, GIB).unwrap();
    assert_eq!(program.available(kfd), 3 * GIB);
    // It may have what the slice has, and one that begins now knows it.
    program.alloc(kfd, 4 * GIB).unwrap();
    assert_eq!(program.available(kfd), 0);
    let later = container.program("two");
    assert_eq!(later.available(later.open_gpu(0)), GIB);
}

#[test]
fn only_what_takes_vram_counts() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    let id = container.gpus[0].id;
    program.go(&format!("alloc {kfd} {id} {} {GTT}", 5 * GIB));
    assert_eq!(container.noted(0), 0);
    // AQL_QUEUE_MEM: the ring is mapped twice.
    let aql = VRAM | 1 << 27;
    program.go(&format!("alloc {kfd} {id} {} {aql}", 2 * GIB));
    assert_eq!(container.noted(0), GIB);
    program.go(&format!("alloc {kfd} {id} 5000 {VRAM}"));
    assert_eq!(container.noted(0), GIB + 8192);
    assert_eq!(container.held_by_device(0), GIB + 8192);
}

#[test]
fn a_call_that_fails_is_not_counted_and_a_free_that_fails_does_not_uncount() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.get("open /dev/kfd");
    // No VM acquired yet: the device refuses.
    assert!(program.alloc(kfd, GIB).is_err());
    assert_eq!(container.noted(0), 0);
    program.acquire(kfd, 0);
    assert_eq!(program.alloc(kfd, 0), Err(EINVAL));
    let handle = program.alloc(kfd, GIB).unwrap();
    program.go(&format!("gpu-map {kfd} {handle}"));
    assert!(
        program.call(&format!("free {kfd} {handle}")).is_err(),
        "it is still mapped"
    );
    assert_eq!(container.noted(0), GIB);
    program.go(&format!("gpu-unmap {kfd} {handle}"));
    program.go(&format!("free {kfd} {handle}"));
    assert_eq!(container.noted(0), 0);
    assert_eq!(program.call(&format!("free {kfd} {handle}")), Err(EINVAL));
    assert_eq!(container.noted(0), 0);
}

#[test]
fn the_number_alone_makes_the_call() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    let id = container.gpus[0].id;
    let alloc =
        |bytes: u64, wording: &str| program.call(&format!("alloc {kfd} {id} {bytes} {VRAM} {wording}"));
    for wording in ["type=X", "type=d", "size=48", "type=X size=64", "size=255"] {
        assert_eq!(alloc(5 * GIB, wording), Err(ENOMEM), "{wording}");
        let before = container.noted(0);
        let handle = alloc(4096, wording).unwrap()[0];
        assert_eq!(container.noted(0), before + 4096, "{wording}");
        program.go(&format!("free {kfd} {handle} type=Y"));
        assert_eq!(container.noted(0), before, "{wording}");
    }
    // A structure cut before the flags asks for nothing in particular: the kernel refuses.
    assert_eq!(alloc(5 * GIB, "size=36"), Err(EINVAL));
    assert_eq!(container.noted(0), 0);
    assert_eq!(
        program.get(&format!("available {kfd} {id} type=X size=24")),
        4 * GIB
    );
}

#[test]
fn pointers_that_lead_nowhere_are_the_kernel_s_to_refuse() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    let render = program.get(&format!(
        "open /dev/dri/renderD{}",
        container.gpus[0].render_minor
    ));
    // CREATE_QUEUE, DESTROY_QUEUE, ALLOC, FREE, SET_CU_MASK, SVM, AVAILABLE.
    for request in [
        0xc060_4b02_u32,
        0xc008_4b03,
        0xc028_4b16,
        0x4008_4b17,
        0x4010_4b1a,
        0xc020_4b20,
        0xc010_4b23,
    ] {
        assert_eq!(
            program.call(&format!("bad-pointer {kfd} {request}")),
            Err(EFAULT),
            "{request:#x}"
        );
    }
    // GEM_CREATE, GEM_CLOSE, GEM_OP, AMDGPU_INFO.
    for request in [0xc020_6440_u32, 0x4008_6409, 0xc010_6450, 0x4020_6445] {
        assert_eq!(
            program.call(&format!("bad-pointer {render} {request}")),
            Err(EFAULT),
            "{request:#x}"
        );
    }
    // Where the answer cannot be written, the kernel's EFAULT stands before any other error.
    assert_eq!(
        program.call(&format!("read-only-argument {kfd} {}", 0xc010_4b23_u32)),
        Err(EFAULT)
    );
    program.alloc(kfd, GIB).unwrap();
}

#[test]
fn several_gpus_are_counted_apart_and_one_that_is_not_the_slice_s_is_refused() {
    let setup = Setup {
        preset: "mi300x-8",
        gpus: vec![5, 2],
        ..Setup::default()
    };
    let container = Container::start(&setup);
    let program = container.program("one");
    let kfd = program.open_gpu(2);
    program.acquire(kfd, 5);
    program.acquire(kfd, 0);
    let on = |gpu: usize, bytes: u64| {
        program.call(&format!("alloc {kfd} {} {bytes} {VRAM}", container.gpus[gpu].id))
    };
    on(2, 4 * GIB).unwrap();
    assert_eq!(on(2, 4096), Err(ENOMEM));
    let handle = on(5, 3 * GIB).unwrap()[0];
    assert_eq!((container.noted(0), container.noted(1)), (3 * GIB, 4 * GIB));
    assert_eq!(on(0, 4096), Err(EINVAL));
    assert_eq!(
        program.get(&format!("available {kfd} {}", container.gpus[0].id)),
        0
    );
    program.go(&format!("free {kfd} {handle}"));
    assert_eq!((container.noted(0), container.noted(1)), (0, 4 * GIB));
    assert_eq!(container.held_by_device(0), 0);
}

#[test]
fn managed_memory_that_is_placed_on_the_gpu_counts() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    let id = container.gpus[0].id;
    let range = program.get(&format!("map {}", 3 * GIB));
    let svm = |start: u64, size: u64, to: &str| program.call(&format!("svm {kfd} {start} {size} {to}"));
    svm(range, 3 * GIB, &format!("access={id}")).unwrap();
    assert_eq!(container.noted(0), 0);
    svm(range, 3 * GIB, &format!("preferred={id}")).unwrap();
    assert_eq!(container.noted(0), 3 * GIB);
    assert_eq!(container.held_by_device(0), 3 * GIB);
    // The same again, and a part of it, add nothing.
    svm(range, 3 * GIB, &format!("preferred={id} prefetch={id}")).unwrap();
    svm(range + GIB, GIB, &format!("prefetch={id}")).unwrap();
    assert_eq!(container.noted(0), 3 * GIB);
    assert_eq!(program.alloc(kfd, GIB + 4096), Err(ENOMEM));
    let other = program.get(&format!("map {}", 2 * GIB));
    assert_eq!(svm(other, 2 * GIB, &format!("prefetch={id}")), Err(ENOMEM));
    // A part goes home, and there is room for the other.
    svm(range + GIB, GIB, "prefetch=0 preferred=0").unwrap();
    assert_eq!(container.noted(0), 2 * GIB);
    svm(other, 2 * GIB, &format!("prefetch={id}")).unwrap();
    assert_eq!(program.available(kfd), 0);
    // What is unmapped is found.
    program.go(&format!("unmap {other} {}", 2 * GIB));
    assert_eq!(program.available(kfd), 2 * GIB);
    program.alloc(kfd, 2 * GIB).unwrap();
    program.go(&format!("unmap {range} {GIB}"));
    program.alloc(kfd, GIB).unwrap();
    assert_eq!(program.alloc(kfd, 4096), Err(ENOMEM));
    assert_eq!(svm(range + 2 * GIB, GIB, "preferred=0x1234"), Err(EINVAL));
}

#[test]
fn without_pages_that_it_knows_nothing_is_granted_and_the_reason_is_said_once() {
    for (layouts, reason) in [
        (None, "limits cannot be opened: error 2"),
        (
            Some((0, 1)),
            "limits has layout version 0, this libsdg.so knows 1",
        ),
        (
            Some((2, 1)),
            "limits has layout version 2, this libsdg.so knows 1",
        ),
        (
            Some((1, 99)),
            "usage has layout version 99, this libsdg.so knows 1",
        ),
    ] {
        let container = Container::start(&Setup {
            layouts,
            ..Setup::default()
        });
        assert_nothing_is_granted(&container);
        assert_eq!(
            container.errors(),
            format!("sdg: GPU memory and queues are refused: /run/sdg/{reason}\n")
        );
    }
}

fn assert_nothing_is_granted(container: &Container) {
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    let id = container.gpus[0].id;
    assert_eq!(program.alloc(kfd, 4096), Err(ENOMEM));
    assert_eq!(
        program.call(&format!("alloc {kfd} {id} 4096 {VRAM} type=X")),
        Err(ENOMEM)
    );
    assert_eq!(program.call(&format!("queue {kfd} {id} 2")), Err(ENOMEM));
    assert_eq!(program.available(kfd), 0);
    let memory = program.get("map 4096");
    assert_eq!(
        program.call(&format!("svm {kfd} {memory} 4096 preferred={id}")),
        Err(ENOMEM)
    );
    let render = program.get(&format!(
        "open /dev/dri/renderD{}",
        container.gpus[0].render_minor
    ));
    assert_eq!(program.call(&format!("gem {render} 4096 4")), Err(ENOMEM));
    assert!(container.seen("alloc").iter().all(|event| event["vram"] == false));
    assert!(container.seen("queue").is_empty());
}

#[test]
fn a_checkpoint_is_not_restored_past_the_account() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    assert_eq!(program.call(&format!("criu {kfd} 3")), Err(EACCES));
    assert_eq!(program.call(&format!("criu {kfd} 3 type=X size=72")), Err(EACCES));
}
