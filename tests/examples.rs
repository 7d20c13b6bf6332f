//! The two servers of each file in examples/ ask for what they are said to ask for, and fit on one MI300X together.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set up its ground has failed"
)]

#[path = "support/sandbox.rs"]
mod sandbox;

use std::collections::BTreeMap;

use sandbox::{Sandbox, stderr};

const COMPOSE: &str = include_str!("../examples/compose/compose.yaml");
const QUADLETS: &str = concat!(
    include_str!("../examples/quadlet/vllm-large.container"),
    include_str!("../examples/quadlet/vllm-small.container"),
);
const KUBERNETES: &str = include_str!("../examples/kubernetes/vllm.yaml");

type Request = BTreeMap<String, String>;

/// The requests in a text, in order: each begins with its memory. `sdg.KEY: VALUE` and `sdg.KEY=VALUE`, comments left out.
fn requests(text: &str) -> Vec<Request> {
    let mut found: Vec<Request> = Vec::new();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    for part in lines.flat_map(|line| line.split("sdg.").skip(1)) {
        let (key, value) = part.split_once([':', '=']).unwrap();
        let value: String = value
            .trim_start()
            .chars()
            .take_while(|letter| letter.is_ascii_alphanumeric())
            .collect();
        if key == "memory" {
            found.push(Request::new());
        }
        found.last_mut().unwrap().insert(key.to_owned(), value);
    }
    found
}

/// The options of `sdg slice create` for a request's keys.
fn options(request: &Request) -> Vec<String> {
    let names = [
        ("memory", "--memory"),
        ("compute", "--compute"),
        ("computeLimit", "--compute-limit"),
    ];
    let option = |(key, value): (&String, &String)| {
        let (_, name) = names.iter().find(|(known, _)| known == key).unwrap();
        [(*name).to_owned(), value.clone()]
    };
    request.iter().flat_map(option).collect()
}

#[test]
fn they_all_ask_for_the_same_two_slices() {
    let compose = requests(COMPOSE);
    assert_eq!(compose.len(), 2);
    assert_eq!(compose[0]["memory"], "120Gi");
    assert_eq!(compose[1]["computeLimit"], "500m");
    assert_eq!(requests(QUADLETS), compose);
    assert_eq!(requests(KUBERNETES), compose);
}

#[test]
fn both_fit_on_one_card() {
    let sandbox = Sandbox::new("mi300x", &[]);
    for request in requests(COMPOSE) {
        let options = options(&request);
        let mut arguments = vec!["slice", "create"];
        arguments.extend(options.iter().map(String::as_str));
        let output = sandbox.run(&arguments);
        assert!(output.status.success(), "{request:?}: {}", stderr(&output));
    }
    assert_eq!(sandbox.slices().len(), 2);
}
