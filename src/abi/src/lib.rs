//! Layouts shared by the host, the shim and the simulator. No dependencies, no `std`, no decisions.
#![no_std]

pub mod drm;
pub mod kfd;
pub mod limits;
#[cfg(loom)]
pub mod modelled;
pub mod sequence;
pub mod usage;
pub mod words;

/// A structure made of integers only: every byte pattern is a value of it, and it has no padding.
///
/// # Safety
/// The implementor is `repr(C)`, holds integers or arrays of them only, and has no padding bytes.
pub unsafe trait Plain: Copy + Sized {
    /// The structure with every field zero.
    fn zeroed() -> Self {
        // SAFETY: `Plain` says that every byte pattern is valid.
        unsafe { core::mem::zeroed() }
    }

    /// The structure's bytes, for writing to a file or to another process.
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: `Plain` says that there is no padding, so every byte is initialised.
        unsafe { core::slice::from_raw_parts((self as *const Self).cast(), size_of::<Self>()) }
    }

    /// A structure from the bytes a caller gave: what is missing is zero, what is too much is ignored
    /// (the KFD treats an argument of another size in the same way).
    fn from_prefix(bytes: &[u8]) -> Self {
        let mut value = Self::zeroed();
        let count = bytes.len().min(size_of::<Self>());
        // SAFETY: `count` bytes are readable in `bytes` and writable in `value`, which do not overlap.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut value).cast(), count) };
        value
    }
}

/// Declares `repr(C)` structures of the kernel's interface together with their size there.
macro_rules! kernel_structs {
    ($($(#[$meta:meta])* $name:ident = $size:literal { $($(#[$fmeta:meta])* $field:ident: $ty:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }

            const _: () = assert!(size_of::<$name>() == $size);
            const _: () = assert!(0 $(+ size_of::<$ty>())* == $size, "padding");

            // SAFETY: the assertions above show integers without padding; `repr(C)` fixes their order.
            unsafe impl crate::Plain for $name {}
        )*
    };
}
pub(crate) use kernel_structs;

/// The number of an ioctl request (`_IOC_NR`).
pub const fn ioc_nr(request: u32) -> u32 {
    request & 0xff
}

/// The type byte of an ioctl request (`_IOC_TYPE`).
pub const fn ioc_type(request: u32) -> u8 {
    (request >> 8) as u8
}

/// The size in bytes of an ioctl request's argument (`_IOC_SIZE`).
pub const fn ioc_size(request: u32) -> usize {
    ((request >> 16) & 0x3fff) as usize
}

/// An ioctl request word with both directions (`_IOWR`).
pub const fn iowr(kind: u8, nr: u32, size: usize) -> u32 {
    (3 << 30) | ((size as u32) << 16) | ((kind as u32) << 8) | nr
}
