//! Which device a descriptor is of.

use sdg_abi::drm;
use sdg_abi::kfd::{
    self, AllocMemory, AvailableMemory, CreateQueue, Criu, DestroyQueue, FreeMemory, SetCuMask, Svm,
};
use sdg_abi::{ioc_nr, ioc_size, ioc_type};

use crate::sys;

/// Whether a request is, word for word, one that only the KFD knows. Should the descriptor be of another device after
/// all, that device gets just this request, refuses it, and nothing stays charged: so the descriptor needs no look.
pub fn speaks_to_kfd(request: u32) -> bool {
    let size = ioc_size(request);
    let is_whole = match ioc_nr(request) {
        kfd::nr::CREATE_QUEUE => size == size_of::<CreateQueue>(),
        kfd::nr::DESTROY_QUEUE => size == size_of::<DestroyQueue>(),
        kfd::nr::ALLOC_MEMORY_OF_GPU => size == size_of::<AllocMemory>(),
        kfd::nr::FREE_MEMORY_OF_GPU => size == size_of::<FreeMemory>(),
        kfd::nr::SET_CU_MASK => size == size_of::<SetCuMask>(),
        kfd::nr::SVM => size >= size_of::<Svm>(),
        kfd::nr::CRIU_OP => size == size_of::<Criu>(),
        kfd::nr::AVAILABLE_MEMORY => size == size_of::<AvailableMemory>(),
        _ => false,
    };
    is_whole && ioc_type(request) == kfd::IOCTL_TYPE
}

/// Whether a descriptor is of the KFD, by its device number: the kernel heeds neither its path nor the type byte.
/// `known` is what the host says the number is; it is asked only for a device that may be it.
pub fn is_kfd(fd: i32, known: impl FnOnce() -> Option<(u32, u32)>) -> bool {
    // The KFD has a major number of its own and only the minor number 0.
    let Some(device @ (_, 0)) = sys::fstat(fd).and_then(|stat| stat.device) else {
        return false;
    };
    known().or_else(|| sys::stat(c"/dev/kfd")?.device) == Some(device)
}

/// The minor number of a render node's descriptor.
pub fn render_minor(fd: i32) -> Option<u32> {
    let (major, minor) = sys::fstat(fd)?.device?;
    (major == drm::MAJOR && minor >= drm::FIRST_RENDER_MINOR).then_some(minor)
}
