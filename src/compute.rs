//! Compute-unit geometry: the grid of a GPU, rectangles of it, masks, and the model of what they deliver. Pure.

pub mod cells;
pub mod explain;
pub mod fit;
pub mod grid;
pub mod mapping;
pub mod mask;
pub mod model;
pub mod shape;
