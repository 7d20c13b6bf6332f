//! What a container runtime, or whoever has its socket, sends to the NRI plugin.

use std::io::Write;
use std::os::unix::net::UnixStream;

use prost::Message;
use sdg::request::PodRequest;
use sdg_agent::nri::adjust;
use sdg_agent::nri::messages::{CreateContainerRequest, PodSandbox, StateChangeEvent, SynchronizeRequest};
use sdg_agent::nri::trunk::Trunk;
use sdg_agent::nri::ttrpc::{Body, MAX_DATA};

use super::is_one_line;

pub fn run(data: &[u8]) {
    // A socket's buffer takes so much before anybody reads.
    let data = &data[..data.len().min(MAX_DATA.min(64 << 10))];
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    theirs.write_all(data).expect("what a runtime sends");
    drop(theirs);
    let mut trunk = Trunk::new(ours);
    loop {
        match trunk.read() {
            Ok((_, frame)) => match frame.body {
                Body::Request(request) => look(&request.payload),
                Body::Response(response) => look(&response.payload),
            },
            Err(error) => return is_one_line(&error),
        }
    }
}

/// One payload, as each of the messages.
fn look(payload: &[u8]) {
    let pod = |sandbox: &PodSandbox| {
        let pairs = sandbox.labels.iter().chain(&sandbox.annotations);
        if let Err(error) = PodRequest::parse(pairs.map(|(key, value)| (key.as_str(), value.as_str()))) {
            is_one_line(&error);
        }
    };
    if let Ok(message) = CreateContainerRequest::decode(payload) {
        message.pod.iter().for_each(pod);
        message.container.iter().for_each(|container| {
            adjust::slice_of(container);
        });
    }
    if let Ok(message) = SynchronizeRequest::decode(payload) {
        message.pods.iter().for_each(pod);
    }
    if let Ok(message) = StateChangeEvent::decode(payload) {
        message.pod.iter().for_each(pod);
    }
}
