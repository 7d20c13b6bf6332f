//! Why not, and what would fit instead.

use std::fmt::Write;

use super::error::PlacementError;
use super::place::{Candidate, Plans};
use super::state::{GpuState, Lack};
use super::{Rules, Taken};
use crate::inventory::{GpuSelector, Inventory};
use crate::request::{ComputeRequest, MemoryRequest, Millis, Share, SliceRequest};
use crate::units::Bytes;

/// Most names in a message: it stays a line.
const MOST_NAMES: usize = 8;

/// What a refusal is made from.
pub(super) struct Refusal<'a> {
    /// The request.
    pub request: &'a SliceRequest,
    /// Every GPU.
    pub states: &'a [GpuState<'a>],
    /// Positions of those that the request may have.
    pub eligible: &'a [usize],
    /// Those of them that have room.
    pub fitting: &'a [Candidate],
    /// Every slice.
    pub taken: &'a [Taken<'a>],
}

/// Refuses what is larger than every GPU at the positions that a request may have.
pub(super) fn check_size(
    request: &SliceRequest,
    states: &[GpuState<'_>],
    (pinned, rules): (&[usize], &Rules),
) -> Result<(), PlacementError> {
    let Share::Part {
        memory: MemoryRequest { guarantee, limit },
        ..
    } = request.share
    else {
        return Ok(());
    };
    let states = pinned.iter().filter_map(|&at| states.get(at));
    let Some(largest) = states.max_by_key(|state| (state.gpu.memory_bytes, u32::MAX - state.gpu.index))
    else {
        return Ok(());
    };
    for (key, asked) in [("sdg.memory", guarantee), ("sdg.memoryLimit", limit)] {
        if asked > largest.capacity {
            let only_reserve = asked <= largest.gpu.memory_bytes;
            let reserved = Bytes(rules.reserved_bytes);
            return Err(PlacementError::MoreThanAny {
                key,
                asked: Bytes(asked),
                whose: if request.gpu.is_some() {
                    "the pinned GPU"
                } else {
                    "any GPU here"
                },
                can: if only_reserve { "can give" } else { "has" },
                largest: Bytes(if only_reserve {
                    largest.capacity
                } else {
                    largest.gpu.memory_bytes
                }),
                index: largest.gpu.index,
                kept_back: if only_reserve {
                    format!(", {reserved} kept back for the driver")
                } else {
                    String::new()
                },
            });
        }
    }
    Ok(())
}

/// There is none that serves.
pub(super) fn no_gpu(inventory: &Inventory) -> PlacementError {
    let left_out = match inventory.left_out.first() {
        _ if !inventory.gpus.is_empty() => " (exclude_gpus in the configuration names all)".to_owned(),
        Some(first) => format!(" ({first})"),
        None => String::new(),
    };
    PlacementError::NoGpu { left_out }
}

/// There are not so many.
pub(super) fn too_many(asked: u32, present: usize, integrated: usize) -> PlacementError {
    let beside = match integrated {
        0 => String::new(),
        count => format!(", and {count} integrated, which sdg.gpu has to name"),
    };
    PlacementError::TooManyGpus {
        asked,
        present,
        beside,
    }
}

/// The pinned GPU is not there, or not to be had.
pub(super) fn absent(
    selector: &GpuSelector,
    states: &[GpuState<'_>],
    inventory: &Inventory,
) -> PlacementError {
    let served = || states.iter().filter(|state| !state.gpu.excluded);
    let names = |name: fn(&GpuState<'_>) -> String| {
        let mut names: Vec<String> = served().map(name).collect();
        names.dedup();
        listed(names.into_iter(), " is ", "are ")
    };
    let present = match selector {
        _ if served().next().is_none() => "is none".to_owned(),
        GpuSelector::Index(_) => names(|state| state.gpu.index.to_string()),
        GpuSelector::Uuid(_) => names(|state| state.gpu.uuid.clone()),
        GpuSelector::Pci(_) => names(|state| state.gpu.pci.to_string()),
    };
    let asked = selector.to_string();
    if states.iter().any(|state| selector.names(state.gpu)) {
        return PlacementError::GpuExcluded { asked, present };
    }
    PlacementError::GpuAbsent {
        asked,
        present,
        left_out: inventory
            .left_out(selector)
            .map_or_else(String::new, |gpu| format!("; {gpu}")),
    }
}

/// `is 0`, `are 0, 1, 2`, cut after [`MOST_NAMES`].
fn listed(names: impl ExactSizeIterator<Item = String>, one: &str, many: &str) -> String {
    let total = names.len();
    let verb = if total == 1 { one.trim_start() } else { many };
    let shown: Vec<String> = names.take(MOST_NAMES).collect();
    let more = if total > MOST_NAMES {
        format!(" and {} more", total - MOST_NAMES)
    } else {
        String::new()
    };
    format!("{verb}{}{more}", shown.join(", "))
}

impl Refusal<'_> {
    /// GPUs of a group have to be linked, and too few are.
    pub fn not_linked(&self, linked: usize) -> PlacementError {
        let group = self.request.group.clone().unwrap_or_default();
        PlacementError::NotLinked {
            group,
            asked: self.request.count,
            linked,
        }
    }

    /// Why too few GPUs have room; `home` is where the request's group is.
    pub fn reason(&self, plans: &mut Plans, home: &[usize]) -> PlacementError {
        let reason = self.reason_among_eligible(plans);
        match (&self.request.group, home) {
            (Some(group), [_, ..]) => {
                let names: Vec<String> = home
                    .iter()
                    .filter_map(|&at| self.states.get(at))
                    .map(name)
                    .collect();
                PlacementError::Group {
                    group: group.clone(),
                    home: names.join(", "),
                    reason: Box::new(reason),
                }
            }
            _ => reason,
        }
    }

    fn reason_among_eligible(&self, plans: &mut Plans) -> PlacementError {
        let asked = self.request.count;
        let Share::Part { memory, compute } = self.request.share else {
            return self.not_whole();
        };
        if !self.fitting.is_empty() || self.eligible.len() < asked as usize {
            let which = self
                .fitting
                .iter()
                .filter_map(|candidate| self.states.get(candidate.at))
                .map(name);
            let which: Vec<String> = which.collect();
            let which = if which.is_empty() {
                "none".to_owned()
            } else {
                listed(which.into_iter(), "", "")
            };
            return PlacementError::NotTogether {
                asked,
                fitting: self.fitting.len(),
                which,
            };
        }
        let lacks: Vec<Lack> = self
            .eligible_states()
            .filter_map(|state| state.fit(&self.request.share, plans.of(&state.gpu.grid)).err())
            .collect();
        let lack = |which: Lack| lacks.contains(&which);
        match compute {
            _ if !lack(Lack::Memory) && !lack(Lack::Compute) => PlacementError::TakenWhole {
                holders: self.holders(),
            },
            _ if !lack(Lack::Compute) => self.memory(memory),
            ComputeRequest::BestEffort if lack(Lack::Memory) => self.memory(memory),
            ComputeRequest::BestEffort => PlacementError::NoUnguaranteedUnits {
                holders: self.holders(),
            },
            ComputeRequest::Guaranteed { guarantee, .. } if lack(Lack::Memory) => {
                self.memory_and_compute((memory, guarantee), plans)
            }
            ComputeRequest::Guaranteed { guarantee, .. } => self.compute(guarantee, plans),
        }
    }

    fn eligible_states(&self) -> impl Iterator<Item = &GpuState<'_>> {
        self.eligible.iter().filter_map(|&at| self.states.get(at))
    }

    /// Those on which a slice could ever have its limit.
    fn large_enough(&self, memory: MemoryRequest) -> impl Iterator<Item = &GpuState<'_>> {
        self.eligible_states()
            .filter(move |state| memory.limit <= state.capacity)
    }

    fn not_whole(&self) -> PlacementError {
        PlacementError::NotWhole {
            asked: if self.request.count == 1 {
                "one GPU".to_owned()
            } else {
                format!("{} GPUs", self.request.count)
            },
            free: self.fitting.len(),
            holders: self.holders(),
        }
    }

    fn memory(&self, memory: MemoryRequest) -> PlacementError {
        let (most, index, lent) = self.most_memory(memory);
        PlacementError::Memory {
            asked: Bytes(memory.guarantee),
            most,
            index,
            lent,
        }
    }

    fn compute(&self, asked: Millis, plans: &mut Plans) -> PlacementError {
        let (most, index, best_effort) = self.most_compute(plans);
        let note = if best_effort {
            " (slices without a guarantee there keep the last units)"
        } else {
            ""
        };
        PlacementError::Compute {
            asked,
            most,
            index,
            note: note.to_owned(),
        }
    }

    fn memory_and_compute(&self, asked: (MemoryRequest, Millis), plans: &mut Plans) -> PlacementError {
        let (most_memory, memory_index, lent) = self.most_memory(asked.0);
        let (most_compute, compute_index, _) = self.most_compute(plans);
        PlacementError::MemoryAndCompute {
            memory: Bytes(asked.0.guarantee),
            compute: asked.1,
            most_memory,
            memory_index,
            most_compute,
            compute_index,
            lent,
        }
    }

    /// Most bytes free, where, and who uses lent memory that would have been enough.
    fn most_memory(&self, memory: MemoryRequest) -> (Bytes, u32, String) {
        let with_lent = |state: &GpuState<'_>| match state.exclusive {
            true => 0,
            false => state.free_memory() + state.lent,
        };
        let best = self
            .large_enough(memory)
            .max_by_key(|state| (state.free_memory(), u32::MAX - state.gpu.index));
        let lending = self
            .large_enough(memory)
            .find(|state| with_lent(state) >= memory.guarantee);
        let Some(state) = lending.or(best) else {
            return (Bytes(0), 0, String::new());
        };
        let mut lent = String::new();
        if lending.is_some() {
            let borrowers = state.holders.iter().filter(|(_, lent)| *lent > 0);
            for (at, (position, bytes)) in borrowers.take(MOST_NAMES).enumerate() {
                let who = self.taken.get(*position).map_or("", |slice| slice.label());
                let lead = if at == 0 {
                    ", where above their guarantee "
                } else {
                    ", "
                };
                // Writing to a String cannot fail.
                let _ = write!(lent, "{lead}{who} uses {}", Bytes(*bytes));
            }
        }
        (Bytes(state.free_memory()), state.gpu.index, lent)
    }

    /// Most compute free, where, and whether slices without a guarantee live there.
    fn most_compute(&self, plans: &mut Plans) -> (Millis, u32, bool) {
        let shares = self.eligible_states().map(|state| {
            (
                state.largest_share(plans.of(&state.gpu.grid)),
                u32::MAX - state.gpu.index,
                state.best_effort,
            )
        });
        let (most, index, best_effort) = shares.max().unwrap_or((Millis(0), u32::MAX, false));
        (most, u32::MAX - index, best_effort)
    }

    /// Who is where: `GPU 0: web, db; GPU 1: train`.
    fn holders(&self) -> String {
        let held = self
            .eligible_states()
            .filter(|state| !state.holders.is_empty())
            .map(|state| {
                let names: Vec<&str> = state
                    .holders
                    .iter()
                    .filter_map(|(at, _)| Some(self.taken.get(*at)?.label()))
                    .take(MOST_NAMES)
                    .collect();
                format!("{}: {}", name(state), names.join(", "))
            });
        let held: Vec<String> = held.take(MOST_NAMES).collect();
        held.join("; ")
    }
}

fn name(state: &GpuState<'_>) -> String {
    format!("GPU {}", state.gpu.index)
}
