//! The only unsafe of the agent: the calls of libamd_smi.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use amdsmi_sys::{AMDSMI_MAX_STRING_LENGTH, amdsmi_engine_usage_t, amdsmi_init_flags_t, amdsmi_power_info_t};
use libloading::Library as Opened;

use super::AmdSmiError;

/// Names of the library under which the layouts are those of the crate: of ROCm 7, and of Debian's packages of it.
const NAMES: [&str; 2] = ["libamd_smi.so.27", "libamd_smi.so.26"];
/// Source: amdsmi.h, `AMDSMI_TEMP_CURRENT`.
const CURRENT: u32 = 0;
/// Source: amdsmi.h, `AMDSMI_STATUS_SUCCESS`.
const SUCCESS: u32 = 0;

/// What the library knows a processor by.
pub type Handle = *mut c_void;
/// What the library knows a card by.
pub type Socket = *mut c_void;

type Shut = unsafe extern "C" fn() -> u32;
type Sockets = unsafe extern "C" fn(*mut u32, *mut Socket) -> u32;
type Name = unsafe extern "C" fn(Socket, usize, *mut c_char) -> u32;
type Processors = unsafe extern "C" fn(Socket, *mut u32, *mut Handle) -> u32;
type Activity = unsafe extern "C" fn(Handle, *mut amdsmi_engine_usage_t) -> u32;
type Power = unsafe extern "C" fn(Handle, *mut amdsmi_power_info_t) -> u32;
type Temperature = unsafe extern "C" fn(Handle, u32, u32, *mut i64) -> u32;

/// The library, opened and initialised. Its functions are called by one thread.
#[derive(Debug)]
pub struct Library {
    shut: Shut,
    sockets: Sockets,
    name: Name,
    processors: Processors,
    activity: Activity,
    power: Power,
    temperature: Temperature,
    /// What the functions are in; closed last.
    _opened: Opened,
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: the library is open and initialised, and no call of it is under way.
        let _ = unsafe { (self.shut)() };
    }
}

impl Library {
    /// Opens the first of the names that is there, and lets it find the GPUs.
    pub fn open() -> Result<Self, AmdSmiError> {
        let opened = open_first()?;
        // SAFETY: the signatures are those of amdsmi.h; a C enum is a u32 there. The pointers are used no longer than
        // `_opened` lives.
        let (init, library) = unsafe {
            let init = *opened.get::<unsafe extern "C" fn(u64) -> u32>(b"amdsmi_init\0")?;
            let library = Self {
                shut: *opened.get(b"amdsmi_shut_down\0")?,
                sockets: *opened.get(b"amdsmi_get_socket_handles\0")?,
                name: *opened.get(b"amdsmi_get_socket_info\0")?,
                processors: *opened.get(b"amdsmi_get_processor_handles\0")?,
                activity: *opened.get(b"amdsmi_get_gpu_activity\0")?,
                power: *opened.get(b"amdsmi_get_power_info\0")?,
                temperature: *opened.get(b"amdsmi_get_temp_metric\0")?,
                _opened: opened,
            };
            (init, library)
        };
        let gpus = amdsmi_init_flags_t::AMDSMI_INIT_AMD_GPUS as u64;
        // SAFETY: the library is open.
        check("amdsmi_init", unsafe { init(gpus) })?;
        Ok(library)
    }

    /// The cards.
    pub fn sockets(&self) -> Result<Vec<Socket>, AmdSmiError> {
        two_calls("amdsmi_get_socket_handles", |count, handles| {
            // SAFETY: `handles` is null or has room for `count`.
            unsafe { (self.sockets)(count, handles) }
        })
    }

    /// The processors of a card, of [`Self::sockets`].
    pub fn processors(&self, socket: Socket) -> Result<Vec<Handle>, AmdSmiError> {
        two_calls("amdsmi_get_processor_handles", |count, handles| {
            // SAFETY: `socket` is the library's; `handles` is null or has room for `count`.
            unsafe { (self.processors)(socket, count, handles) }
        })
    }

    /// A card's name, of [`Self::sockets`].
    pub fn name(&self, socket: Socket) -> Result<String, AmdSmiError> {
        let mut name = [0; AMDSMI_MAX_STRING_LENGTH as usize + 1];
        let length = name.len() - 1;
        // SAFETY: `socket` is the library's; `name` has room for `length` and an end.
        check("amdsmi_get_socket_info", unsafe {
            (self.name)(socket, length, name.as_mut_ptr())
        })?;
        // SAFETY: the last byte is 0: the library was told of one less.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) };
        Ok(name.to_string_lossy().into_owned())
    }

    /// Percent of the time that a processor was busy.
    pub fn busy_percent(&self, handle: Handle) -> Option<u32> {
        // SAFETY: the structure is plain numbers.
        let mut usage: amdsmi_engine_usage_t = unsafe { std::mem::zeroed() };
        // SAFETY: `handle` is the library's; `usage` is as large as it writes.
        let status = unsafe { (self.activity)(handle, &raw mut usage) };
        (status == SUCCESS).then_some(usage.gfx_activity)
    }

    /// Watts: of now, and on the average. A board says one of them.
    pub fn power(&self, handle: Handle) -> Option<[u32; 2]> {
        // SAFETY: the structure is plain numbers.
        let mut power: amdsmi_power_info_t = unsafe { std::mem::zeroed() };
        // SAFETY: `handle` is the library's; `power` is as large as it writes.
        let status = unsafe { (self.power)(handle, &raw mut power) };
        (status == SUCCESS).then_some([power.current_socket_power, power.average_socket_power])
    }

    /// Degrees Celsius at a sensor.
    pub fn temperature(&self, handle: Handle, sensor: u32) -> Option<i64> {
        let mut degrees = 0;
        // SAFETY: `handle` is the library's.
        let status = unsafe { (self.temperature)(handle, sensor, CURRENT, &raw mut degrees) };
        (status == SUCCESS).then_some(degrees)
    }
}

fn open_first() -> Result<Opened, AmdSmiError> {
    let [first, second] = NAMES;
    // SAFETY: what the library does when it is loaded is what every program does to it that is linked with it; the
    // names are looked for in the system's own directories.
    let opened = unsafe { Opened::new(first).or_else(|_| Opened::new(second)) };
    Ok(opened?)
}

/// How many there are, then all.
fn two_calls(
    call: &'static str,
    ask: impl Fn(*mut u32, *mut *mut c_void) -> u32,
) -> Result<Vec<*mut c_void>, AmdSmiError> {
    let mut count = 0;
    check(call, ask(&raw mut count, ptr::null_mut()))?;
    let mut handles = vec![ptr::null_mut(); count as usize];
    check(call, ask(&raw mut count, handles.as_mut_ptr()))?;
    handles.truncate(count as usize);
    handles.retain(|handle| !handle.is_null());
    Ok(handles)
}

fn check(call: &'static str, status: u32) -> Result<(), AmdSmiError> {
    if status == SUCCESS {
        Ok(())
    } else {
        Err(AmdSmiError::Status { call, status })
    }
}
