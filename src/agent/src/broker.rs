//! The broker: places slices for ordinary users, whose engines' hooks have no power over the ledger.
//!
//! ```text
//! connection ─ peer.rs: who is it, by the kernel ─ may he ask? ─ seats.rs: is there a seat? ─→ a thread
//!   line → Ask → verbs.rs, one at a time → Answer → line
//! ```
//!
//! Everybody may connect: the kernel says who it is and which groups he has, and it says so of processes in a user
//! namespace too. A mode of the socket that let one group in alone would take CAP_CHOWN and could not say what is missing.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use sdg::broker::{Answer, Ask, LONGEST_ASK, MessageError, from_line, line, to_line};
use sdg::host::Host;

use self::peer::{Peer, PeerError, group_id};
use self::seats::{Seat, Seats};
use self::verbs::Verbs;
use crate::parts::PartError;
use crate::socket;

mod peer;
mod seats;
mod verbs;

/// As long as engines let a hook run (hooks.d). A hook asks and reads at once where its machine lets it.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest time that the ledger is left to others after a user's turn.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Why nobody can be served.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// This installation.
    #[error(transparent)]
    Host(#[from] sdg::host::HostError),
    /// The group.
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// Why a question was not understood.
#[derive(Debug, thiserror::Error)]
enum HearError {
    #[error("read what was asked: {0}")]
    Stream(#[from] io::Error),
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// Answers for ever.
pub fn run(host: &Host) -> Result<Infallible, PartError> {
    let host = host.clone().with_hooks_beside().map_err(BrokerError::from)?;
    let socket = socket::listen(&host.broker_socket(), 0o666)?;
    let broker = Arc::new(Broker {
        group: group_id(&host.config.broker_group).map_err(BrokerError::from)?,
        seats: Seats::default(),
        next_turn: Mutex::new(Instant::now()),
        verbs: Verbs { host },
    });
    loop {
        match socket.accept() {
            Ok((stream, _)) => admit(&broker, stream),
            Err(error) => {
                tracing::warn!(%error, "broker: no connection");
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

struct Broker {
    /// Whose members may ask.
    group: u32,
    seats: Seats,
    /// When the next question may be answered.
    next_turn: Mutex<Instant>,
    verbs: Verbs,
}

/// Gives a thread to whoever may ask. Others get their answer here, into a buffer that is empty.
fn admit(broker: &Arc<Broker>, mut stream: UnixStream) {
    let seat = match broker.seat(&stream) {
        Ok(seat) => seat,
        Err(answer) => {
            // Who has gone needs no answer.
            let _ = send(&mut stream, &answer);
            return;
        }
    };
    let broker = Arc::clone(broker);
    let body = move || broker.serve(stream, &seat);
    if let Err(error) = thread::Builder::new().name("broker".to_owned()).spawn(body) {
        tracing::error!(%error, "broker: no thread for a user");
    }
}

fn send(stream: &mut UnixStream, answer: &Answer) -> Result<(), HearError> {
    Ok(line::write(stream, &to_line(answer)?, PATIENCE)?)
}

impl Broker {
    /// A seat, or what is answered to who gets none.
    fn seat(&self, stream: &UnixStream) -> Result<Seat, Answer> {
        let peer = Peer::of(stream).and_then(|peer| peer.check_member(self.group).map(|()| peer));
        let peer = peer.map_err(|error| Answer::Refused(error.to_string()))?;
        self.seats.take(peer.user).ok_or(Answer::Busy)
    }

    fn serve(&self, mut stream: UnixStream, seat: &Seat) {
        let answer = match hear(&mut stream) {
            Ok(ask) => self.answer(seat.user(), ask),
            Err(error) => Answer::Refused(error.to_string()),
        };
        let sent = send(&mut stream, &answer);
        if let (Err(error), Answer::Placed { record, .. }) = (sent, &answer) {
            // A slice of which nobody knows makes no container.
            tracing::warn!(slice = record.id, %error, "broker: nobody takes the slice");
            self.verbs.take_back(&record.id);
        }
    }

    /// One after the other, and then as long as it took nobody: users together have the ledger half of the time at most.
    fn answer(&self, user: u32, ask: Ask) -> Answer {
        let mut next_turn = self.next_turn.lock().unwrap_or_else(PoisonError::into_inner);
        thread::sleep(next_turn.saturating_duration_since(Instant::now()));
        let begin = Instant::now();
        let answer = self.verbs.answer(user, ask);
        *next_turn = Instant::now() + begin.elapsed().min(LONGEST_PAUSE);
        answer.unwrap_or_else(|refusal| Answer::Refused(refusal.to_string()))
    }
}

fn hear(stream: &mut UnixStream) -> Result<Ask, HearError> {
    Ok(from_line(&line::read(stream, LONGEST_ASK, PATIENCE)?)?)
}
