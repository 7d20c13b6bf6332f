//! A hook's side: one question, one answer.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::broker::{Answer, Ask, LONGEST_ANSWER, MessageError, from_line, line, to_line};
use crate::config::DEFAULT_PATH;
use crate::host::Host;
use crate::ledger::record::SliceRecord;
use crate::ledger::store::LedgerError;

/// Longer than the broker waits for the ledger, and both together shorter than an engine waits for the hook: a reason is told.
const BEYOND_LOCK: Duration = Duration::from_secs(3);
/// Before a broker is asked again that was busy.
const PAUSE: Duration = Duration::from_millis(50);

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Nobody is there.
    #[error(
        "no broker answers on {}: {source} (`broker = true` in {DEFAULT_PATH} lets sdg-agent place slices for members of \
         broker_group)",
        socket.display()
    )]
    Absent {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The socket.
    #[error("{operation} the broker of sdg-agent: {source}")]
    Stream {
        /// Which.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
    /// What it says.
    #[error("the broker of sdg-agent: {0}")]
    Message(#[from] MessageError),
    /// Something else than was asked.
    #[error("the broker of sdg-agent answered something else than was asked")]
    Other,
    /// No.
    #[error("{0}")]
    Refused(String),
}

impl BrokerError {
    /// Whether it is an answer, though no good one: then somebody is there.
    pub fn is_from_the_broker(&self) -> bool {
        matches!(self, Self::Message(_) | Self::Other | Self::Refused(_))
    }
}

/// Asks the broker, again as long as it is busy. A refusal is an error.
pub fn ask(host: &Host, ask: &Ask) -> Result<Answer, BrokerError> {
    let patience = host.config.lock_timeout() + BEYOND_LOCK;
    let end = Instant::now() + patience;
    let question = to_line(ask)?;
    loop {
        match ask_once(host, &question, patience)? {
            Answer::Busy if Instant::now() < end => sleep(PAUSE),
            Answer::Busy => return Err(BrokerError::Refused("the broker of sdg-agent is busy".to_owned())),
            Answer::Refused(reason) => return Err(BrokerError::Refused(reason)),
            answer => return Ok(answer),
        }
    }
}

/// The slices that this user may see: all, or by the broker his own.
pub fn visible_records(host: &Host) -> Result<Vec<SliceRecord>, LedgerError> {
    match host.ledger().records() {
        Err(LedgerError::File(error)) if error.is_forbidden() => match ask(host, &Ask::List) {
            Ok(Answer::Slices(records)) => Ok(records),
            _ => Err(error.into()),
        },
        records => records,
    }
}

fn ask_once(host: &Host, question: &[u8], patience: Duration) -> Result<Answer, BrokerError> {
    let socket = host.broker_socket();
    let mut stream = match UnixStream::connect(&socket) {
        Ok(stream) => stream,
        Err(source) => return Err(BrokerError::Absent { socket, source }),
    };
    let failed = |operation| move |source| BrokerError::Stream { operation, source };
    match line::write(&mut stream, question, patience) {
        // Whoever is refused as a person is not listened to.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.map_err(failed("write to"))?,
    }
    let answer = line::read(&mut stream, LONGEST_ANSWER, patience).map_err(failed("read from"))?;
    Ok(from_line(&answer)?)
}
