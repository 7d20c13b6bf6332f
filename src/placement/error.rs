//! Why a request cannot be placed. Each message names the key, what was asked, and what would fit.

use crate::request::Millis;
use crate::units::Bytes;

/// Why a request cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// The node has none.
    #[error("there is no AMD GPU here that slices can be made of{left_out}")]
    NoGpu {
        /// Empty, or which there are and why they do not serve.
        left_out: String,
    },
    /// The pinned GPU is not there.
    #[error("sdg.gpu: {asked} is not here (there {present}){left_out}")]
    GpuAbsent {
        /// What was named.
        asked: String,
        /// What there is, e.g. `are 0 to 7`.
        present: String,
        /// Empty, or why it does not serve.
        left_out: String,
    },
    /// The pinned GPU is not to be had.
    #[error("sdg.gpu: {asked} is left out by exclude_gpus in the configuration (there {present})")]
    GpuExcluded {
        /// What was named.
        asked: String,
        /// What there is besides.
        present: String,
    },
    /// More GPUs than there are.
    #[error("sdg.count: {asked} is more than the GPUs here ({present}{beside})")]
    TooManyGpus {
        /// GPUs asked for.
        asked: u32,
        /// GPUs there are.
        present: usize,
        /// Empty, or how many there are that nobody gets without naming them.
        beside: String,
    },
    /// More GPUs than the pinned name stands for.
    #[error("sdg.count: {asked} is more than the GPUs that sdg.gpu: {selector} names ({named})")]
    PinnedTooFew {
        /// GPUs asked for.
        asked: u32,
        /// The pin.
        selector: String,
        /// GPUs it names.
        named: usize,
    },
    /// No GPU is that large.
    #[error("{key}: {asked} is more than {whose} {can} (largest: {largest} on GPU {index}{kept_back})")]
    MoreThanAny {
        /// `sdg.memory` or `sdg.memoryLimit`.
        key: &'static str,
        /// Bytes asked for on one GPU.
        asked: Bytes,
        /// `any GPU here`, or `the pinned GPU`.
        whose: &'static str,
        /// `has`, or `can give` where only what is kept back for the driver is missing.
        can: &'static str,
        /// Bytes of the largest GPU.
        largest: Bytes,
        /// Its index.
        index: u32,
        /// Empty, or what is kept back.
        kept_back: String,
    },
    /// Too little memory is free.
    #[error("sdg.memory: asked {asked} on one GPU; most free: {most} on GPU {index}{lent}")]
    Memory {
        /// Bytes asked for on one GPU.
        asked: Bytes,
        /// Most that would fit.
        most: Bytes,
        /// Where.
        index: u32,
        /// Empty, or who uses lent memory there.
        lent: String,
    },
    /// Too few compute units are free.
    #[error("sdg.compute: asked {asked} on one GPU; most free: {most} on GPU {index}{note}")]
    Compute {
        /// Share asked for on one GPU.
        asked: Millis,
        /// Most that would fit.
        most: Millis,
        /// Where.
        index: u32,
        /// Empty, or what stands in the way.
        note: String,
    },
    /// GPUs with the memory lack the compute units, and the other way round.
    #[error(
        "sdg.memory, sdg.compute: asked {memory} and {compute} on one GPU; most memory free: {most_memory} on GPU \
         {memory_index}{lent}, most compute free: {most_compute} on GPU {compute_index}"
    )]
    MemoryAndCompute {
        /// Bytes asked for on one GPU.
        memory: Bytes,
        /// Share asked for on one GPU.
        compute: Millis,
        /// Most bytes that would fit.
        most_memory: Bytes,
        /// Where.
        memory_index: u32,
        /// Most compute that would fit.
        most_compute: Millis,
        /// Where.
        compute_index: u32,
        /// Empty, or who uses lent memory there.
        lent: String,
    },
    /// No compute unit is left for a slice without a guarantee.
    #[error("sdg.compute: absent, and others have a guarantee on every compute unit ({holders})")]
    NoUnguaranteedUnits {
        /// Who, by GPU.
        holders: String,
    },
    /// Every GPU is someone's alone.
    #[error("every GPU that would do is taken whole ({holders})")]
    TakenWhole {
        /// Who, by GPU.
        holders: String,
    },
    /// Whole GPUs asked for, too few are without slices.
    #[error("asked {asked} whole; without slices: {free} ({holders})")]
    NotWhole {
        /// `one GPU`, or how many.
        asked: String,
        /// GPUs without slices.
        free: usize,
        /// Who is on the others.
        holders: String,
    },
    /// Too few GPUs have room.
    #[error("sdg.count: asked {asked} GPUs; with room for the slice: {fitting} ({which})")]
    NotTogether {
        /// GPUs asked for.
        asked: u32,
        /// GPUs with room.
        fitting: usize,
        /// Which.
        which: String,
    },
    /// The group's GPUs, and those linked to them, do not do.
    #[error("sdg.group: {group} is on {home}; there and on GPUs linked to it: {reason}")]
    Group {
        /// The group.
        group: String,
        /// Where it is, e.g. `GPU 0`.
        home: String,
        /// Why not there.
        reason: Box<PlacementError>,
    },
    /// GPUs of a group have to be linked to one another.
    #[error("sdg.group: {group}: asked {asked} GPUs linked to one another; most linked with room: {linked}")]
    NotLinked {
        /// The group.
        group: String,
        /// GPUs asked for.
        asked: u32,
        /// Most that are linked.
        linked: usize,
    },
}
