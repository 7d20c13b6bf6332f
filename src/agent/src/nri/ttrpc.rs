//! ttrpc: remote calls over one stream of bytes. Source: github.com/containerd/ttrpc, PROTOCOL.md and request.proto.
//!
//! ```text
//! frame: length of data (4 bytes, big-endian), stream id (4), type (1), flags (1), data: a Request or a Response
//! ```

use prost::Message;

/// Bytes before a frame's data.
const HEADER: usize = 10;
/// Longest data of a frame.
pub const MAX_DATA: usize = 4 << 20;
/// Frame types.
const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
/// gRPC's code for a request that the state of things does not allow.
pub const FAILED_PRECONDITION: i32 = 9;
/// gRPC's code for a method that is not there.
pub const UNIMPLEMENTED: i32 = 12;

/// A call.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Request {
    /// Of which service.
    #[prost(string, tag = "1")]
    pub service: String,
    /// Which method.
    #[prost(string, tag = "2")]
    pub method: String,
    /// The method's message.
    #[prost(bytes = "vec", tag = "3")]
    pub payload: Vec<u8>,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Response {
    /// Absent or code 0: it went well.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// The method's answer.
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}

/// How a call went.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Status {
    /// One of gRPC's codes.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// What a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A call.
    Request(Request),
    /// An answer.
    Response(Response),
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The answer has that of its call.
    pub stream: u32,
    /// What it holds.
    pub body: Body,
}

/// What is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than may be.
    #[error("a ttrpc frame of {0} bytes (at most {MAX_DATA})")]
    TooLong(usize),
    /// Neither a call nor an answer.
    #[error("a ttrpc frame of type {0}, where only calls and answers are spoken")]
    Type(u8),
    /// No such message.
    #[error("a ttrpc frame that cannot be read: {0}")]
    Message(#[from] prost::DecodeError),
}

impl Frame {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, data) = match &self.body {
            Body::Request(request) => (REQUEST, request.encode_to_vec()),
            Body::Response(response) => (RESPONSE, response.encode_to_vec()),
        };
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER + data.len());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&[kind, 0]);
        bytes.extend_from_slice(&data);
        bytes
    }

    /// Takes the first frame off a stream's bytes; none while it is not complete.
    pub fn take(bytes: &mut Vec<u8>) -> Result<Option<Self>, FrameError> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, s0, s1, s2, s3, kind, _flags] = *header;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_DATA {
            return Err(FrameError::TooLong(length));
        }
        let Some(data) = rest.get(..length) else {
            return Ok(None);
        };
        let body = match kind {
            REQUEST => Body::Request(Request::decode(data)?),
            RESPONSE => Body::Response(Response::decode(data)?),
            other => return Err(FrameError::Type(other)),
        };
        bytes.drain(..HEADER + length);
        Ok(Some(Self {
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            body,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame {
            stream: 7,
            body: Body::Request(Request {
                service: "s".to_owned(),
                method: "m".to_owned(),
                payload: vec![1, 2, 3],
            }),
        }
    }

    #[test]
    fn frames_arrive_in_pieces_and_together() {
        let one = frame().encode();
        let mut stream = Vec::new();
        for byte in &one {
            assert_eq!(Frame::take(&mut stream).unwrap(), None);
            stream.push(*byte);
        }
        stream.extend_from_slice(&one);
        assert_eq!(Frame::take(&mut stream).unwrap(), Some(frame()));
        assert_eq!(Frame::take(&mut stream).unwrap(), Some(frame()));
        assert_eq!(Frame::take(&mut stream).unwrap(), None);
        assert!(stream.is_empty());
    }

    #[test]
    fn the_header_is_as_the_protocol_says() {
        let bytes = frame().encode();
        let length = u8::try_from(bytes.len() - HEADER).unwrap();
        assert_eq!(
            bytes.get(..HEADER).unwrap(),
            [0, 0, 0, length, 0, 0, 0, 7, REQUEST, 0]
        );
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let mut long = vec![1, 0, 0, 0, 0, 0, 0, 1, REQUEST, 0];
        assert!(matches!(Frame::take(&mut long), Err(FrameError::TooLong(_))));
        let mut odd = vec![0, 0, 0, 0, 0, 0, 0, 1, 9, 0];
        assert!(matches!(Frame::take(&mut odd), Err(FrameError::Type(9))));
        let mut torn = vec![0, 0, 0, 1, 0, 0, 0, 1, REQUEST, 0, 0xff];
        assert!(matches!(Frame::take(&mut torn), Err(FrameError::Message(_))));
    }
}
