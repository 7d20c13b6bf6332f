//! Why something was refused: a few words, so that a label has few values.

use crate::commands::CommandError;
use crate::lifecycle::LifecycleError;
use crate::placement::PlacementError;

/// A kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Too little memory is free.
    Memory,
    /// Too few compute units are free.
    Compute,
    /// Neither is free where the other is.
    MemoryAndCompute,
    /// No GPU is without slices, or is not someone's alone.
    Whole,
    /// The GPUs asked for together are not free together.
    Together,
    /// More than any GPU here has, or GPUs that are not here.
    Absent,
    /// A request that is not understood.
    Request,
    /// A container with a way past the slice.
    Conflict,
    /// An image that the shim does not get into, with no other layer to hold it.
    Uncovered,
    /// What was placed was not in force.
    NotInForce,
    /// Anything else: files, the ledger.
    Error,
}

impl Reason {
    /// All, in the order of the page.
    pub const ALL: [Self; 11] = [
        Self::Memory,
        Self::Compute,
        Self::MemoryAndCompute,
        Self::Whole,
        Self::Together,
        Self::Absent,
        Self::Request,
        Self::Conflict,
        Self::Uncovered,
        Self::NotInForce,
        Self::Error,
    ];

    /// Value of a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Compute => "compute",
            Self::MemoryAndCompute => "memory_and_compute",
            Self::Whole => "whole",
            Self::Together => "together",
            Self::Absent => "absent",
            Self::Request => "request",
            Self::Conflict => "conflict",
            Self::Uncovered => "uncovered",
            Self::NotInForce => "not_in_force",
            Self::Error => "error",
        }
    }

    /// Position in [`Self::ALL`].
    pub(super) fn number(self) -> usize {
        Self::ALL.iter().position(|reason| *reason == self).unwrap_or(0)
    }

    /// Why a slice was not placed.
    pub fn of_placing(error: &LifecycleError) -> Self {
        match error {
            LifecycleError::Placement(error) => Self::of_placement(error),
            LifecycleError::BadName(_) | LifecycleError::NameTaken { .. } => Self::Request,
            _ => Self::Error,
        }
    }

    /// Why a container was refused by a command; none where its slice was not placed, which is counted there.
    pub fn of_command(error: &CommandError) -> Option<Self> {
        match error {
            CommandError::Lifecycle(_) | CommandError::Broker(_) => None,
            CommandError::Request(_) | CommandError::Usage(_) => Some(Self::Request),
            CommandError::Conflict(_) | CommandError::Claim(_) => Some(Self::Conflict),
            CommandError::Uncovered(_) => Some(Self::Uncovered),
            CommandError::NotInForce { .. } => Some(Self::NotInForce),
            _ => Some(Self::Error),
        }
    }

    fn of_placement(error: &PlacementError) -> Self {
        match error {
            PlacementError::Memory { .. } => Self::Memory,
            PlacementError::Compute { .. } | PlacementError::NoUnguaranteedUnits { .. } => Self::Compute,
            PlacementError::MemoryAndCompute { .. } => Self::MemoryAndCompute,
            PlacementError::TakenWhole { .. } | PlacementError::NotWhole { .. } => Self::Whole,
            PlacementError::NotTogether { .. } | PlacementError::NotLinked { .. } => Self::Together,
            PlacementError::NoGpu { .. }
            | PlacementError::GpuAbsent { .. }
            | PlacementError::GpuExcluded { .. }
            | PlacementError::TooManyGpus { .. }
            | PlacementError::PinnedTooFew { .. }
            | PlacementError::MoreThanAny { .. } => Self::Absent,
            PlacementError::Group { reason, .. } => Self::of_placement(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_of_a_group_counts() {
        let error = PlacementError::Group {
            group: "g".to_owned(),
            home: "GPU 0".to_owned(),
            reason: Box::new(PlacementError::NoGpu {
                left_out: String::new(),
            }),
        };
        assert_eq!(Reason::of_placing(&error.into()), Reason::Absent);
    }
}
