//! A CDI file: what is taken is written and read back as the same.

use sdg::cdi::spec::CdiSpec;

use super::is_one_line;

pub fn run(data: &[u8]) {
    match CdiSpec::parse(data) {
        Ok(spec) => {
            let text = spec.to_json().expect("a CDI file has a text");
            assert_eq!(CdiSpec::parse(&text).expect("what was written"), spec);
        }
        Err(error) => is_one_line(&error),
    }
}
