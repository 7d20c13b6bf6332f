//! What a placement has to know of the slices that are there, and of the rules of the house.

use serde::{Deserialize, Serialize};

use super::GpuGrant;
use crate::compute::shape::Shape;
use crate::request::SliceRequest;

/// A slice that is there.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    /// Its id.
    pub id: &'a str,
    /// A person's name for it: what a refusal calls it by.
    pub name: Option<&'a str>,
    /// What it asked for.
    pub request: &'a SliceRequest,
    /// What it was granted.
    pub grants: &'a [GpuGrant],
    /// Bytes that it uses now, for each of `grants` in their order; what is missing counts as nothing used.
    pub used: &'a [u64],
}

impl<'a> Taken<'a> {
    /// What a person calls the slice.
    pub fn label(&self) -> &'a str {
        self.name.unwrap_or(self.id)
    }
}

/// Rules of the house, from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Which rectangles of compute units are given out.
    pub shape: Shape,
    /// Bytes of each GPU that are kept back for the driver.
    pub reserved_bytes: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            shape: Shape::Auto,
            reserved_bytes: 512 << 20,
        }
    }
}
