//! An ioctl's argument as bytes, with the fields read and written by their offset.

use sdg_abi::Plain;

/// The argument of an ioctl: as the kernel has it, zeroes where the caller's is shorter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args(pub Vec<u8>);

impl Args {
    /// The structure that the argument is.
    pub fn get<T: Plain>(&self) -> T {
        T::from_prefix(&self.0)
    }

    /// Replaces the argument's beginning.
    pub fn set<T: Plain>(&mut self, value: &T) {
        self.set_bytes(0, value.as_bytes());
    }

    /// The 32-bit field at `offset`; 0 outside.
    pub fn u32(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        if let Some(field) = self.0.get(offset..offset + 4) {
            bytes.copy_from_slice(field);
        }
        u32::from_le_bytes(bytes)
    }

    /// The 64-bit field at `offset`; 0 outside.
    pub fn u64(&self, offset: usize) -> u64 {
        u64::from(self.u32(offset)) | u64::from(self.u32(offset + 4)) << 32
    }

    /// Sets the 32-bit field at `offset`; nothing outside.
    pub fn set_u32(&mut self, offset: usize, value: u32) {
        self.set_bytes(offset, &value.to_le_bytes());
    }

    /// Sets the 64-bit field at `offset`; nothing outside.
    pub fn set_u64(&mut self, offset: usize, value: u64) {
        self.set_bytes(offset, &value.to_le_bytes());
    }

    /// Replaces bytes from `offset` on; nothing where they do not fit.
    pub fn set_bytes(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(field) = self.0.get_mut(offset..offset + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }
}
