//! The end-to-end tests can fail: none forgets how what it started in the background ended.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot read the project has failed"
)]

use std::fs;
use std::path::Path;

/// `wait` without a process is 0 whatever happened, and `wait … || true` says nothing either.
fn forgets(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let waits = |at: usize| words[at] == "wait" || words[at] == "wait;";
    (0..words.len()).filter(|at| waits(*at)).any(|at| {
        let of_nobody = words[at] == "wait;"
            || words
                .get(at + 1)
                .is_none_or(|next| ["||", "&&", "&", ";", "}"].contains(next));
        of_nobody || words[at + 1..].join(" ").contains("|| true")
    })
}

#[test]
fn no_test_forgets_how_a_program_ended() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e");
    let mut found = Vec::new();
    let mut files = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "bats") {
            continue;
        }
        files += 1;
        let text = fs::read_to_string(&path).unwrap();
        // What a teardown ends is not what the test is about.
        let body = text.lines().filter(|line| {
            let line = line.trim_start();
            !line.starts_with('#') && !line.starts_with("[ -z ")
        });
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        found.extend(
            body.filter(|line| forgets(line))
                .map(|line| format!("{name}: {}", line.trim())),
        );
    }
    assert!(files > 20, "{files}");
    assert_eq!(
        found, [""; 0],
        "wait for processes, and say how they end: tests/e2e/ended.bash"
    );
}

#[test]
fn what_forgets_is_known() {
    for line in [
        "wait",
        "    wait || true",
        "wait $pid || true",
        "a & wait; b",
        "kill %1 && wait }",
    ] {
        assert!(forgets(line), "{line}");
    }
    for line in [
        "wait \"$pid\"",
        "ended_with 0 $pid",
        "resize --wait &",
        "wait -n; status=$?",
        "waited",
    ] {
        assert!(!forgets(line), "{line}");
    }
}
