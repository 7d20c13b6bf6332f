//! What a guarded container must ask for: the ioctls that allocate video memory, make queues, or set their masks.
//! The edits put them into the container's seccomp profile, the agent answers them.

use sdg_abi::{drm, kfd};

/// `_IOC_NR` of each. The drivers heed the number alone, and so does the profile.
pub const NUMBERS: [u8; 8] = [
    kfd::nr::CREATE_QUEUE as u8,
    kfd::nr::ALLOC_MEMORY_OF_GPU as u8,
    kfd::nr::SET_CU_MASK as u8,
    kfd::nr::SVM as u8,
    kfd::nr::CRIU_OP as u8,
    drm::nr::AMDGPU_GEM_CREATE as u8,
    drm::nr::AMDGPU_GEM_OP as u8,
    drm::nr::AMDGPU_USERQ as u8,
];

/// The agent's socket in the state directory, where runtimes hand over a container's listener.
pub const SOCKET: &str = "guard.sock";

/// Some bits of an ioctl's number, and the value that they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Which bits are looked at.
    pub mask: u8,
    /// What they are.
    pub value: u8,
}

impl Bits {
    /// Whether a number has these bits.
    pub fn fit(self, number: u8) -> bool {
        number & self.mask == self.value
    }
}

/// All numbers but [`NUMBERS`], as conditions of which one holds: a seccomp rule can ask for bits that are set so, and
/// cannot ask for "none of these".
pub fn others() -> Vec<Bits> {
    let mut found = Vec::new();
    collect(Bits { mask: 0, value: 0 }, 0x80, &mut found);
    found
}

/// Splits a range of numbers by its next bit until no part holds both kinds.
fn collect(bits: Bits, next: u8, found: &mut Vec<Bits>) {
    if !NUMBERS.iter().any(|number| bits.fit(*number)) {
        found.push(bits);
    } else if next != 0 {
        for value in [bits.value, bits.value | next] {
            let half = Bits {
                mask: bits.mask | next,
                value,
            };
            collect(half, next >> 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_guarded_or_one_of_the_others_and_never_both() {
        let others = others();
        for number in 0..=u8::MAX {
            let times = others.iter().filter(|bits| bits.fit(number)).count();
            assert_eq!(times, usize::from(!NUMBERS.contains(&number)), "{number:#x}");
        }
    }
}
