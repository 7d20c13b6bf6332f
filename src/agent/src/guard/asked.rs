//! A guarded call → what it asks for. Pure but for the caller's memory, which is read once.

use sdg_abi::kfd::{
    AllocMemory, CreateQueue, Criu, SetCuMask, Svm, SvmAttribute, alloc_flag, criu_op, queue_type, svm,
};
use sdg_abi::limits::MASK_WORDS;
use sdg_abi::{Plain, drm, ioc_nr, ioc_size, kfd};

/// The device that a call goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// `/dev/kfd`.
    Kfd,
    /// The render node of one of the slice's GPUs, by its place in the slice.
    Render(usize),
    /// The render node of another GPU.
    Foreign,
}

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing that is guarded.
    Nothing,
    /// Video memory.
    Vram {
        /// Place in the slice.
        gpu: usize,
        /// Bytes.
        bytes: u64,
    },
    /// A range of the process's own memory is to move to a GPU.
    Range {
        /// Place in the slice.
        gpu: usize,
        /// First byte.
        start: u64,
        /// Behind the last byte.
        end: u64,
    },
    /// A compute queue.
    Queue,
    /// Another mask for a queue.
    Mask {
        /// The queue.
        queue: u32,
        /// Lowest bits first.
        words: Vec<u32>,
    },
    /// What no slice may do.
    Never {
        /// The error that the caller gets.
        errno: i32,
        /// For the log.
        why: &'static str,
    },
}

/// Copies the caller's memory from an address; an error number where it cannot be read.
pub type Memory<'a> = &'a dyn Fn(u64, &mut [u8]) -> Result<(), i32>;

/// What calls are read with.
pub struct Reader<'a> {
    /// gpu_id of each GPU of the slice.
    pub gpu_ids: &'a [u32],
    /// The caller's memory.
    pub memory: Memory<'a>,
}

const fn never(errno: i32, why: &'static str) -> Asked {
    Asked::Never { errno, why }
}

impl Reader<'_> {
    /// What a call asks for; an error number where its arguments cannot be read.
    pub fn read(&self, device: Device, request: u32, address: u64) -> Result<Asked, i32> {
        match (device, ioc_nr(request)) {
            (Device::Foreign, _) => Ok(never(libc::EPERM, "the GPU is not of the slice")),
            (Device::Kfd, kfd::nr::ALLOC_MEMORY_OF_GPU) => Ok(self.alloc(self.argument(request, address)?)),
            (Device::Kfd, kfd::nr::CREATE_QUEUE) => Ok(self.queue(self.argument(request, address)?)),
            (Device::Kfd, kfd::nr::SET_CU_MASK) => self.mask(self.argument(request, address)?),
            (Device::Kfd, kfd::nr::SVM) => self.range(request, address),
            (Device::Kfd, kfd::nr::CRIU_OP) => Ok(checkpoint(self.argument(request, address)?)),
            (Device::Render(gpu), drm::nr::AMDGPU_GEM_CREATE) => {
                Ok(gem(gpu, self.argument(request, address)?))
            }
            (Device::Render(_), drm::nr::AMDGPU_GEM_OP) => Ok(placement(self.argument(request, address)?)),
            (Device::Render(_), drm::nr::AMDGPU_USERQ) => {
                Ok(never(libc::EACCES, "a user queue of the DRM has no mask"))
            }
            _ => Ok(Asked::Nothing),
        }
    }

    /// As many bytes as the request word says; what is missing is zero, as in the kernel.
    fn argument<T: Plain>(&self, request: u32, address: u64) -> Result<T, i32> {
        let mut bytes = vec![0; ioc_size(request).min(size_of::<T>())];
        (self.memory)(address, &mut bytes)?;
        Ok(T::from_prefix(&bytes))
    }

    fn gpu(&self, gpu_id: u32) -> Option<usize> {
        self.gpu_ids.iter().position(|id| *id == gpu_id)
    }

    fn alloc(&self, call: AllocMemory) -> Asked {
        if call.flags & alloc_flag::VRAM == 0 {
            return Asked::Nothing;
        }
        let halves = if call.flags & alloc_flag::AQL_QUEUE_MEM == 0 {
            1
        } else {
            2
        };
        match self.gpu(call.gpu_id) {
            Some(gpu) => Asked::Vram {
                gpu,
                bytes: whole_pages(call.size / halves),
            },
            None => never(libc::EINVAL, "memory of a GPU that is not of the slice"),
        }
    }

    fn queue(&self, call: CreateQueue) -> Asked {
        match call.queue_type {
            queue_type::COMPUTE | queue_type::COMPUTE_AQL if self.gpu(call.gpu_id).is_some() => Asked::Queue,
            queue_type::COMPUTE | queue_type::COMPUTE_AQL => {
                never(libc::EINVAL, "a queue on a GPU that is not of the slice")
            }
            _ => Asked::Nothing,
        }
    }

    fn mask(&self, call: SetCuMask) -> Result<Asked, i32> {
        let count = (call.num_cu_mask as usize).div_ceil(32).min(MASK_WORDS);
        let mut bytes = vec![0; count * size_of::<u32>()];
        (self.memory)(call.cu_mask_ptr, &mut bytes)?;
        let words = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|word| u32::from_ne_bytes(*word))
            .collect();
        Ok(Asked::Mask {
            queue: call.queue_id,
            words,
        })
    }

    /// A range goes to a GPU if any attribute of place names one.
    fn range(&self, request: u32, address: u64) -> Result<Asked, i32> {
        let mut bytes = vec![0; ioc_size(request)];
        (self.memory)(address, &mut bytes)?;
        let head = Svm::from_prefix(&bytes);
        if head.op != svm::OP_SET_ATTR {
            return Ok(Asked::Nothing);
        }
        let attributes = bytes.get(size_of::<Svm>()..).unwrap_or_default();
        let attributes = attributes
            .chunks_exact(size_of::<SvmAttribute>())
            .take(head.nattr as usize);
        let mut gpus = attributes.map(SvmAttribute::from_prefix).filter_map(location);
        Ok(match gpus.next() {
            None => Asked::Nothing,
            Some(gpu_id) => match self.gpu(gpu_id) {
                Some(gpu) => Asked::Range {
                    gpu,
                    start: head.start_addr,
                    end: head.start_addr.saturating_add(head.size),
                },
                None => never(libc::EINVAL, "memory placed on a GPU that is not of the slice"),
            },
        })
    }
}

/// The GPU that an attribute names as a place.
fn location(attribute: SvmAttribute) -> Option<u32> {
    let is_place = matches!(attribute.kind, svm::ATTR_PREFERRED_LOC | svm::ATTR_PREFETCH_LOC);
    let is_gpu = !matches!(attribute.value, svm::LOCATION_SYSMEM | svm::LOCATION_UNDEFINED);
    (is_place && is_gpu).then_some(attribute.value)
}

fn checkpoint(call: Criu) -> Asked {
    if call.op == criu_op::RESTORE {
        never(
            libc::EACCES,
            "a restored checkpoint makes memory and queues unseen",
        )
    } else {
        Asked::Nothing
    }
}

fn gem(gpu: usize, call: drm::GemCreate) -> Asked {
    if call.domains & drm::domain::VRAM == 0 {
        return Asked::Nothing;
    }
    Asked::Vram {
        gpu,
        bytes: whole_pages(call.bo_size),
    }
}

/// How large a buffer is cannot be asked on behalf of its owner.
fn placement(call: drm::GemOp) -> Asked {
    if call.op == drm::gem_op::SET_PLACEMENT && call.value & drm::domain::VRAM != 0 {
        never(libc::EPERM, "a buffer of unknown size placed in video memory")
    } else {
        Asked::Nothing
    }
}

/// What the kernel takes for so many bytes, as the shim counts them.
fn whole_pages(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(4096).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sdg_abi::iowr;

    const GPU: u32 = 4711;

    /// Reads a call whose argument is `bytes` at address 0.
    fn read(device: Device, request: u32, bytes: &[u8]) -> Result<Asked, i32> {
        let memory = |address: u64, buffer: &mut [u8]| {
            let from = address as usize;
            let bytes = bytes.get(from..from + buffer.len()).ok_or(libc::EFAULT)?;
            buffer.copy_from_slice(bytes);
            Ok(())
        };
        let reader = Reader {
            gpu_ids: &[GPU],
            memory: &memory,
        };
        reader.read(device, request, 0)
    }

    fn alloc(flags: u32, gpu_id: u32) -> AllocMemory {
        AllocMemory {
            size: 8192 + 1,
            gpu_id,
            flags,
            ..AllocMemory::zeroed()
        }
    }

    fn kfd(nr: u32, size: usize) -> u32 {
        iowr(kfd::IOCTL_TYPE, nr, size)
    }

    #[test]
    fn video_memory_is_counted_whatever_the_type_byte() {
        let call = alloc(alloc_flag::VRAM, GPU);
        for kind in [b'K', b'T', 0] {
            let request = iowr(kind, kfd::nr::ALLOC_MEMORY_OF_GPU, 40);
            let asked = read(Device::Kfd, request, call.as_bytes());
            assert_eq!(asked, Ok(Asked::Vram { gpu: 0, bytes: 12288 }));
        }
        let request = kfd(kfd::nr::ALLOC_MEMORY_OF_GPU, 40);
        let halved = alloc(alloc_flag::VRAM | alloc_flag::AQL_QUEUE_MEM, GPU);
        assert_eq!(
            read(Device::Kfd, request, halved.as_bytes()),
            Ok(Asked::Vram { gpu: 0, bytes: 4096 })
        );
        let system = alloc(alloc_flag::GTT, GPU);
        assert_eq!(read(Device::Kfd, request, system.as_bytes()), Ok(Asked::Nothing));
        let foreign = read(Device::Kfd, request, alloc(alloc_flag::VRAM, 1).as_bytes());
        assert!(matches!(foreign, Ok(Asked::Never { .. })), "{foreign:?}");
    }

    #[test]
    fn a_shorter_argument_is_filled_with_zeroes_and_an_unreadable_one_is_an_error() {
        let request = kfd(kfd::nr::ALLOC_MEMORY_OF_GPU, 36);
        let call = alloc(alloc_flag::VRAM, GPU);
        assert_eq!(
            read(Device::Kfd, request, call.as_bytes()),
            Ok(Asked::Nothing),
            "the flags are cut off"
        );
        assert_eq!(read(Device::Kfd, request, &[]), Err(libc::EFAULT));
    }

    #[test]
    fn ranges_go_where_any_attribute_says() {
        let range = |attributes: &[(u32, u32)]| {
            let head = Svm {
                start_addr: 0x1000,
                size: 0x2000,
                op: svm::OP_SET_ATTR,
                nattr: attributes.len() as u32,
            };
            let mut bytes = head.as_bytes().to_vec();
            for (kind, value) in attributes.iter().copied() {
                bytes.extend_from_slice(SvmAttribute { kind, value }.as_bytes());
            }
            read(Device::Kfd, kfd(kfd::nr::SVM, bytes.len()), &bytes)
        };
        let placed = Ok(Asked::Range {
            gpu: 0,
            start: 0x1000,
            end: 0x3000,
        });
        assert_eq!(
            range(&[(svm::ATTR_ACCESS, GPU), (svm::ATTR_PREFETCH_LOC, GPU)]),
            placed
        );
        assert_eq!(
            range(&[(svm::ATTR_PREFERRED_LOC, 0), (svm::ATTR_PREFETCH_LOC, GPU)]),
            placed
        );
        assert_eq!(
            range(&[(svm::ATTR_PREFERRED_LOC, 0), (svm::ATTR_ACCESS, GPU)]),
            Ok(Asked::Nothing)
        );
        assert!(matches!(
            range(&[(svm::ATTR_PREFETCH_LOC, 9)]),
            Ok(Asked::Never { .. })
        ));
    }

    #[test]
    fn masks_are_read_to_the_last_word() {
        let call = SetCuMask {
            queue_id: 3,
            num_cu_mask: 64,
            cu_mask_ptr: 16,
        };
        let bytes = [call.as_bytes(), &[0xff; 4], &[1, 0, 0, 0]].concat();
        let asked = read(Device::Kfd, kfd(kfd::nr::SET_CU_MASK, 16), &bytes);
        assert_eq!(
            asked,
            Ok(Asked::Mask {
                queue: 3,
                words: vec![u32::MAX, 1]
            })
        );
    }

    #[test]
    fn render_nodes_have_numbers_of_their_own() {
        let create = drm::GemCreate {
            bo_size: 5,
            domains: drm::domain::VRAM,
            ..drm::GemCreate::zeroed()
        };
        let request = iowr(drm::IOCTL_TYPE, drm::nr::AMDGPU_GEM_CREATE, 32);
        assert_eq!(
            read(Device::Render(2), request, create.as_bytes()),
            Ok(Asked::Vram { gpu: 2, bytes: 4096 })
        );
        assert_eq!(read(Device::Kfd, request, create.as_bytes()), Ok(Asked::Nothing));
        assert!(matches!(
            read(Device::Foreign, request, &[]),
            Ok(Asked::Never {
                errno: libc::EPERM,
                ..
            })
        ));
    }
}
