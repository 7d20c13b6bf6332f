//! The dynamic loader's functions that lead past the shim without meaning to: a library that is opened with
//! `RTLD_DEEPBIND` takes libc's `ioctl` before the shim's, and one in a namespace of its own (`dlmopen`) has another libc.
//!
//! The shim stands before them as before `ioctl`. The next function of the name is what it goes on to, and it is found
//! without `dlsym`, which is in a library of its own until glibc 2.34.

use core::ffi::{CStr, c_char, c_int, c_long, c_void};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Source: dlfcn.h, `LM_ID_NEWLM`.
pub const NEW_NAMESPACE: c_long = -1;
/// Source: bits/dlfcn.h, `RTLD_DEEPBIND`.
pub const DEEP_BIND: c_int = 8;
/// Source: bits/dlfcn.h, `RTLD_NOW`.
const NOW: c_int = 2;
/// Source: dlfcn.h, `RTLD_DI_LMID`.
const NAMESPACE_OF: c_int = 1;
/// Source: glibc, sysdeps/generic/ldsodefs.h, `DL_NNS`: namespaces of a process.
const MOST_NAMESPACES: usize = 16;

/// A function of the loader's, looked up when it is first called.
pub struct Next {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

/// The next `dlopen`.
pub static DLOPEN: Next = Next::named(c"dlopen");
/// The next `dlmopen`.
pub static DLMOPEN: Next = Next::named(c"dlmopen");
static DLINFO: Next = Next::named(c"dlinfo");

impl Next {
    const fn named(name: &'static CStr) -> Self {
        Self {
            name,
            address: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// Where it is; null where no library behind the shim has it.
    pub fn address(&self) -> *mut c_void {
        let known = self.address.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        let mut search = Search {
            name: self.name,
            own_path: core::ptr::null(),
            found: core::ptr::null_mut(),
        };
        // SAFETY: the function that the loader calls takes what is given to it here.
        unsafe { dl_iterate_phdr(look, (&raw mut search).cast()) };
        self.address.store(search.found, Ordering::Relaxed);
        search.found
    }
}

#[link(name = "c")]
unsafe extern "C" {
    fn dl_iterate_phdr(
        each: unsafe extern "C" fn(*const Object, usize, *mut c_void) -> c_int,
        data: *mut c_void,
    ) -> c_int;
    fn strcmp(one: *const c_char, other: *const c_char) -> c_int;
}

/// `struct dl_phdr_info`, as much as is used. Source: link.h.
#[repr(C)]
struct Object {
    base: usize,
    path: *const c_char,
    headers: *const ProgramHeader,
    header_count: u16,
}

/// `Elf64_Phdr`. Source: elf.h.
#[repr(C)]
struct ProgramHeader {
    kind: u32,
    flags: u32,
    offset: u64,
    address: usize,
    physical: u64,
    size_in_file: u64,
    size: usize,
    alignment: u64,
}

/// `Elf64_Sym`. Source: elf.h.
#[repr(C)]
struct Symbol {
    name: u32,
    kind: u8,
    other: u8,
    section: u16,
    value: usize,
    size: u64,
}

/// Source: elf.h.
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_STRTAB: usize = 5;
const DT_SYMTAB: usize = 6;
const DT_GNU_HASH: usize = 0x6fff_fef5;

/// A name, looked for behind the shim in the loader's order.
struct Search {
    name: &'static CStr,
    /// The shim's path, once it has come.
    own_path: *const c_char,
    found: *mut c_void,
}

/// # Safety
/// `object` is the loader's, `data` a `Search`.
unsafe extern "C" fn look(object: *const Object, _: usize, data: *mut c_void) -> c_int {
    // SAFETY: the caller's.
    let (object, search) = unsafe { (&*object, &mut *data.cast::<Search>()) };
    if search.own_path.is_null() {
        if object.has(look as *const () as usize) {
            search.own_path = object.path;
        }
        return 0;
    }
    // SAFETY: an object that is loaded, and stays while the loader goes through them.
    match unsafe { object.function(search.name) } {
        Some(address) => {
            search.found = address as *mut c_void;
            1
        }
        None => 0,
    }
}

impl Object {
    fn segments(&self) -> &[ProgramHeader] {
        // SAFETY: the loader's own count of them.
        unsafe { core::slice::from_raw_parts(self.headers, self.header_count.into()) }
    }

    /// Whether an address lies in it.
    fn has(&self, address: usize) -> bool {
        let mut loaded = self.segments().iter().filter(|segment| segment.kind == PT_LOAD);
        loaded.any(|segment| {
            let begin = self.base.wrapping_add(segment.address);
            (begin..begin.saturating_add(segment.size)).contains(&address)
        })
    }

    /// The address of a function that it defines.
    ///
    /// # Safety
    /// It is loaded.
    unsafe fn function(&self, name: &CStr) -> Option<usize> {
        let dynamic = self
            .segments()
            .iter()
            .find(|segment| segment.kind == PT_DYNAMIC)?;
        let mut entry = self.base.wrapping_add(dynamic.address) as *const [usize; 2];
        let (mut names, mut symbols, mut hash) = (0, 0, 0);
        loop {
            // SAFETY: the dynamic section ends with an entry of tag 0.
            let [tag, value] = unsafe { *entry };
            // The loader writes addresses in place of offsets, but not in the kernel's object, which is read-only.
            let at = if value < self.base {
                self.base.wrapping_add(value)
            } else {
                value
            };
            match tag {
                0 => break,
                DT_STRTAB => names = at,
                DT_SYMTAB => symbols = at,
                DT_GNU_HASH => hash = at,
                _ => {}
            }
            entry = entry.wrapping_add(1);
        }
        if names == 0 || symbols == 0 || hash == 0 {
            return None;
        }
        // SAFETY: the object's own tables.
        let symbol = unsafe {
            find(
                hash as *const u32,
                symbols as *const Symbol,
                (names as *const c_char, name),
            )
        }?;
        Some(self.base.wrapping_add(symbol.value))
    }
}

/// Looks a defined symbol up. Source: the description of DT_GNU_HASH in glibc's elf/dl-lookup.c: four words (buckets, first
/// symbol, words of the Bloom filter, its shift), the filter, the buckets, then a word for each symbol whose lowest bit marks
/// the last of a bucket.
///
/// # Safety
/// The tables are of one loaded object.
unsafe fn find<'a>(
    hash: *const u32,
    symbols: *const Symbol,
    (names, name): (*const c_char, &CStr),
) -> Option<&'a Symbol> {
    let wanted = name.to_bytes().iter().fold(5381u32, |sum, byte| {
        sum.wrapping_mul(33).wrapping_add((*byte).into())
    });
    // SAFETY: the table's head, and what it says is behind it.
    unsafe {
        let [buckets, first, filter, _] = *hash.cast::<[u32; 4]>();
        let table = hash.add(4 + filter as usize * 2);
        let mut index = *table.add(wanted.checked_rem(buckets)? as usize);
        let chain = table.add(buckets as usize);
        loop {
            let here = *chain.add(index.checked_sub(first)? as usize);
            let symbol = &*symbols.add(index as usize);
            let is_it = here | 1 == wanted | 1 && symbol.section != 0;
            if is_it && strcmp(names.add(symbol.name as usize), name.as_ptr()) == 0 {
                return Some(symbol);
            }
            if here & 1 == 1 {
                return None;
            }
            index += 1;
        }
    }
}

/// A namespace that was made for a program, with the shim as its first library.
struct Namespace {
    /// The loader's `struct link_map` of the shim there.
    shim: AtomicPtr<Link>,
    /// How many libraries were there when nothing but the shim was.
    empty: AtomicUsize,
}

/// `struct link_map`, as much as is public. Source: link.h.
#[repr(C)]
struct Link {
    base: usize,
    path: *const c_char,
    dynamic: *const c_void,
    next: *const Link,
    previous: *const Link,
}

static NAMESPACES: [Namespace; MOST_NAMESPACES] = [const {
    Namespace {
        shim: AtomicPtr::new(core::ptr::null_mut()),
        empty: AtomicUsize::new(0),
    }
}; MOST_NAMESPACES];

impl Namespace {
    /// How many libraries are there.
    ///
    /// # Safety
    /// The loader's list stands still.
    unsafe fn count(&self) -> usize {
        let mut link = self.shim.load(Ordering::Acquire).cast_const();
        let mut count = 0;
        // SAFETY: the loader's list, which the shim keeps in being.
        while let Some(there) = unsafe { link.as_ref() } {
            count += 1;
            link = there.next;
        }
        count
    }
}

type Dlmopen = unsafe extern "C" fn(c_long, *const c_char, c_int) -> *mut c_void;
type Dlinfo = unsafe extern "C" fn(*mut c_void, c_int, *mut c_void) -> c_int;

/// A namespace for a library that a program wants in a new one: what is loaded there later finds the shim's functions
/// first, since the loader takes a namespace's first library for its program. One that a program has emptied again is
/// given out once more: a process can have sixteen. [`NEW_NAMESPACE`] where there is none; `dlerror` says why.
pub extern "C" fn new_namespace() -> c_long {
    let mut ready = Ready {
        own_path: core::ptr::null(),
        emptied: core::ptr::null_mut(),
    };
    // SAFETY: the function that the loader calls takes what is given to it here.
    unsafe { dl_iterate_phdr(look_around, (&raw mut ready).cast()) };
    let (dlmopen, dlinfo) = (DLMOPEN.address(), DLINFO.address());
    if dlmopen.is_null() || dlinfo.is_null() {
        return NEW_NAMESPACE;
    }
    // SAFETY: functions of these types; a path and a handle of the loader's own.
    unsafe {
        let dlmopen = core::mem::transmute::<*mut c_void, Dlmopen>(dlmopen);
        let dlinfo = core::mem::transmute::<*mut c_void, Dlinfo>(dlinfo);
        let shim = match ready.emptied.is_null() {
            false => ready.emptied,
            true => dlmopen(NEW_NAMESPACE, ready.own_path, NOW).cast::<Link>(),
        };
        let mut namespace = NEW_NAMESPACE;
        if !shim.is_null() && dlinfo(shim.cast(), NAMESPACE_OF, (&raw mut namespace).cast()) == 0 {
            remember(shim);
        }
        namespace
    }
}

/// Notes a namespace in which nothing but the shim is.
fn remember(shim: *mut Link) {
    for namespace in &NAMESPACES {
        let free = core::ptr::null_mut();
        match namespace
            .shim
            .compare_exchange(free, shim, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => {
                // SAFETY: nobody else knows the namespace yet.
                let empty = unsafe { namespace.count() };
                return namespace.empty.store(empty, Ordering::Release);
            }
            Err(there) if there == shim => return,
            Err(_) => {}
        }
    }
}

/// What is there already.
struct Ready {
    own_path: *const c_char,
    /// The shim in a namespace where nothing else is any more.
    emptied: *mut Link,
}

/// # Safety
/// `object` is the loader's, `data` a `Ready`.
unsafe extern "C" fn look_around(object: *const Object, _: usize, data: *mut c_void) -> c_int {
    // SAFETY: the caller's.
    let (object, ready) = unsafe { (&*object, &mut *data.cast::<Ready>()) };
    if !object.has(look as *const () as usize) {
        return 0;
    }
    ready.own_path = object.path;
    // The loader holds the lock of its lists while it calls this.
    let emptied = NAMESPACES.iter().find(|namespace| {
        let empty = namespace.empty.load(Ordering::Acquire);
        // SAFETY: as said.
        empty != 0 && unsafe { namespace.count() } == empty
    });
    ready.emptied = emptied.map_or(core::ptr::null_mut(), |namespace| {
        namespace.shim.load(Ordering::Acquire)
    });
    1
}
