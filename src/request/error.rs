//! Why annotations are no request. Each message names the key as it was written, the value, and what would do.

use crate::units::Bytes;

/// Why annotations or labels are no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A key that begins as ours and is not ours.
    #[error("{key}: no such key (there are {known})")]
    UnknownKey {
        /// As written.
        key: String,
        /// The keys there are, with the prefix that was used.
        known: String,
    },
    /// The short and the long form differ, or a key is given twice.
    #[error("{key}: {value:?} contradicts {other_key}: {other_value:?} (give one, or both the same)")]
    Contradiction {
        /// As written.
        key: String,
        /// Its value.
        value: String,
        /// The form that came first.
        other_key: String,
        /// The value that came first.
        other_value: String,
    },
    /// Another vendor.
    #[error("{key}: {value:?} is not served here (accepted: amd)")]
    Vendor {
        /// As written.
        key: String,
        /// Its value.
        value: String,
    },
    /// No number of bytes.
    #[error("{key}: {value:?} is no amount of memory (accepted: a Kubernetes quantity such as 4Gi or 1500M)")]
    Memory {
        /// As written.
        key: String,
        /// Its value.
        value: String,
    },
    /// No share of a GPU.
    #[error("{key}: {value:?} is no share of a GPU (accepted: 1m to 1000m, in whole thousandths)")]
    Compute {
        /// As written.
        key: String,
        /// Its value.
        value: String,
    },
    /// A quantity below zero.
    #[error("{key}: {value} is below zero (accepted: {accepted})")]
    Negative {
        /// As written.
        key: String,
        /// Its value.
        value: String,
        /// What would do.
        accepted: &'static str,
    },
    /// Nothing asked for.
    #[error("{key}: {value} asks for nothing (accepted: {accepted})")]
    Zero {
        /// As written.
        key: String,
        /// Its value.
        value: String,
        /// What would do.
        accepted: &'static str,
    },
    /// More bytes than 64 bits can count.
    #[error("{key}: {value} is more memory than there can be (accepted: less than 16Ei)")]
    MemoryTooLarge {
        /// As written.
        key: String,
        /// Its value.
        value: String,
    },
    /// Fewer bytes than any program can use.
    #[error(
        "{key}: {value} is {count}, less than any GPU program can use (accepted: {least} and more){hint}"
    )]
    MemoryTooSmall {
        /// As written.
        key: String,
        /// Its value.
        value: String,
        /// What that is, e.g. `20 bytes`.
        count: String,
        /// The least amount.
        least: Bytes,
        /// Empty, or what was probably meant.
        hint: String,
    },
    /// More than one GPU's compute.
    #[error(
        "{key}: {value} is more than one GPU (accepted: 1m to 1000m; {count_key} asks for several GPUs){hint}"
    )]
    ComputeTooLarge {
        /// As written.
        key: String,
        /// Its value.
        value: String,
        /// The key for several GPUs, in the same form.
        count_key: String,
        /// Empty, or what was probably meant.
        hint: String,
    },
    /// The guarantee is above the limit.
    #[error("{key}: {value} is above {limit_key}: {limit} (a guarantee is at most the limit)")]
    AboveLimit {
        /// The guarantee's key as written.
        key: String,
        /// Its value.
        value: String,
        /// The limit's key as written.
        limit_key: String,
        /// Its value.
        limit: String,
    },
    /// No number of GPUs.
    #[error("{key}: {value:?} is no number of GPUs (accepted: 1 to {most})")]
    Count {
        /// As written.
        key: String,
        /// Its value.
        value: String,
        /// Most GPUs of a slice.
        most: u32,
    },
    /// Names no GPU.
    #[error("{key}: {value:?} names no GPU (accepted: {accepted})")]
    Gpu {
        /// As written.
        key: String,
        /// Its value.
        value: String,
        /// What would do.
        accepted: &'static str,
    },
    /// No name for a group.
    #[error(
        "{key}: {value:?} is no name for a group (accepted: 1 to 63 of a-z A-Z 0-9 - _ . that begin and end with a \
         letter or digit)"
    )]
    Group {
        /// As written.
        key: String,
        /// Its value.
        value: String,
    },
    /// No names of containers.
    #[error(
        "{key}: {value:?} names no containers (accepted: names of the pod's containers, with commas in between, or \
         dots in a label)"
    )]
    Containers {
        /// As written.
        key: String,
        /// Its value.
        value: String,
    },
    /// The short and the long form name other containers.
    #[error("{key}: names other containers than its other form (give one, or both the same)")]
    ContainersTwice {
        /// As written.
        key: String,
    },
    /// Containers without a slice.
    #[error(
        "sdg.exostellar.io/containers: there is no slice that they could share (give sdg.exostellar.io/memory, e.g. 4Gi)"
    )]
    ContainersAlone,
    /// No such placement.
    #[error("{key}: {value:?} is no placement (accepted: pack, spread)")]
    Placement {
        /// As written.
        key: String,
        /// Its value.
        value: String,
    },
    /// No such enforcement, or a weaker one.
    #[error("{key}: {value:?} cannot be asked for (accepted: guarded, which is more than the default)")]
    Enforcement {
        /// As written.
        key: String,
        /// Its value.
        value: String,
    },
    /// Part of a GPU without memory.
    #[error("{missing}: missing, and {key} alone is no slice (give {missing}, e.g. 4Gi{otherwise})")]
    MemoryMissing {
        /// The key that is missing, in the form that the other was written in.
        missing: String,
        /// A key that was given, as written.
        key: String,
        /// Empty, or another way out.
        otherwise: String,
    },
}
