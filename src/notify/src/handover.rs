//! How a runtime hands a container's listener over: one message on a stream socket, JSON with the descriptor beside it.
//! Source: OCI runtime specification, "Seccomp", `listenerPath` and "The Container Process State".

use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::sys::own;

/// Longest state that is read: annotations are in it.
const MOST: u64 = 1 << 20;

/// Reads what a runtime sends: its listener, and the state of the container. None where the peer sent nothing.
pub fn receive_listener(stream: &mut UnixStream) -> io::Result<Option<(OwnedFd, Vec<u8>)>> {
    let mut state = vec![0; 64 << 10];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 4]);
    let (count, descriptors) = {
        let mut buffers = [IoSliceMut::new(&mut state)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut buffers, Some(&mut space), flags)?;
        let mut descriptors = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = control {
                descriptors.extend(received.into_iter().map(own));
            }
        }
        (message.bytes, descriptors)
    };
    if count == 0 && descriptors.is_empty() {
        return Ok(None);
    }
    state.truncate(count);
    stream.take(MOST).read_to_end(&mut state)?;
    match <[OwnedFd; 1]>::try_from(descriptors) {
        Ok([listener]) => Ok(Some((listener, state))),
        Err(others) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} descriptors instead of one listener", others.len()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{IoSlice, Write};

    use nix::sys::socket::{ControlMessage, sendmsg};

    fn send(descriptors: &[i32]) -> io::Result<Option<(OwnedFd, Vec<u8>)>> {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let rights = [ControlMessage::ScmRights(descriptors)];
        let text = [IoSlice::new(b"{\"pid\":")];
        sendmsg::<()>(one.as_raw_fd(), &text, &rights, MsgFlags::empty(), None).unwrap();
        one.write_all(b"7}").unwrap();
        drop(one);
        receive_listener(&mut other)
    }

    #[test]
    fn one_descriptor_and_all_of_the_state() {
        let file = tempfile::tempfile().unwrap();
        let (_, state) = send(&[file.as_raw_fd()]).unwrap().unwrap();
        assert_eq!(state, b"{\"pid\":7}");
        let two = [file.as_raw_fd(), file.as_raw_fd()];
        assert!(send(&two).unwrap_err().to_string().contains("2 descriptors"));
    }

    #[test]
    fn a_peer_that_only_looked_is_nobody() {
        let (one, mut other) = UnixStream::pair().unwrap();
        drop(one);
        assert!(receive_listener(&mut other).unwrap().is_none());
    }
}
