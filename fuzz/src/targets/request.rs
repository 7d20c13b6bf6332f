//! Annotations: keys and values, each ended by a zero byte. What is asked is within bounds, and survives the record.

use sdg::request::{self, ComputeRequest, Millis, Share, SliceRequest};

use super::is_one_line;

/// Pairs of texts from bytes.
pub fn pairs(data: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(data);
    let mut words = text.split('\0').map(str::to_owned);
    std::iter::from_fn(|| Some((words.next()?, words.next()?))).collect()
}

pub fn run(data: &[u8]) {
    let pairs = pairs(data);
    let pairs = || pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    match request::parse(pairs()) {
        Ok(Some(asked)) => {
            check(&asked);
            let text = serde_json::to_string(&asked).expect("a request has a text");
            let again: SliceRequest = serde_json::from_str(&text).expect("a request is read back");
            assert_eq!(again, asked);
        }
        Ok(None) => {}
        Err(error) => is_one_line(&error),
    }
    if let Err(error) = request::PodRequest::parse(pairs()) {
        is_one_line(&error);
    }
}

fn check(asked: &SliceRequest) {
    assert!((1..=64).contains(&asked.count), "count {}", asked.count);
    let Share::Part { memory, compute } = &asked.share else {
        return;
    };
    assert!(
        memory.guarantee > 0 && memory.limit >= memory.guarantee,
        "{memory:?}"
    );
    if let ComputeRequest::Guaranteed { guarantee, limit } = compute {
        assert!(
            guarantee.0 >= 1 && guarantee <= limit && *limit <= Millis::ONE,
            "{compute:?}"
        );
    }
}
