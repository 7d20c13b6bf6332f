//! What a program is told of its slice when it starts, whatever its parent was told.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/library.rs"]
mod library;

use std::process::Command;

use sdg_abi::Plain;
use sdg_abi::limits::{self, LimitsPage};

/// Runs what a shell says below a `/run` that has a slice's pages; `sdg` before a command loads the shim into it, as a
/// container's loader does into each.
const ENTER: &str = r#"
mount -t tmpfs tmpfs /run && mkdir /run/sdg
sdg() { env LD_PRELOAD="$shim" "$@"; }
told() { sed -n 's/^ROC_GLOBAL_CU_MASK=//p'; }
"#;

/// A limits page of GPUs with these masks.
fn page(masks: &[&[u32]]) -> LimitsPage {
    let mut page = LimitsPage::zeroed();
    page.header.magic = limits::MAGIC;
    page.header.version = limits::VERSION;
    page.header.size = limits::PAGE_SIZE as u32;
    page.header.gpu_count = masks.len() as u32;
    for (entry, mask) in page.gpus.iter_mut().zip(masks) {
        entry.mask_bits = 320;
        entry.mask[..mask.len()].copy_from_slice(mask);
    }
    page
}

/// What a script prints, with these pages as `$one`, `$two`, ….
fn run(pages: &[LimitsPage], script: &str) -> String {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", &format!("{ENTER}{script}")]);
    command
        .env("shim", library::build())
        .env_remove("ROC_GLOBAL_CU_MASK");
    for (name, page) in ["one", "two"].into_iter().zip(pages) {
        let path = directory.path().join(name);
        std::fs::write(&path, page.as_bytes()).unwrap();
        command.env(name, path);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn a_program_is_told_of_its_slices_units_though_nobody_set_its_environment() {
    let page = page(&[&[0xffff_ffff, 0xf]]);
    let set = "cp $one /run/sdg/limits\n";
    assert_eq!(run(&[page], &format!("{set}sdg env | told")), "0Xfffffffff");
    // Nothing at all is there: what is told is the only variable.
    assert_eq!(
        run(
            &[page],
            &format!("{set}mount -t tmpfs tmpfs /etc; echo $shim >/etc/ld.so.preload; env -i env")
        ),
        "ROC_GLOBAL_CU_MASK=0Xfffffffff"
    );
}

#[test]
fn what_else_is_in_the_environment_stays_and_can_be_changed() {
    let script = r#"cp $one /run/sdg/limits
        sdg python3 -c '
import os, subprocess
os.environ["OTHER"] = "new"
os.putenv("MORE", "x" * 100000)
del os.environ["GONE"]
print(subprocess.run("echo $OTHER $FIRST ${GONE-gone} $ROC_GLOBAL_CU_MASK ${#MORE}", shell=True, capture_output=True, text=True).stdout)'"#;
    let script = format!("export FIRST=1 OTHER=old GONE=1\n{script}");
    assert_eq!(run(&[page(&[&[0xff]])], &script), "new 1 gone 0Xff 100000");
}

#[test]
fn after_a_resize_programs_are_told_anew_whatever_their_parents_were_told() {
    let pages = [page(&[&[0xff]]), page(&[&[0xffff]])];
    let script = r#"cp $one /run/sdg/limits
        sdg sh -c 'env | sed -n s/^ROC_GLOBAL_CU_MASK=//p; cp $two /run/sdg/limits; env | sed -n s/^ROC_GLOBAL_CU_MASK=//p
            cp $one /run/sdg/limits; env | sed -n s/^ROC_GLOBAL_CU_MASK=//p'"#;
    assert_eq!(run(&pages, script), "0Xff\n0Xffff\n0Xff");
}

#[test]
fn a_persons_own_mask_stays_if_it_is_within_the_slice() {
    let set = "cp $one /run/sdg/limits\n";
    for (wish, told) in [
        ("0xf", "0xf"),
        ("0xff00", "0Xff"),
        ("nonsense", "0Xff"),
        ("", "0Xff"),
    ] {
        let script = format!("{set}export ROC_GLOBAL_CU_MASK='{wish}'; sdg env | told");
        assert_eq!(run(&[page(&[&[0xff]])], &script), told, "{wish}");
    }
}

#[test]
fn several_gpus_are_told_of_where_they_have_equally_many_units_and_whole_ones_never() {
    let set = "cp $one /run/sdg/limits\n";
    let told = |page| run(&[page], &format!("{set}sdg env | told"));
    assert_eq!(told(page(&[&[0xff], &[0xff00]])), "0Xff");
    assert_eq!(told(page(&[&[0xff], &[0xf]])), "");
    assert_eq!(told(page(&[&[]])), "");
}

#[test]
fn without_a_page_or_with_a_spoiled_one_a_program_starts_as_ever() {
    assert_eq!(run(&[], "sdg env | told; sdg echo started"), "started");
    let mut changing = page(&[&[0xff]]);
    changing.header.sequence = 1;
    let mut other = page(&[&[0xff]]);
    other.header.version += 1;
    for page in [changing, other] {
        let script = "cp $one /run/sdg/limits; sdg env | told; sdg echo started";
        assert_eq!(run(&[page], script), "started");
    }
    assert_eq!(
        run(&[], "mkdir /run/sdg/limits; sdg env | told; sdg echo started"),
        "started"
    );
}
