//! A growing array in memory of its own: the shim must not call the program's allocator.

use crate::sys::{self, Inheritance, Mapping};

/// An array of plain values; all zero is an empty one. A forked child does not get its memory.
pub struct Array<T> {
    start: *mut T,
    length: usize,
    room: usize,
}

// SAFETY: it owns its memory as a `Vec` does.
unsafe impl<T: Send> Send for Array<T> {}

/// Bytes of the first mapping.
const FIRST: usize = 4096;

impl<T: Copy> Array<T> {
    /// An empty array.
    pub const fn new() -> Self {
        Self {
            start: core::ptr::null_mut(),
            length: 0,
            room: 0,
        }
    }

    /// The elements.
    pub fn as_slice(&self) -> &[T] {
        if self.start.is_null() {
            return &[];
        }
        // SAFETY: `length` elements were written from `start` on.
        unsafe { core::slice::from_raw_parts(self.start, self.length) }
    }

    /// The elements, to change.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        if self.start.is_null() {
            return &mut [];
        }
        // SAFETY: `length` elements were written from `start` on, and `self` is borrowed for writing.
        unsafe { core::slice::from_raw_parts_mut(self.start, self.length) }
    }

    /// Makes sure that `more` elements can be added without memory being needed; `false` where there is none.
    pub fn reserve(&mut self, more: usize) -> bool {
        let needed = self.length.saturating_add(more);
        if needed <= self.room {
            return true;
        }
        let bytes = needed
            .saturating_mul(size_of::<T>())
            .max(FIRST)
            .checked_next_power_of_two();
        let Some(bytes) = bytes else { return false };
        let mapped = if self.start.is_null() {
            sys::map(Mapping::Anonymous, bytes, Inheritance::Absent)
        } else {
            // SAFETY: the mapping is this array's own, of the size that it was last given; `start` is replaced below.
            unsafe { sys::remap(self.start.cast(), self.mapped_bytes(), bytes) }
        };
        let Ok(start) = mapped else { return false };
        self.start = start.cast();
        self.room = bytes.checked_div(size_of::<T>()).unwrap_or(0);
        true
    }

    /// Adds an element at `index` (at the end, if `index` is beyond it); `false` where there is no memory.
    pub fn insert(&mut self, index: usize, value: T) -> bool {
        if !self.reserve(1) {
            return false;
        }
        let index = index.min(self.length);
        // SAFETY: there is room for `length + 1` elements, and `index` is not beyond `length`.
        unsafe {
            let place = self.start.add(index);
            core::ptr::copy(place, place.add(1), self.length - index);
            place.write(value);
        }
        self.length += 1;
        true
    }

    /// Adds an element at the end; `false` where there is no memory.
    pub fn push(&mut self, value: T) -> bool {
        self.insert(self.length, value)
    }

    /// Removes the element at `index`, if there is one.
    pub fn remove(&mut self, index: usize) {
        if index >= self.length {
            return;
        }
        // SAFETY: `index` is within the array.
        unsafe {
            let place = self.start.add(index);
            core::ptr::copy(place.add(1), place, self.length - index - 1);
        }
        self.length -= 1;
    }

    /// Fills the array to `length` elements with `value`; `false` where there is no memory.
    pub fn fill_to(&mut self, length: usize, value: T) -> bool {
        if !self.reserve(length.saturating_sub(self.length)) {
            return false;
        }
        while self.length < length {
            // SAFETY: there is room for `length` elements.
            unsafe { self.start.add(self.length).write(value) };
            self.length += 1;
        }
        true
    }

    fn mapped_bytes(&self) -> usize {
        // `room` was rounded down from a power of two that is at least a page.
        self.room
            .saturating_mul(size_of::<T>())
            .checked_next_power_of_two()
            .unwrap_or(0)
    }
}

impl<T> Drop for Array<T> {
    fn drop(&mut self) {
        if !self.start.is_null() {
            let bytes = self
                .room
                .saturating_mul(size_of::<T>())
                .checked_next_power_of_two()
                .unwrap_or(0);
            // SAFETY: the mapping is this array's own and nothing can point into it any more.
            unsafe { sys::unmap(self.start.cast(), bytes) };
        }
    }
}

impl<T: Copy> Default for Array<T> {
    fn default() -> Self {
        Self::new()
    }
}
