//! Values → [`SliceRequest`].

use super::error::RequestError;
use super::keys::{Given, GivenKeys, Key};
use super::least::{LEAST_MEMORY, likely_memory};
use super::quantity::{Quantity, QuantityError};
use super::{
    ComputeRequest, Enforcement, MAX_COUNT, MemoryRequest, Millis, PlacementPolicy, Share, SliceRequest,
};
use crate::inventory::GpuSelector;
use crate::units::Bytes;

const MEMORY_ACCEPTED: &str = "a Kubernetes quantity such as 4Gi or 1500M";
const COMPUTE_ACCEPTED: &str = "1m to 1000m";
/// Longest name of a group: that of a Kubernetes label's value.
const GROUP_MAX: usize = 63;

/// Reads a request from annotations or labels. Keys of others are passed over; none of ours: no request.
///
/// Values are taken as they are: like Kubernetes we trim nothing.
pub fn parse<'a>(
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Option<SliceRequest>, RequestError> {
    let given = GivenKeys::collect(pairs)?;
    let Some(first) = given.first() else {
        return Ok(None);
    };
    given.get(Key::Vendor).map(vendor).transpose()?;
    let count = given.get(Key::Count).map(count).transpose()?;
    let gpu = given.get(Key::Gpu).map(gpu).transpose()?;
    let group = given.get(Key::Group).map(group).transpose()?;
    let placement = given.get(Key::Placement).map(placement).transpose()?;
    let enforcement = given.get(Key::Enforcement).map(enforcement).transpose()?;
    let memory = memory(&given)?;
    let compute = compute(&given)?;
    let share = match (memory, compute) {
        (Some(memory), compute) => Share::Part {
            memory,
            compute: compute.unwrap_or(ComputeRequest::BestEffort),
        },
        (None, None) if count.is_some() || gpu.is_some() => Share::Whole,
        (None, _) => return Err(memory_missing(&given, first)),
    };
    Ok(Some(SliceRequest {
        share,
        count: count.unwrap_or(1),
        gpu,
        group,
        placement: placement.unwrap_or_default(),
        enforcement: enforcement.unwrap_or_default(),
    }))
}

fn memory_missing(given: &GivenKeys<'_>, first: Given<'_>) -> RequestError {
    let compute = given.get(Key::Compute).or_else(|| given.get(Key::ComputeLimit));
    let key = compute.unwrap_or(first);
    let otherwise = match compute {
        Some(_) => String::new(),
        None => format!("; or {}, e.g. 1, for whole GPUs", key.sibling("count")),
    };
    RequestError::MemoryMissing {
        missing: key.sibling("memory"),
        key: key.written.to_owned(),
        otherwise,
    }
}

fn vendor(given: Given<'_>) -> Result<(), RequestError> {
    if given.value == "amd" {
        return Ok(());
    }
    Err(RequestError::Vendor {
        key: given.written.to_owned(),
        value: given.value.to_owned(),
    })
}

fn count(given: Given<'_>) -> Result<u32, RequestError> {
    let number = given
        .value
        .parse()
        .ok()
        .filter(|_| given.value.bytes().all(|b| b.is_ascii_digit()));
    number
        .filter(|count| (1..=MAX_COUNT).contains(count))
        .ok_or_else(|| RequestError::Count {
            key: given.written.to_owned(),
            value: given.value.to_owned(),
            most: MAX_COUNT,
        })
}

fn gpu(given: Given<'_>) -> Result<GpuSelector, RequestError> {
    GpuSelector::parse(given.value).ok_or_else(|| RequestError::Gpu {
        key: given.written.to_owned(),
        value: given.value.to_owned(),
        accepted: GpuSelector::ACCEPTED,
    })
}

fn group(given: Given<'_>) -> Result<String, RequestError> {
    let value = given.value.as_bytes();
    let edges = [value.first(), value.last()];
    let sane = value.len() <= GROUP_MAX
        && edges
            .iter()
            .all(|edge| edge.is_some_and(u8::is_ascii_alphanumeric))
        && value
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b));
    if sane {
        return Ok(given.value.to_owned());
    }
    Err(RequestError::Group {
        key: given.written.to_owned(),
        value: given.value.to_owned(),
    })
}

fn placement(given: Given<'_>) -> Result<PlacementPolicy, RequestError> {
    match given.value {
        "pack" => Ok(PlacementPolicy::Pack),
        "spread" => Ok(PlacementPolicy::Spread),
        other => Err(RequestError::Placement {
            key: given.written.to_owned(),
            value: other.to_owned(),
        }),
    }
}

/// An annotation asks for more than the configuration does, never for less.
fn enforcement(given: Given<'_>) -> Result<Enforcement, RequestError> {
    match given.value {
        "guarded" => Ok(Enforcement::Guarded),
        other => Err(RequestError::Enforcement {
            key: given.written.to_owned(),
            value: other.to_owned(),
        }),
    }
}

fn memory(given: &GivenKeys<'_>) -> Result<Option<MemoryRequest>, RequestError> {
    let pair = guarantee_and_limit(given, (Key::Memory, Key::MemoryLimit), bytes)?;
    Ok(pair.map(|(guarantee, limit)| MemoryRequest { guarantee, limit }))
}

fn compute(given: &GivenKeys<'_>) -> Result<Option<ComputeRequest>, RequestError> {
    let pair = guarantee_and_limit(given, (Key::Compute, Key::ComputeLimit), millis)?;
    Ok(pair.map(|(guarantee, limit)| ComputeRequest::Guaranteed { guarantee, limit }))
}

/// Only one of the two given: they are equal.
fn guarantee_and_limit<T: Copy + PartialOrd>(
    given: &GivenKeys<'_>,
    (guarantee_key, limit_key): (Key, Key),
    read: impl Fn(Given<'_>) -> Result<T, RequestError>,
) -> Result<Option<(T, T)>, RequestError> {
    let with_value = |given| read(given).map(|value| (given, value));
    let guarantee = given.get(guarantee_key).map(with_value).transpose()?;
    let limit = given.get(limit_key).map(with_value).transpose()?;
    match (guarantee, limit) {
        (None, None) => Ok(None),
        (Some((_, only)), None) | (None, Some((_, only))) => Ok(Some((only, only))),
        (Some((_, guarantee)), Some((_, limit))) if guarantee <= limit => Ok(Some((guarantee, limit))),
        (Some((guarantee, _)), Some((limit, _))) => Err(RequestError::AboveLimit {
            key: guarantee.written.to_owned(),
            value: guarantee.value.to_owned(),
            limit_key: limit.written.to_owned(),
            limit: limit.value.to_owned(),
        }),
    }
}

fn bytes(given: Given<'_>) -> Result<u64, RequestError> {
    let (key, value) = (given.written.to_owned(), given.value.to_owned());
    let bytes = match Quantity::parse(given.value) {
        Ok(quantity) => quantity.rounded_up(),
        Err(QuantityError::TooLarge) => None,
        Err(QuantityError::Form) => return Err(RequestError::Memory { key, value }),
        Err(QuantityError::Negative) => {
            return Err(RequestError::Negative {
                key,
                value,
                accepted: MEMORY_ACCEPTED,
            });
        }
    };
    match bytes {
        None => Err(RequestError::MemoryTooLarge { key, value }),
        Some(0) => Err(RequestError::Zero {
            key,
            value,
            accepted: MEMORY_ACCEPTED,
        }),
        Some(bytes) if bytes < LEAST_MEMORY => Err(memory_too_small(given, bytes)),
        Some(bytes) => Ok(bytes),
    }
}

fn memory_too_small(given: Given<'_>, bytes: u64) -> RequestError {
    let meant = likely_memory(given.value);
    RequestError::MemoryTooSmall {
        key: given.written.to_owned(),
        value: given.value.to_owned(),
        count: match bytes {
            1 => "1 byte".to_owned(),
            bytes => format!("{bytes} bytes"),
        },
        least: Bytes(LEAST_MEMORY),
        hint: meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?")),
    }
}

fn millis(given: Given<'_>) -> Result<Millis, RequestError> {
    let (key, value) = (given.written.to_owned(), given.value.to_owned());
    let quantity = match Quantity::parse(given.value) {
        Ok(quantity) => quantity,
        Err(QuantityError::TooLarge) => return Err(compute_too_large(given)),
        Err(QuantityError::Form) => return Err(RequestError::Compute { key, value }),
        Err(QuantityError::Negative) => {
            return Err(RequestError::Negative {
                key,
                value,
                accepted: COMPUTE_ACCEPTED,
            });
        }
    };
    match quantity.rounded_up() {
        Some(0) => {
            return Err(RequestError::Zero {
                key,
                value,
                accepted: COMPUTE_ACCEPTED,
            });
        }
        Some(1) => {}
        _ => return Err(compute_too_large(given)),
    }
    let whole = quantity
        .whole_millis()
        .and_then(|millis| u32::try_from(millis).ok());
    whole.map(Millis).ok_or(RequestError::Compute { key, value })
}

fn compute_too_large(given: Given<'_>) -> RequestError {
    // "250" is 250 GPUs; whoever writes it means 250m.
    let bare = given
        .value
        .parse::<u32>()
        .is_ok_and(|number| (2..=1000).contains(&number));
    RequestError::ComputeTooLarge {
        key: given.written.to_owned(),
        value: given.value.to_owned(),
        count_key: given.sibling("count"),
        hint: if bare {
            format!("; did you mean {}m?", given.value)
        } else {
            String::new()
        },
    }
}
