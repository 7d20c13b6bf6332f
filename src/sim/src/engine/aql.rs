//! Compute queues: packets of the Architected Queuing Language. Sources: HSA platform system architecture 1.2,
//! section 2.9; ROCr's `hsa.h`, `amd_hsa_signal.h` and `hsa_ven_amd_aqlprofile`/`hsa_ext_amd.h` for AMD's own packets.
//!
//! Packets complete in the order of the ring. A kernel dispatch runs no code: it takes the time of
//! [`super::load`] and then completes; fills and copies that HIP itself dispatches are done ([`super::blit`]). A packet that leads to PM4
//! packets completes after them ([`super::pm4`]).

use std::io;
use std::time::Instant;

use super::run::{Progress, QueueRun, RunState};
use super::{Context, blit, gpu_clock, pm4};

/// Bytes of a packet.
const PACKET: u64 = 64;
/// Packet types, the low byte of the header.
const VENDOR: u8 = 0;
const INVALID: u8 = 1;
const DISPATCH: u8 = 2;
const BARRIER_AND: u8 = 3;
const BARRIER_OR: u8 = 5;
/// Third byte of a vendor's packet: `AMD_AQL_FORMAT_PM4_IB` and `HSA_AMD_PACKET_TYPE_BARRIER_VALUE`.
const PM4_BUFFER: u8 = 1;
const BARRIER_VALUE: u8 = 2;
/// Offsets of the kernel's descriptor and of its arguments, in a dispatch.
const KERNEL_OBJECT: usize = 32;
const KERNEL_ARGUMENTS: usize = 40;
/// Offset of the completion signal, in every packet.
const COMPLETION: usize = 56;
/// Fields of `amd_signal_t`.
const SIGNAL_VALUE: u64 = 8;
const SIGNAL_MAILBOX: u64 = 16;
const SIGNAL_EVENT: u64 = 24;
const SIGNAL_START: u64 = 32;

/// A packet of the ring.
struct Packet([u8; PACKET as usize]);

impl Packet {
    fn kind(&self) -> u8 {
        self.0[0]
    }

    fn u64(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[at..at + 8]);
        u64::from_le_bytes(bytes)
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    /// The five signals of a barrier, those that are none left out.
    fn dependencies(&self) -> impl Iterator<Item = u64> + '_ {
        (0..5)
            .map(|index| self.u64(8 + 8 * index))
            .filter(|signal| *signal != 0)
    }

    /// Work-items of a dispatch.
    fn items(&self) -> u64 {
        [12, 16, 20]
            .into_iter()
            .map(|at| u64::from(self.u32(at).max(1)))
            .product()
    }
}

/// Takes the next packet of a queue.
pub fn step(context: &Context, queue: &QueueRun, state: &mut RunState) -> io::Result<Progress> {
    if queue.rung().is_none_or(|last| state.read > last) {
        return Ok(Progress::Idle);
    }
    let ring = queue.ring();
    let address = ring.base + state.read * PACKET % ring.size;
    let packet = Packet(context.read(address)?);
    if packet.kind() == VENDOR && packet.0[2] == PM4_BUFFER {
        if !state.entered {
            state.commands.enter(&[4, 8, 12, 16].map(|at| packet.u32(at)));
            state.entered = true;
        }
        if let Some(progress) = pm4::step_buffer(context, queue, state)? {
            return Ok(progress);
        }
        state.entered = false;
    }
    let ready = match packet.kind() {
        INVALID => false,
        BARRIER_AND => all_zero(context, &packet)?,
        BARRIER_OR => any_zero(context, &packet)?,
        VENDOR if packet.0[2] == BARRIER_VALUE => value_reached(context, &packet)?,
        _ => true,
    };
    if !ready {
        return Ok(Progress::Idle);
    }
    let now = gpu_clock();
    let start = match (packet.kind(), state.running) {
        (DISPATCH, None) => {
            let end = Instant::now() + queue.begin_dispatch(packet.items());
            state.running = Some((end, now));
            return Ok(Progress::Until(end));
        }
        (DISPATCH, Some((end, _))) if Instant::now() < end => return Ok(Progress::Until(end)),
        (DISPATCH, Some((_, start))) => {
            queue.load.end();
            state.running = None;
            blit::run(
                context,
                queue,
                (packet.u64(KERNEL_OBJECT), packet.u64(KERNEL_ARGUMENTS)),
            )?;
            start
        }
        _ => now,
    };
    // The processor hands the slot back before it reports completion.
    context.write(address, &u16::from(INVALID).to_le_bytes())?;
    state.read += 1;
    context.write(queue.read_pointer, &state.read.to_le_bytes())?;
    complete(context, packet.u64(COMPLETION), start)?;
    Ok(Progress::Done)
}

fn value(context: &Context, signal: u64) -> io::Result<i64> {
    Ok(context.read_u64(signal + SIGNAL_VALUE)?.cast_signed())
}

fn all_zero(context: &Context, packet: &Packet) -> io::Result<bool> {
    for signal in packet.dependencies() {
        if value(context, signal)? != 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn any_zero(context: &Context, packet: &Packet) -> io::Result<bool> {
    let mut none_given = true;
    for signal in packet.dependencies() {
        none_given = false;
        if value(context, signal)? == 0 {
            return Ok(true);
        }
    }
    Ok(none_given)
}

/// `hsa_amd_barrier_value_packet_t`: signal at 8, value at 16, mask at 24, condition at 32.
fn value_reached(context: &Context, packet: &Packet) -> io::Result<bool> {
    let signal = packet.u64(8);
    if signal == 0 {
        return Ok(true);
    }
    let wanted = packet.u64(16).cast_signed();
    let masked = value(context, signal)? & packet.u64(24).cast_signed();
    Ok(match packet.u32(32) {
        0 => masked == wanted,
        1 => masked != wanted,
        2 => masked < wanted,
        _ => masked >= wanted,
    })
}

/// Writes the times, takes one off the signal's value and sets the event of whoever waits for it.
fn complete(context: &Context, signal: u64, start: u64) -> io::Result<()> {
    if signal == 0 {
        return Ok(());
    }
    let times = [start.to_le_bytes(), gpu_clock().to_le_bytes()].concat();
    context.write(signal + SIGNAL_START, &times)?;
    // Before the value: who sees that may use the signal for something else at once.
    let mailbox = context.read_u64(signal + SIGNAL_MAILBOX)?;
    let event = u32::from_le_bytes(context.read(signal + SIGNAL_EVENT)?);
    let left = value(context, signal)?.wrapping_sub(1);
    context.write(signal + SIGNAL_VALUE, &left.to_le_bytes())?;
    if mailbox != 0 {
        context.write(mailbox, &u64::from(event).to_le_bytes())?;
        context.raise(event);
    }
    Ok(())
}
