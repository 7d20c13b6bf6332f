//! Compute queues on a simulated node: the masks that reach the device.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/container.rs"]
mod container;
#[path = "support/library.rs"]
mod library;

use container::{Container, EFAULT, EINVAL, Setup, mask};

/// The whole words of the slice's mask.
const SLICE: [u32; 2] = [u32::MAX; 2];
const COMPUTE: u32 = 0;
const SDMA: u32 = 1;
const AQL: u32 = 2;

#[test]
fn every_compute_queue_has_the_slice_s_mask_whatever_the_request_s_wording() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    let id = container.gpus[0].id;
    for (kind, wording) in [
        (AQL, ""),
        (COMPUTE, ""),
        (AQL, "size=88"),
        (AQL, "type=X"),
        (AQL, "type=d size=88"),
        (COMPUTE, "size=104"),
        // The caller asks for no queue id back: the queue is masked all the same.
        (COMPUTE, "size=255 type=X"),
    ] {
        let queue = program.get(&format!("queue {kfd} {id} {kind} {wording}"));
        assert_eq!(container.masks_of(queue), [mask(&SLICE)], "{kind} {wording}");
    }
    assert_eq!(container.usage().slots[0].masked_queues, 7);
    let before = container.seen("mask").len();
    program.go(&format!("queue {kfd} {id} {SDMA}"));
    assert_eq!(container.seen("mask").len(), before);
    for event in container.seen("mask") {
        assert_eq!(
            (&event["units"], &event["uncovered_xccs"]),
            (&64.into(), &serde_json::json!([])),
            "{event}"
        );
    }
}

#[test]
fn the_program_s_own_mask_is_held_within_the_slice_s() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    let queue = program.get(&format!("queue {kfd} {} {AQL}", container.gpus[0].id));
    let set = |words: &str| {
        program.go(&format!("mask {kfd} {queue} {words}"));
        container.masks_of(queue).pop().unwrap()
    };
    assert_eq!(
        set("0xffff0000 0xffffffff 0xffffffff"),
        mask(&[0xffff_0000, u32::MAX])
    );
    assert_eq!(set("0xff"), mask(&[0xff]));
    // Nothing of the slice, or not on every XCC: the slice.
    assert_eq!(set("0 0 0xffffffff"), mask(&SLICE));
    assert_eq!(set("0x7f"), mask(&SLICE));
    assert_eq!(
        set("0xffffffff 0xffffffff 0xffffffff 0xffffffff type=X size=24"),
        mask(&SLICE)
    );
    let before = container.seen("mask").len();
    assert_eq!(program.call(&format!("bad-mask {kfd} {queue} 64")), Err(EFAULT));
    assert_eq!(program.call(&format!("bad-mask {kfd} {queue} 33")), Err(EINVAL));
    assert_eq!(program.call(&format!("bad-mask {kfd} {queue} 0")), Err(EINVAL));
    assert_eq!(container.seen("mask").len(), before);
}

#[test]
fn a_changed_slice_reaches_the_queues_that_exist_and_the_wishes_with_it() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    let id = container.gpus[0].id;
    let new = || program.get(&format!("queue {kfd} {id} {AQL}"));
    let (plain, wishing, repeating, gone) = (new(), new(), new(), new());
    program.go(&format!("mask {kfd} {wishing} 0xffff0000 0xffffffff 0xffffffff"));
    // What HIP does with ROC_GLOBAL_CU_MASK on every queue it makes is no wish.
    program.go("setenv ROC_GLOBAL_CU_MASK 0xffffffffffff");
    program.go(&format!("mask {kfd} {repeating} 0xffffffff 0xffff"));
    program.go(&format!("destroy {kfd} {gone}"));
    let known = container.seen("mask").len();
    container.change(|gpus| gpus[0].mask[2] = u32::MAX);
    program.available(kfd);
    let last = |queue| container.masks_of(queue).pop().unwrap();
    assert_eq!(last(plain), mask(&[u32::MAX; 3]));
    assert_eq!(last(wishing), mask(&[0xffff_0000, u32::MAX, u32::MAX]));
    assert_eq!(last(repeating), mask(&[u32::MAX; 3]));
    assert_eq!(container.seen("mask").len(), known + 3);
    let slot = container.usage().slots[0];
    assert_eq!((slot.acknowledged, slot.masked_queues), (2, 3));
    // The descriptor that the queues were made with may be closed.
    program.go(&format!("close {kfd}"));
    container.change(|gpus| gpus[0].mask[..3].copy_from_slice(&[0xffff, 0, 0]));
    let again = program.get("open /dev/kfd");
    program.available(again);
    assert_eq!(last(plain), mask(&[0xffff]));
    // Of the wish nothing is left: the slice.
    assert_eq!(last(wishing), mask(&[0xffff]));
    assert_eq!(container.usage().slots[0].acknowledged, 3);
}

#[test]
fn a_queue_whose_mask_is_refused_is_not_had() {
    // 31 bits cannot be sent: the kernel refuses such a mask.
    let container = Container::start(&Setup::default());
    container.change(|gpus| gpus[0].mask_bits = 31);
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    let refused = program.call(&format!("queue {kfd} {} {AQL}", container.gpus[0].id));
    assert_eq!(refused, Err(container::ENOMEM));
    assert_eq!(container.seen("queue").len(), 1);
    assert_eq!(container.seen("queue_end").len(), 1);
    assert_eq!(container.usage().slots[0].masked_queues, 0);
}

#[test]
fn whole_gpus_have_no_mask_but_the_program_s() {
    let container = Container::start(&Setup {
        mask: vec![],
        ..Setup::default()
    });
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    let queue = program.get(&format!("queue {kfd} {} {AQL}", container.gpus[0].id));
    assert!(container.seen("mask").is_empty());
    program.go(&format!("mask {kfd} {queue} 0xffffffff"));
    assert_eq!(container.masks_of(queue), [[u32::MAX]]);
}

#[test]
fn a_queue_on_another_s_gpu_is_refused() {
    let container = Container::start(&Setup {
        preset: "mi300x-8",
        gpus: vec![1],
        ..Setup::default()
    });
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    program.acquire(kfd, 1);
    assert_eq!(
        program.call(&format!("queue {kfd} {} {AQL}", container.gpus[0].id)),
        Err(EINVAL)
    );
    let queue = program.get(&format!("queue {kfd} {} {AQL}", container.gpus[1].id));
    assert_eq!(container.masks_of(queue), [mask(&SLICE)]);
}
