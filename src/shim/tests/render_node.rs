//! Render nodes of a simulated node: buffers past the KFD, and what is said of memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "support/container.rs"]
mod container;
#[path = "support/library.rs"]
mod library;

use container::{Container, EINVAL, ENOMEM, GIB, Program, Setup};

const VRAM: u32 = 4;
const GTT: u32 = 2;

fn render(container: &Container, program: &Program<'_>) -> u64 {
    program.get(&format!(
        "open /dev/dri/renderD{}",
        container.gpus[0].render_minor
    ))
}

#[test]
fn buffers_in_vram_count_until_they_are_closed() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let fd = render(&container, &program);
    let gem = |bytes: u64, domain: u32, wording: &str| {
        program.call(&format!("gem {fd} {bytes} {domain} {wording}"))
    };
    let handle = gem(3 * GIB, VRAM, "").unwrap()[0];
    assert_eq!(container.noted(0), 3 * GIB);
    assert_eq!(gem(GIB + 4096, VRAM, ""), Err(ENOMEM));
    assert_eq!(gem(GIB + 4096, VRAM | GTT, "type=X"), Err(ENOMEM));
    gem(5 * GIB, GTT, "").unwrap();
    assert_eq!(container.noted(0), 3 * GIB);
    program.go(&format!("gem-close {fd} {handle}"));
    assert_eq!(container.noted(0), 0);
    assert_eq!(program.call(&format!("gem-close {fd} {handle}")), Err(EINVAL));
    gem(4 * GIB, VRAM, "").unwrap();
}

#[test]
fn a_handle_that_the_program_does_not_ask_for_is_counted_all_the_same() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let fd = render(&container, &program);
    let gem = |wording: &str| program.call(&format!("gem {fd} {GIB} {VRAM} {wording}"));
    // Only the direction to the driver: what comes back is what went in.
    assert_eq!(gem("direction=1"), Ok(vec![GIB & 0xffff_ffff]));
    assert_eq!(container.noted(0), GIB);
    // The driver counts handles from 1.
    program.go(&format!("gem-close {fd} 1 direction=1"));
    assert_eq!(container.noted(0), 0);
}

#[test]
fn a_buffer_that_is_moved_to_vram_counts() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let fd = render(&container, &program);
    let handle = program.get(&format!("gem {fd} {} {GTT}", 3 * GIB));
    let large = program.get(&format!("gem {fd} {} {GTT}", 5 * GIB));
    program.go(&format!("gem-place {fd} {handle} {VRAM}"));
    assert_eq!(container.noted(0), 3 * GIB);
    program.go(&format!("gem-place {fd} {handle} {}", VRAM | GTT));
    assert_eq!(container.noted(0), 3 * GIB);
    assert_eq!(
        program.call(&format!("gem-place {fd} {large} {VRAM}")),
        Err(ENOMEM)
    );
    program.go(&format!("gem-close {fd} {handle}"));
    assert_eq!(container.noted(0), 0);
}

#[test]
fn buffers_of_a_closed_descriptor_are_found_when_memory_is_short() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let (first, second) = (render(&container, &program), render(&container, &program));
    program.go(&format!("gem {first} {} {VRAM}", 2 * GIB));
    let kept = program.get(&format!("gem {second} {GIB} {VRAM}"));
    program.go(&format!("close {first}"));
    assert_eq!(
        program.call(&format!("gem {second} {} {VRAM}", 3 * GIB + 4096)),
        Err(ENOMEM)
    );
    program.go(&format!("gem {second} {} {VRAM}", 3 * GIB));
    program.go(&format!("gem-close {second} {kept}"));
    assert_eq!(container.noted(0), 3 * GIB);
}

#[test]
fn both_ways_to_memory_share_the_limit() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    let fd = render(&container, &program);
    program.alloc(kfd, 3 * GIB).unwrap();
    assert_eq!(program.call(&format!("gem {fd} {} {VRAM}", 2 * GIB)), Err(ENOMEM));
    program.go(&format!("gem {fd} {GIB} {VRAM}"));
    assert_eq!(program.alloc(kfd, 4096), Err(ENOMEM));
    assert_eq!(program.available(kfd), 0);
}

#[test]
fn questions_about_memory_are_answered_for_the_slice() {
    let container = Container::start(&Setup::default());
    let program = container.program("one");
    let kfd = program.open_gpu(0);
    let fd = render(&container, &program);
    program.alloc(kfd, GIB).unwrap();
    let ask = |query: u32, size: u32| program.call(&format!("info {fd} {query} {size}")).unwrap();
    // VRAM_USAGE.
    assert_eq!(ask(0x10, 8), [GIB]);
    // VRAM_GTT: size, visible size, GTT.
    let [size, visible, gtt] = ask(0x14, 24)[..] else {
        panic!("three words")
    };
    assert_eq!(size, 4 * GIB);
    assert!(visible <= size && gtt > 0);
    // MEMORY: of VRAM, visible VRAM and GTT the total, the usable, the used, the largest allocation.
    let memory = ask(0x19, 96);
    assert_eq!(memory[..3], [4 * GIB, 4 * GIB, GIB]);
    assert!(memory[3] <= 4 * GIB);
    assert!(memory[4] <= 4 * GIB && memory[5] <= 4 * GIB && memory[6] <= GIB);
    // A short answer is cut where the program asked, and what is beyond stays the program's.
    assert_eq!(ask(0x14, 8), [4 * GIB]);
    // A query without memory in it is the kernel's.
    assert_eq!(ask(0x00, 4), [1]);
}
