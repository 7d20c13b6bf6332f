//! What a program's environment says of the slice: `ROC_GLOBAL_CU_MASK`, by which HIP reports the slice's compute units
//! and not the GPU's. Each program is told when it starts, so one that an engine executes in a running container is as
//! well, one whose environment was emptied, and one that starts after a resize.
//!
//! It informs and holds nothing: a queue's mask is set whatever the environment says.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};

use sdg_abi::limits::MASK_WORDS;

use crate::mask::{self, Mask};
use crate::pages::Glance;
use crate::sys::{self, Inheritance, Mapping};

/// The variable and what is before its value. A person writes `0x`; HIP takes both (rocdevice.cpp, `getGlobalCUMask`). So
/// what a parent was told is known from what somebody wished, and changes with the slice.
const NAME: &[u8] = b"ROC_GLOBAL_CU_MASK=";
const OURS: &[u8] = b"0X";
const DIGITS: usize = MASK_WORDS * 8;
const LONGEST: usize = NAME.len() + OURS.len() + DIGITS + 1;

/// A variable as it stands in the environment, with the zero byte at its end.
struct Text {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Text {
    fn of(mask: &Mask) -> Self {
        let mut text = Self {
            bytes: [0; LONGEST],
            length: 0,
        };
        text.put(NAME);
        text.put(OURS);
        // HIP cuts what is longer than the GPU has units: no zeros in front.
        let digits = (0..DIGITS).rev().map(|digit| {
            let word = mask.words.get(digit / 8).copied().unwrap_or(0);
            word >> (digit % 8 * 4) & 0xf
        });
        for digit in digits.skip_while(|digit| *digit == 0) {
            text.put(&[char::from_digit(digit, 16).map_or(b'0', |digit| digit as u8)]);
        }
        text.put(b"\0");
        text
    }

    fn put(&mut self, part: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.length).zip(part) {
            *to = *from;
            self.length += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The mask to tell of: HIP has one for all GPUs and counts its bits, so it is told where all GPUs of the slice have
/// equally many units. None for whole GPUs.
fn told(mut page: Glance) -> Option<Mask> {
    let first = page.next()?;
    let is_same = first.count() > 0 && page.all(|mask| mask.count() == first.count());
    (is_same && page.is_settled()).then_some(first)
}

/// Whether a value is somebody's own wish for fewer units than the slice has, which stays.
fn is_wish(value: &[u8], slice: &Mask) -> bool {
    !value.starts_with(OURS)
        && mask::parse_global(value).is_some_and(|wish| {
            let mut words = wish.words.iter().zip(slice.words);
            wish.count() > 0 && words.all(|(wished, had)| wished & !had == 0)
        })
}

/// Room for the variable, as long as the process lives.
struct Room(UnsafeCell<[u8; LONGEST]>);

// SAFETY: written by the loader's thread before the program begins, and never again.
unsafe impl Sync for Room {}

static ROOM: Room = Room(UnsafeCell::new([0; LONGEST]));

#[link(name = "c")]
unsafe extern "C" {
    static mut environ: *mut *const c_char;
    fn strlen(text: *const c_char) -> usize;
}

/// Tells the program of the slice that the page is of. To be called once, before the program begins; without a page,
/// and while the host changes it, nothing is told, and the first call of a GPU says why.
pub fn tell(page: &'static CStr) {
    if let Some(mask) = Glance::open(page).and_then(told) {
        // SAFETY: the program has not begun: nobody else reads or writes the environment.
        unsafe { put(&mask) };
    }
}

/// Puts the variable into the environment, in libc's form: pointers to texts, a null pointer at the end. The program's
/// allocator is not asked, which may be the program's own and not begun yet.
///
/// # Safety
/// `environ` is libc's, and nobody else uses it meanwhile.
unsafe fn put(mask: &Mask) {
    let text = Text::of(mask);
    // SAFETY: the caller's.
    let list = unsafe { environ };
    let mut count = 0;
    while !list.is_null() {
        // SAFETY: an entry, or the null pointer at the end.
        let entry = unsafe { *list.add(count) };
        if entry.is_null() {
            break;
        }
        // SAFETY: a text of libc's, with a zero byte at its end.
        let there = unsafe { core::slice::from_raw_parts(entry.cast::<u8>(), strlen(entry) + 1) };
        if let Some(value) = there.strip_prefix(NAME) {
            let value = value.split_last().map_or(value, |(_, value)| value);
            if there != text.as_bytes() && !is_wish(value, mask) {
                // SAFETY: the entry just read; libc's list can be written.
                unsafe { *list.add(count) = keep(&text) };
            }
            return;
        }
        count += 1;
    }
    // SAFETY: as above.
    unsafe { append(list, count, keep(&text)) };
}

/// # Safety
/// Nobody has read or written the room yet.
unsafe fn keep(text: &Text) -> *const c_char {
    let room = ROOM.0.get();
    // SAFETY: the caller's.
    unsafe { *room = text.bytes };
    room.cast::<c_char>()
}

/// Makes a list that is longer by one; libc takes any (`putenv` and `setenv` copy one that is not theirs).
///
/// # Safety
/// `list` has `count` entries; nobody else uses the environment.
unsafe fn append(list: *mut *const c_char, count: usize, entry: *const c_char) {
    let size = (count + 2) * size_of::<*const c_char>();
    let Ok(longer) = sys::map(Mapping::Anonymous, size, Inheritance::Same) else {
        return; // Then the program reports more units than it has.
    };
    let longer = longer.cast::<*const c_char>();
    // SAFETY: the new mapping has room for the entries, one more, and the null pointer, which is there: it is zeroed.
    unsafe {
        if count > 0 {
            core::ptr::copy_nonoverlapping(list.cast_const(), longer, count);
        }
        longer.add(count).write(entry);
        environ = longer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(words: &[u32]) -> Mask {
        Mask::new(words.len() as u32 * 32, words)
    }

    fn text(words: &[u32]) -> String {
        String::from_utf8(Text::of(&mask(words)).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn a_mask_is_one_number_without_zeros_in_front() {
        assert_eq!(text(&[0xffff_ffff, 0xf, 0]), "ROC_GLOBAL_CU_MASK=0Xfffffffff\0");
        assert_eq!(text(&[0xff00]), "ROC_GLOBAL_CU_MASK=0Xff00\0");
        assert_eq!(text(&[u32::MAX; MASK_WORDS]).len(), LONGEST);
    }

    #[test]
    fn what_is_told_is_read_as_the_slices_mask() {
        let slice = mask(&[0x00ff_ff00, 7]);
        let text = text(&slice.words[..2]);
        let value = text.trim_end_matches('\0').split_once('=').unwrap().1;
        assert_eq!(mask::parse_global(value.as_bytes()).unwrap().words, slice.words);
        assert!(!is_wish(value.as_bytes(), &slice), "a parent's, not a person's");
    }

    #[test]
    fn a_persons_mask_stays_within_the_slice_and_no_further() {
        let slice = mask(&[0xffff_ffff, 0xff]);
        for (value, stays) in [
            ("0xff", true),
            ("ff", true),
            ("0xffffffffff", true),
            ("0x1ffffffffff", false),
            ("0x0", false),
            ("", false),
            ("all", false),
            ("0Xff", false),
        ] {
            assert_eq!(is_wish(value.as_bytes(), &slice), stays, "{value}");
        }
    }
}
