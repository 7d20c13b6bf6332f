//! One socket that carries two connections: on one the runtime calls us, on the other we call the runtime. Source:
//! github.com/containerd/nri, pkg/net/multiplex.
//!
//! ```text
//! piece: connection id (4 bytes, big-endian), length (4), bytes; a frame of ttrpc may be in several pieces
//! ```

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use super::ttrpc::{Frame, FrameError, MAX_DATA};

/// Longest piece that is written. A runtime in Go reads through a buffer of 4096 bytes and takes a longer piece for an
/// error (bufio's default size; seen with NRI 0.6 to 0.9).
const PIECE: usize = 4096;

/// Which of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// The runtime calls us.
    Plugin = 1,
    /// We call the runtime.
    Runtime = 2,
}

/// Why a connection came to an end.
#[derive(Debug, thiserror::Error)]
pub enum TrunkError {
    /// The other side closed it.
    #[error("the other side closed the connection")]
    Closed,
    /// It broke.
    #[error("{operation} the runtime's socket: {source}")]
    Socket {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// No frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A piece longer than any frame.
    #[error("a piece of {0} bytes, longer than any message")]
    TooLong(usize),
}

/// The socket.
#[derive(Debug)]
pub struct Trunk {
    socket: UnixStream,
    /// What came on each connection and is not read yet.
    plugin: Vec<u8>,
    runtime: Vec<u8>,
}

impl Trunk {
    /// On a connected socket.
    pub fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            plugin: Vec::new(),
            runtime: Vec::new(),
        }
    }

    /// The next frame, of whichever connection.
    pub fn read(&mut self) -> Result<(Connection, Frame), TrunkError> {
        loop {
            if let Some(frame) = Frame::take(&mut self.plugin)? {
                return Ok((Connection::Plugin, frame));
            }
            if let Some(frame) = Frame::take(&mut self.runtime)? {
                return Ok((Connection::Runtime, frame));
            }
            self.read_piece()?;
        }
    }

    fn read_piece(&mut self) -> Result<(), TrunkError> {
        let mut header = [0; 8];
        self.fill(&mut header)?;
        let [c0, c1, c2, c3, l0, l1, l2, l3] = header;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        // The longest frame has its header too.
        if length > MAX_DATA + PIECE {
            return Err(TrunkError::TooLong(length));
        }
        let mut piece = vec![0; length];
        self.fill(&mut piece)?;
        match u32::from_be_bytes([c0, c1, c2, c3]) {
            1 => self.plugin.extend_from_slice(&piece),
            2 => self.runtime.extend_from_slice(&piece),
            // A connection that later versions may have.
            _ => {}
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), TrunkError> {
        self.socket
            .read_exact(buffer)
            .map_err(|source| match source.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => TrunkError::Closed,
                _ => TrunkError::Socket {
                    operation: "read",
                    source,
                },
            })
    }

    /// Sends a frame.
    pub fn write(&mut self, connection: Connection, frame: &Frame) -> Result<(), TrunkError> {
        let frame = frame.encode();
        let mut bytes = Vec::with_capacity(frame.len() + 64);
        for piece in frame.chunks(PIECE) {
            bytes.extend_from_slice(&(connection as u32).to_be_bytes());
            bytes.extend_from_slice(&u32::try_from(piece.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(piece);
        }
        self.socket
            .write_all(&bytes)
            .map_err(|source| TrunkError::Socket {
                operation: "write to",
                source,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::super::ttrpc::{Body, Response};
    use super::*;

    fn frame(stream: u32, length: usize) -> Frame {
        Frame {
            stream,
            body: Body::Response(Response {
                status: None,
                payload: vec![b'x'; length],
            }),
        }
    }

    #[test]
    fn long_frames_go_in_pieces_and_arrive_whole() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (Trunk::new(one), Trunk::new(other));
        let (long, short) = (frame(3, 3 * PIECE), frame(1, 5));
        one.write(Connection::Plugin, &long).unwrap();
        one.write(Connection::Runtime, &short).unwrap();
        assert_eq!(other.read().unwrap(), (Connection::Plugin, long));
        assert_eq!(other.read().unwrap(), (Connection::Runtime, short));
        drop(one);
        assert!(matches!(other.read(), Err(TrunkError::Closed)));
    }

    #[test]
    fn no_piece_is_longer_than_the_other_sides_buffer() {
        let (one, mut other) = UnixStream::pair().unwrap();
        Trunk::new(one)
            .write(Connection::Plugin, &frame(3, 2 * PIECE))
            .unwrap();
        let mut bytes = Vec::new();
        other.read_to_end(&mut bytes).unwrap();
        let mut rest = bytes.as_slice();
        let mut lengths = Vec::new();
        while let Some((header, after)) = rest.split_first_chunk::<8>() {
            let [.., l2, l3] = *header;
            let length = usize::from(u16::from_be_bytes([l2, l3]));
            lengths.push(length);
            rest = after.get(length..).unwrap();
        }
        assert_eq!(lengths.len(), 3);
        assert!(lengths.iter().all(|length| *length <= PIECE), "{lengths:?}");
    }
}
