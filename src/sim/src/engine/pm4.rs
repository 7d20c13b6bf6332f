//! PM4: the packets of the GPU's own command processors, in the ring of a compute queue or in an indirect buffer, to which
//! a packet of AQL may lead. Sources: Linux, soc15d.h and nvd.h (`PACKET3_*`), and the same packets as tinygrad makes them.
//!
//! Registers are not simulated: what only sets or flushes something has no effect, a register that is waited for has its
//! value, and one that is copied is 0. Dispatches take their time as in [`super::load`].

use std::io;
use std::time::Instant;

use super::run::{Progress, QueueRun, RunState};
use super::words::{Poll, WORD, joined, ring_words, to_bytes, word_at, words_at};
use super::{Context, gpu_clock};

/// Types of packets, the two highest bits of the header.
const TYPE2: u32 = 2;
const TYPE3: u32 = 3;
/// `PACKET3_*`: operations.
const NOP: u8 = 0x10;
const CLEAR_STATE: u8 = 0x12;
const DISPATCH_DIRECT: u8 = 0x15;
const PRED_EXEC: u8 = 0x23;
const CONTEXT_CONTROL: u8 = 0x28;
const WRITE_DATA: u8 = 0x37;
const WAIT_REG_MEM: u8 = 0x3c;
const INDIRECT_BUFFER: u8 = 0x3f;
const COPY_DATA: u8 = 0x40;
const EVENT_WRITE: u8 = 0x46;
const RELEASE_MEM: u8 = 0x49;
const ACQUIRE_MEM: u8 = 0x58;
const SET_CONFIG_REG: u8 = 0x68;
const SET_SH_REG: u8 = 0x76;
const SET_UCONFIG_REG: u8 = 0x79;
/// A NOP of one word, whose count would say more.
const SHORT_NOP: u32 = 0x3fff;
/// `COMPUTE_NUM_THREAD_X`, from the first register of SET_SH_REG on; Y and Z follow.
const NUM_THREAD: u32 = 0x207;
/// Bit of a dispatch's initiator: the size is given in work-items (`USE_THREAD_DIMENSIONS`).
const IN_ITEMS: u32 = 1 << 5;
/// Bit of INDIRECT_BUFFER's third word: it does not come back.
const CHAIN: u32 = 1 << 20;
/// Sources of COPY_DATA; 1 and 2 are memory.
const IMMEDIATE: u32 = 5;
const CLOCK: u32 = 9;
/// Bit of COPY_DATA's first word: 64 bits.
const WIDE: u32 = 1 << 16;
/// Bit of WRITE_DATA's first word: all to one address.
const SAME_ADDRESS: u32 = 1 << 16;
/// Indirect buffers within one another; the hardware has two.
const DEEPEST: usize = 8;

/// Packets in memory that are still to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    address: u64,
    words: u64,
}

/// What is going on in a queue's indirect buffers, and what its registers say.
#[derive(Debug)]
pub struct Commands {
    spans: Vec<Span>,
    /// Work-items of a workgroup.
    threads: [u32; 3],
}

impl Default for Commands {
    fn default() -> Self {
        Self {
            spans: Vec::new(),
            threads: [1; 3],
        }
    }
}

/// A packet, as far as it has an effect here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Packet {
    Nothing,
    /// The packets of so many words that follow are for no XCC.
    Skip(u64),
    Indirect {
        span: Span,
        comes_back: bool,
    },
    /// Registers, the first by its number.
    Set {
        first: u32,
        values: Vec<u32>,
    },
    Dispatch {
        size: [u32; 3],
        in_items: bool,
    },
    Wait(Poll),
    Release {
        write: Option<(u64, Value)>,
        interrupt: Option<u32>,
    },
    Write {
        to: u64,
        value: Value,
    },
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Bytes(Vec<u8>),
    Clock,
    /// So many bytes from an address.
    Of(u64, usize),
}

/// Words of the packet that begins with `header`.
fn length(header: u32) -> io::Result<u64> {
    let count = header >> 16 & 0x3fff;
    match (header >> 30, header >> 8 & 0xff) {
        (TYPE2, _) => Ok(1),
        (TYPE3, operation) if operation == u32::from(NOP) && count == SHORT_NOP => Ok(1),
        (TYPE3, _) => Ok(u64::from(count) + 2),
        _ => Err(unknown(header)),
    }
}

fn unknown(header: u32) -> io::Error {
    io::Error::other(format!("the PM4 packet {header:#010x} is not simulated"))
}

fn decode(words: &[u32]) -> io::Result<Packet> {
    let (header, body) = words.split_first().ok_or(io::ErrorKind::UnexpectedEof)?;
    let word = |at: usize| body.get(at).copied().unwrap_or(0);
    let address = |at: usize| joined(word(at), word(at + 1)) & !3;
    if header >> 30 != TYPE3 {
        return Ok(Packet::Nothing);
    }
    Ok(match (header >> 8) as u8 {
        NOP | CLEAR_STATE | CONTEXT_CONTROL | EVENT_WRITE | ACQUIRE_MEM | SET_CONFIG_REG
        | SET_UCONFIG_REG => Packet::Nothing,
        PRED_EXEC if word(0) >> 24 == 0 => Packet::Skip(u64::from(word(0) & 0x3fff)),
        PRED_EXEC => Packet::Nothing,
        SET_SH_REG => Packet::Set {
            first: word(0) & 0xffff,
            values: body.get(1..).unwrap_or_default().to_vec(),
        },
        DISPATCH_DIRECT => Packet::Dispatch {
            size: [word(0), word(1), word(2)],
            in_items: word(3) & IN_ITEMS != 0,
        },
        INDIRECT_BUFFER => Packet::Indirect {
            span: Span {
                address: address(0),
                words: u64::from(word(2) & 0xf_ffff),
            },
            comes_back: word(2) & CHAIN == 0,
        },
        // In the space of registers: what is waited for has come.
        WAIT_REG_MEM if word(0) >> 4 & 3 != 1 => Packet::Nothing,
        WAIT_REG_MEM => Packet::Wait(Poll {
            from: address(1),
            function: word(0) & 7,
            value: word(3),
            mask: word(4),
        }),
        RELEASE_MEM => release(body),
        WRITE_DATA if !is_memory(word(0) >> 8 & 0xf) => Packet::Nothing,
        WRITE_DATA => {
            let data = body.get(3..).unwrap_or_default();
            let data = if word(0) & SAME_ADDRESS == 0 {
                data
            } else {
                data.last().map_or(&[][..], std::slice::from_ref)
            };
            Packet::Write {
                to: address(1),
                value: Value::Bytes(to_bytes(data)),
            }
        }
        COPY_DATA if !is_memory(word(0) >> 8 & 0xf) => Packet::Nothing,
        COPY_DATA => {
            let bytes = if word(0) & WIDE == 0 { 4 } else { 8 };
            let value = match word(0) & 0xf {
                1 | 2 => Value::Of(address(1), bytes),
                IMMEDIATE => Value::Bytes(to_bytes(&[word(1), word(2)])[..bytes].to_vec()),
                CLOCK => Value::Clock,
                _ => Value::Bytes(vec![0; bytes]),
            };
            Packet::Write {
                to: address(3),
                value,
            }
        }
        _ => return Err(unknown(*header)),
    })
}

/// Whether a destination is memory: by the second level cache, or past it.
fn is_memory(destination: u32) -> bool {
    destination == 2 || destination == 5
}

/// RELEASE_MEM: event, selection, address, data, id of an event.
fn release(body: &[u32]) -> Packet {
    let word = |at: usize| body.get(at).copied().unwrap_or(0);
    let bytes = to_bytes(&[word(4), word(5)]);
    let value = match word(1) >> 29 {
        0 => None,
        1 => Some(Value::Bytes(bytes[..4].to_vec())),
        2 => Some(Value::Bytes(bytes)),
        _ => Some(Value::Clock),
    };
    let to = joined(word(2), word(3)) & !3;
    let interrupts = matches!(word(1) >> 24 & 7, 1 | 2 | 4);
    Packet::Release {
        write: value.map(|value| (to, value)),
        interrupt: interrupts.then(|| word(6)),
    }
}

impl Commands {
    /// Goes into an indirect buffer by a packet, of which `words` are the beginning; nothing where it is another packet.
    pub fn enter(&mut self, words: &[u32]) {
        if let Ok(Packet::Indirect { span, .. }) = decode(words) {
            self.spans.push(span);
        }
    }

    /// What follows a packet that is done.
    fn follow(&mut self, packet: &Packet) -> io::Result<()> {
        match packet {
            Packet::Indirect { span, comes_back } => {
                if !comes_back {
                    self.spans.pop();
                }
                self.spans.push(*span);
            }
            Packet::Skip(words) => self.advance(*words),
            Packet::Set { first, values } => {
                for (number, value) in (*first..).zip(values) {
                    let place = number.checked_sub(NUM_THREAD).map(|index| index as usize);
                    if let Some(threads) = place.and_then(|index| self.threads.get_mut(index)) {
                        *threads = value & 0xffff;
                    }
                }
            }
            _ => {}
        }
        self.spans.retain(|span| span.words > 0);
        if self.spans.len() > DEEPEST {
            return Err(io::Error::other(format!(
                "more than {DEEPEST} indirect buffers in one another"
            )));
        }
        Ok(())
    }

    fn advance(&mut self, words: u64) {
        if let Some(span) = self.spans.last_mut() {
            span.address += words.min(span.words) * WORD;
            span.words = span.words.saturating_sub(words);
        }
    }

    fn items(&self, size: [u32; 3], in_items: bool) -> u64 {
        let of_group = if in_items { [1; 3] } else { self.threads };
        let product = |sizes: [u32; 3]| {
            sizes
                .into_iter()
                .map(|size| u64::from(size.max(1)))
                .fold(1, u64::saturating_mul)
        };
        product(size).saturating_mul(product(of_group))
    }
}

/// Takes the next packet of the innermost indirect buffer; None where all are through.
pub fn step_buffer(
    context: &Context,
    queue: &QueueRun,
    state: &mut RunState,
) -> io::Result<Option<Progress>> {
    let Some(span) = state.commands.spans.last().copied() else {
        return Ok(None);
    };
    let words = length(word_at(context, span.address)?)?;
    if words > span.words {
        let why = format!(
            "a PM4 packet of {words} words at the last {} of its buffer",
            span.words
        );
        return Err(io::Error::other(why));
    }
    let packet = decode(&words_at(context, span.address, words)?)?;
    let progress = act(context, queue, state, &packet)?;
    if progress == Progress::Done {
        state.commands.advance(words);
        state.commands.follow(&packet)?;
    }
    Ok(Some(progress))
}

/// Takes the next packet of a queue of PM4. Indices are words: of the doorbell from the beginning on, of the read pointer
/// within the ring.
pub fn step(context: &Context, queue: &QueueRun, state: &mut RunState) -> io::Result<Progress> {
    if let Some(progress) = step_buffer(context, queue, state)? {
        return Ok(progress);
    }
    let ring = queue.ring();
    let Some(left) = queue
        .rung()
        .and_then(|end| end.checked_sub(state.read))
        .filter(|left| *left > 0)
    else {
        return Ok(Progress::Idle);
    };
    let start = state.read * WORD;
    let words = length(word_at(context, ring.base + start % ring.size)?)?;
    if words > left {
        return Ok(Progress::Idle);
    }
    let packet = decode(&ring_words(context, &ring, (start, words))?)?;
    let progress = act(context, queue, state, &packet)?;
    if progress == Progress::Done {
        let skipped = match packet {
            Packet::Skip(words) => words,
            _ => 0,
        };
        state.read += words + skipped;
        let index = state.read % (ring.size / WORD);
        context.write(queue.read_pointer, &index.to_le_bytes())?;
        state.commands.follow(&packet)?;
    }
    Ok(progress)
}

/// Does what a packet says; not Done where it is to be looked at again.
fn act(context: &Context, queue: &QueueRun, state: &mut RunState, packet: &Packet) -> io::Result<Progress> {
    match packet {
        Packet::Dispatch { size, in_items } => {
            let now = Instant::now();
            match state.running {
                None => {
                    let items = state.commands.items(*size, *in_items);
                    let end = now + queue.begin_dispatch(items);
                    state.running = Some((end, gpu_clock()));
                    return Ok(Progress::Until(end));
                }
                Some((end, _)) if now < end => return Ok(Progress::Until(end)),
                Some(_) => {
                    queue.load.end();
                    state.running = None;
                }
            }
        }
        Packet::Wait(poll) => {
            if !poll.is_over(context)? {
                return Ok(Progress::Idle);
            }
        }
        Packet::Release { write, interrupt } => {
            if let Some((to, value)) = write {
                context.write(*to, &bytes_of(context, value)?)?;
            }
            if let Some(event) = interrupt {
                context.raise(*event);
            }
        }
        Packet::Write { to, value } => context.write(*to, &bytes_of(context, value)?)?,
        Packet::Nothing | Packet::Skip(_) | Packet::Indirect { .. } | Packet::Set { .. } => {}
    }
    Ok(Progress::Done)
}

fn bytes_of(context: &Context, value: &Value) -> io::Result<Vec<u8>> {
    match value {
        Value::Bytes(bytes) => Ok(bytes.clone()),
        Value::Clock => Ok(gpu_clock().to_le_bytes().to_vec()),
        Value::Of(address, length) => {
            let mut bytes = vec![0; *length];
            context.read_into(*address, &mut bytes)?;
            Ok(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::{Arc, Mutex, RwLock};

    use super::*;
    use crate::device::memory::memory_file;
    use crate::device::space::AddressSpace;
    use crate::engine::Interrupts;
    use crate::engine::load::GpuLoad;
    use crate::engine::run::{Kind, Ring, Work};
    use crate::sys::SharedWords;

    #[derive(Default)]
    struct Raised(Mutex<Vec<u32>>);

    impl Interrupts for Raised {
        fn raise(&self, _: i32, event: u32) {
            self.0.lock().unwrap().push(event);
        }
    }

    /// A queue whose ring, buffers and signals are this process's own memory.
    struct Bench {
        ring: Vec<u32>,
        read_pointer: Box<u64>,
        queue: QueueRun,
        doorbells: Arc<SharedWords>,
        state: RunState,
        context: Context,
        raised: Arc<Raised>,
    }

    fn low_high(address: u64) -> [u32; 2] {
        [address as u32, (address >> 32) as u32]
    }

    fn address<T>(place: &T) -> u64 {
        std::ptr::from_ref(place) as u64
    }

    fn packet(operation: u8, body: &[u32]) -> Vec<u32> {
        let header = TYPE3 << 30 | (body.len() as u32 - 1) << 16 | u32::from(operation) << 8;
        [&[header], body].concat()
    }

    impl Bench {
        fn new() -> Self {
            let pid = std::process::id() as i32;
            let doorbells = Arc::new(SharedWords::map(&memory_file("test", 4096).unwrap(), 0, 4096).unwrap());
            let (ring, read_pointer) = (vec![0; 64], Box::new(0));
            let place = Ring {
                base: address(&ring[0]),
                size: 256,
            };
            let load = Arc::new(GpuLoad::new(8192, 1300));
            let queue = QueueRun::new(
                Kind::Pm4,
                place,
                address(&*read_pointer),
                (Arc::clone(&doorbells), 0),
                load,
            );
            let raised = Arc::new(Raised::default());
            let context = Context {
                pid,
                space: Arc::new(RwLock::new(AddressSpace::new(pid))),
                interrupts: Arc::clone(&raised) as Arc<dyn Interrupts>,
                raised: RefCell::default(),
            };
            Self {
                ring,
                read_pointer,
                queue,
                doorbells,
                state: RunState::default(),
                context,
                raised,
            }
        }

        /// Puts packets into the ring from the word `at` on, and rings.
        fn submit(&mut self, at: usize, words: &[u32]) {
            for (index, word) in words.iter().enumerate() {
                self.ring[(at + index) % 64] = *word;
            }
            self.doorbells.store(0, (at + words.len()) as u64);
        }

        /// Runs until nothing is left, or something waits.
        fn run(&mut self) -> io::Result<()> {
            loop {
                let progress = step(&self.context, &self.queue, &mut self.state)?;
                self.context.interrupt();
                match progress {
                    Progress::Done => {}
                    Progress::Until(end) => {
                        std::thread::sleep(end.saturating_duration_since(Instant::now()));
                    }
                    Progress::Idle => return Ok(()),
                }
            }
        }
    }

    #[test]
    fn a_buffer_s_dispatch_is_done_before_its_signal_is_written() {
        let (awaited, signal) = (Box::new(0u32), Box::new(0u64));
        let wait = |function: u32| {
            let [low, high] = low_high(address(&*awaited));
            packet(WAIT_REG_MEM, &[1 << 4 | function, low, high, 5, 0xff, 4])
        };
        let [low, high] = low_high(address(&*signal));
        let buffer = [
            packet(SET_SH_REG, &[NUM_THREAD, 64, 2, 1]),
            packet(DISPATCH_DIRECT, &[10, 3, 1, 1]),
            // 32 bits, and an interrupt.
            packet(RELEASE_MEM, &[0, 1 << 29 | 2 << 24, low, high, 7, 9, 42]),
        ]
        .concat();
        let mut bench = Bench::new();
        let [low, high] = low_high(address(&buffer[0]));
        let indirect = packet(INDIRECT_BUFFER, &[low, high, buffer.len() as u32 | 1 << 23]);
        bench.submit(0, &[wait(5), indirect, packet(NOP, &[0])].concat());
        bench.run().unwrap();
        assert_eq!(bench.queue.work(), Work::default(), "the word is below 5");
        bench
            .context
            .write(address(&*awaited), &0x105_u32.to_le_bytes())
            .unwrap();
        bench.run().unwrap();
        let work = bench.queue.work();
        assert_eq!((work.dispatches, work.items), (1, 10 * 3 * 64 * 2));
        assert_eq!(bench.context.read_u64(address(&*signal)).unwrap(), 7);
        assert_eq!(*bench.raised.0.lock().unwrap(), [42]);
        assert_eq!(bench.context.read_u64(address(&*bench.read_pointer)).unwrap(), 13);
    }

    #[test]
    fn a_ring_goes_on_at_its_beginning_and_packets_for_no_xcc_are_skipped() {
        let words = Box::new([0u32; 4]);
        let write = |index: usize, value: u32| {
            let [low, high] = low_high(address(&words[index]));
            packet(WRITE_DATA, &[5 << 8, low, high, value])
        };
        let [from_low, from_high] = low_high(address(&words[0]));
        let [to_low, to_high] = low_high(address(&words[2]));
        let mut bench = Bench::new();
        bench.state.read = 60;
        let packets = [
            write(0, 11),
            packet(PRED_EXEC, &[5]),
            write(1, 12),
            packet(COPY_DATA, &[5 << 8 | 2, from_low, from_high, to_low, to_high]),
            vec![0xffff_1000],
            packet(PRED_EXEC, &[1 << 24 | 5]),
            write(3, 14),
        ];
        bench.submit(60, &packets.concat());
        bench.run().unwrap();
        let written = words_at(&bench.context, address(&*words), 4).unwrap();
        assert_eq!(written, [11, 0, 11, 14]);
    }

    #[test]
    fn what_makes_no_sense_stops_the_queue_and_is_named() {
        let fault = |words: &[u32]| {
            let mut bench = Bench::new();
            bench.submit(0, words);
            bench.run().unwrap_err().to_string()
        };
        assert_eq!(
            fault(&packet(0xfe, &[0])),
            "the PM4 packet 0xc000fe00 is not simulated"
        );
        // A buffer that ends within a packet, and one that leads to itself.
        let cut = packet(NOP, &[0, 0]);
        let [low, high] = low_high(address(&cut[0]));
        let why = fault(&packet(INDIRECT_BUFFER, &[low, high, 2]));
        assert_eq!(why, "a PM4 packet of 3 words at the last 2 of its buffer");
        let mut own = vec![0; 5];
        let [low, high] = low_high(address(&own[0]));
        own.splice(..4, packet(INDIRECT_BUFFER, &[low, high, 5]));
        let why = fault(&packet(INDIRECT_BUFFER, &[low, high, 5]));
        assert_eq!(why, "more than 8 indirect buffers in one another");
    }
}
