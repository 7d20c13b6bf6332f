//! A stand-in for a container runtime: a simulated node, a session of the plugin on it, and the calls that a runtime
//! makes.
#![allow(dead_code, reason = "every user has its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot set up its ground has failed"
)]

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use prost::Message;
use sdg::host::{Host, Places};
use sdg::ledger::record::SliceRecord;
use sdg_agent::nri::messages::{
    ConfigureRequest, ConfigureResponse, Container, ContainerAdjustment, CreateContainerRequest,
    CreateContainerResponse, Event, PLUGIN_SERVICE, PodSandbox, StateChangeEvent, SynchronizeRequest,
    SynchronizeResponse,
};
use sdg_agent::nri::pods::Pods;
use sdg_agent::nri::session::{Identity, Session};
use sdg_agent::nri::trunk::{Connection, Trunk};
use sdg_agent::nri::ttrpc::{Body, Frame, Request, Response, Status};
use sdg_sim::preset::Preset;

#[path = "../../../../tests/support/stand_in.rs"]
mod stand_in;

/// A runtime whose plugin is connected.
pub struct Runtime {
    trunk: Trunk,
    stream: u32,
    /// The machine that the plugin works on.
    pub host: Host,
    directory: tempfile::TempDir,
}

impl Runtime {
    /// On a node of a preset. The plugin has registered and is not configured yet.
    pub fn new(preset: &str) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let path = |name: &str| -> PathBuf { directory.path().join(name) };
        sdg_sim::node::build(&Preset::named(preset).unwrap(), &path("root")).unwrap();
        std::fs::write(path("libsdg.so"), stand_in::library("ioctl")).unwrap();
        std::fs::write(path("config.toml"), format!("shim = {:?}\n", path("libsdg.so"))).unwrap();
        let host = Host::new(&Places {
            sysroot: Some(path("root")),
            state: Some(path("state")),
            config: Some(path("config.toml")),
        })
        .unwrap();
        let (ours, plugin) = UnixStream::pair().unwrap();
        let plugin_host = host.clone();
        std::thread::spawn(move || {
            let identity = Identity {
                name: "sdg".to_owned(),
                index: "10".to_owned(),
            };
            Session::new(Trunk::new(plugin), Pods { host: &plugin_host }).serve(&identity)
        });
        let mut runtime = Self {
            trunk: Trunk::new(ours),
            stream: 1,
            host,
            directory,
        };
        runtime.take_registration();
        runtime
    }

    fn take_registration(&mut self) {
        let (connection, frame) = self.trunk.read().unwrap();
        let Body::Request(request) = frame.body else {
            panic!("no call")
        };
        assert_eq!(connection, Connection::Runtime);
        assert_eq!(request.method, "RegisterPlugin");
        let body = Body::Response(Response::default());
        let stream = frame.stream;
        self.trunk
            .write(Connection::Runtime, &Frame { stream, body })
            .unwrap();
    }

    /// Any call.
    pub fn call(&mut self, method: &str, message: &impl Message) -> Result<Vec<u8>, Status> {
        let call = Frame {
            stream: self.stream,
            body: Body::Request(Request {
                service: PLUGIN_SERVICE.to_owned(),
                method: method.to_owned(),
                payload: message.encode_to_vec(),
            }),
        };
        self.trunk.write(Connection::Plugin, &call).unwrap();
        let (_, answer) = self.trunk.read().unwrap();
        assert_eq!(answer.stream, self.stream, "the answer to another call");
        self.stream += 2;
        match answer.body {
            Body::Response(Response {
                status: Some(status), ..
            }) if status.code != 0 => Err(status),
            Body::Response(response) => Ok(response.payload),
            Body::Request(request) => panic!("{request:?}"),
        }
    }

    /// Configure: the events that the plugin subscribes to.
    pub fn configure(&mut self) -> i32 {
        let request = ConfigureRequest {
            runtime_name: "stand-in".to_owned(),
            runtime_version: "1".to_owned(),
        };
        let answer = self.call("Configure", &request).unwrap();
        ConfigureResponse::decode(answer.as_slice()).unwrap().events
    }

    /// Synchronize, one piece of it: whether the plugin takes more.
    pub fn synchronize(&mut self, pods: Vec<PodSandbox>, containers: Vec<Container>, more: bool) -> bool {
        let request = SynchronizeRequest {
            pods,
            containers,
            more,
        };
        let answer = self.call("Synchronize", &request).unwrap();
        SynchronizeResponse::decode(answer.as_slice()).unwrap().more
    }

    /// StateChange.
    pub fn happened(&mut self, event: Event, pod: &PodSandbox) -> Result<(), Status> {
        let change = StateChangeEvent {
            event: event.into(),
            pod: Some(pod.clone()),
        };
        self.call("StateChange", &change).map(drop)
    }

    /// CreateContainer.
    pub fn create(
        &mut self,
        pod: &PodSandbox,
        container: &Container,
    ) -> Result<Option<ContainerAdjustment>, Status> {
        let request = CreateContainerRequest {
            pod: Some(pod.clone()),
            container: Some(container.clone()),
        };
        let answer = self.call("CreateContainer", &request)?;
        Ok(CreateContainerResponse::decode(answer.as_slice()).unwrap().adjust)
    }

    /// What is in the ledger.
    pub fn slices(&self) -> Vec<SliceRecord> {
        self.host.ledger().records().unwrap()
    }
}

/// A pod with labels. Its first process is this one unless the test says otherwise.
pub fn pod(name: &str, labels: &[(&str, &str)]) -> PodSandbox {
    PodSandbox {
        id: format!("sandbox-of-{name}"),
        name: name.to_owned(),
        namespace: "default".to_owned(),
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        annotations: HashMap::new(),
        pid: std::process::id(),
    }
}

/// A container of a pod.
pub fn container(pod: &PodSandbox, name: &str) -> Container {
    Container {
        id: format!("container-{name}"),
        pod_sandbox_id: pod.id.clone(),
        name: name.to_owned(),
        ..Container::default()
    }
}
