//! Several GPUs for one slice: distinct ones, linked to one another where that can be had.

use super::place::Candidate;
use crate::inventory::Gpu;
use crate::request::SliceRequest;

/// Which GPUs reach one another without the CPU: by XGMI, or as partitions of one card.
pub(super) struct Links {
    /// A row of flags for each GPU.
    together: Vec<Vec<bool>>,
    numa: Vec<Option<u32>>,
    /// The GPUs of a group have to be linked.
    required: bool,
}

impl Links {
    /// Links of an inventory; only looked up where the request needs them.
    pub fn new(gpus: &[Gpu], request: &SliceRequest) -> Self {
        let needed = request.count > 1 || request.group.is_some();
        let gpus = if needed { gpus } else { &[] };
        let last_node = gpus.iter().map(|gpu| gpu.node).max().unwrap_or(0) as usize;
        let row = |gpu: &Gpu| {
            // By node number first: comparing each GPU's list with each other GPU is cubic.
            let mut linked = vec![false; last_node + 1];
            for node in &gpu.linked_nodes {
                if let Some(flag) = linked.get_mut(*node as usize) {
                    *flag = true;
                }
            }
            let reaches = |other: &Gpu| {
                other.node == gpu.node
                    || other.pci == gpu.pci
                    || linked.get(other.node as usize) == Some(&true)
            };
            gpus.iter().map(reaches).collect()
        };
        Self {
            together: gpus.iter().map(row).collect(),
            numa: gpus.iter().map(|gpu| gpu.numa_node).collect(),
            required: request.group.is_some(),
        }
    }

    /// Whether two GPUs are one, or linked both ways.
    pub fn together(&self, a: usize, b: usize) -> bool {
        let flag =
            |from: usize, to: usize| self.together.get(from).and_then(|row| row.get(to)) == Some(&true);
        flag(a, b) && flag(b, a)
    }

    fn same_numa(&self, a: usize, b: usize) -> bool {
        let node = |at: usize| self.numa.get(at).copied().flatten();
        node(a).is_some() && node(a) == node(b)
    }
}

/// How good a set of GPUs is: higher is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Closeness {
    /// Pairs that are linked.
    linked: usize,
    /// GPUs on the first one's NUMA node.
    near: usize,
}

/// The positions of `count` GPUs out of candidates, best first: grown from each candidate in turn by the one that is
/// linked to most of those chosen, is nearest, and ranks best; the closest set wins, among equals the first.
/// Where links are required and cannot be had: how many GPUs are linked at most.
pub(super) fn choose_several(
    candidates: &[Candidate],
    count: usize,
    links: &Links,
) -> Result<Vec<usize>, usize> {
    let all_linked = count * (count - 1) / 2;
    let mut best: Option<(Closeness, Vec<usize>)> = None;
    let mut most_linked = 0;
    for seed in candidates {
        let (chosen, closeness) = grow(seed.at, candidates, count, links);
        if links.required && closeness.linked < all_linked {
            most_linked = most_linked.max(clique(&chosen, links));
            continue;
        }
        let perfect = closeness
            == Closeness {
                linked: all_linked,
                near: count,
            };
        if best.as_ref().is_none_or(|(best, _)| closeness > *best) {
            best = Some((closeness, chosen));
        }
        if perfect || candidates.len() == count {
            break;
        }
    }
    best.map(|(_, chosen)| chosen).ok_or(most_linked)
}

fn grow(seed: usize, candidates: &[Candidate], count: usize, links: &Links) -> (Vec<usize>, Closeness) {
    let mut chosen = vec![seed];
    let mut closeness = Closeness { linked: 0, near: 1 };
    // Links of each candidate to those chosen.
    let mut linked: Vec<usize> = candidates
        .iter()
        .map(|c| usize::from(links.together(c.at, seed)))
        .collect();
    while chosen.len() < count {
        let left = candidates
            .iter()
            .zip(&linked)
            .filter(|(candidate, _)| !chosen.contains(&candidate.at));
        let score = |at: usize, linked: usize| (linked, links.same_numa(at, seed));
        // The first of the best: candidates are sorted.
        let next = left.reduce(|best, other| {
            if score(other.0.at, *other.1) > score(best.0.at, *best.1) {
                other
            } else {
                best
            }
        });
        let Some((next, &next_linked)) = next else { break };
        let at = next.at;
        closeness.linked += next_linked;
        closeness.near += usize::from(links.same_numa(at, seed));
        chosen.push(at);
        for (count, candidate) in linked.iter_mut().zip(candidates) {
            *count += usize::from(links.together(candidate.at, at));
        }
    }
    (chosen, closeness)
}

/// How many of the chosen, from the first on, are linked to all before them.
fn clique(chosen: &[usize], links: &Links) -> usize {
    let mut linked: Vec<usize> = Vec::new();
    for &at in chosen {
        if linked.iter().all(|&other| links.together(at, other)) {
            linked.push(at);
        }
    }
    linked.len()
}
