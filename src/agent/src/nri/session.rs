//! One connection to a runtime: we register, then it calls and we answer, until one of us goes.

use prost::Message;
use sdg::one_line::one_line;

use super::messages::{
    ConfigureRequest, ConfigureResponse, Container, CreateContainerRequest, CreateContainerResponse, Event,
    PLUGIN_SERVICE, PodSandbox, RUNTIME_SERVICE, RegisterPluginRequest, StateChangeEvent, SynchronizeRequest,
    SynchronizeResponse,
};
use super::pods::{PodError, Pods};
use super::trunk::{Connection, Trunk, TrunkError};
use super::ttrpc::{Body, FAILED_PRECONDITION, Frame, Request, Response, Status, UNIMPLEMENTED};

/// What we want to hear of.
const EVENTS: [Event; 4] = [
    Event::RunPodSandbox,
    Event::StopPodSandbox,
    Event::RemovePodSandbox,
    Event::CreateContainer,
];

/// By which name a runtime knows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name.
    pub name: String,
    /// Two digits: plugins are called in their order.
    pub index: String,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection.
    #[error(transparent)]
    Trunk(#[from] TrunkError),
    /// The runtime does not want us.
    #[error("the runtime refused the plugin: {0}")]
    Refused(String),
}

/// Why a call fails.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("sdg: {0}")]
    Pod(#[from] PodError),
    #[error("sdg-agent: a message that cannot be read: {0}")]
    Message(#[from] prost::DecodeError),
    #[error("sdg-agent: no method {0}")]
    Unknown(String),
}

impl CallError {
    fn status(&self) -> Status {
        Status {
            code: match self {
                Self::Pod(_) | Self::Message(_) => FAILED_PRECONDITION,
                Self::Unknown(_) => UNIMPLEMENTED,
            },
            message: one_line(&self.to_string()),
        }
    }
}

/// A connection and what has been said on it.
#[derive(Debug)]
pub struct Session<'a> {
    trunk: Trunk,
    pods: Pods<'a>,
    /// What a synchronization in several pieces has brought so far.
    sandboxes: Vec<PodSandbox>,
    containers: Vec<Container>,
    is_configured: bool,
}

impl<'a> Session<'a> {
    /// On a connected socket.
    pub fn new(trunk: Trunk, pods: Pods<'a>) -> Self {
        Self {
            trunk,
            pods,
            sandboxes: Vec::new(),
            containers: Vec::new(),
            is_configured: false,
        }
    }

    /// Whether the runtime took us.
    pub fn is_configured(&self) -> bool {
        self.is_configured
    }

    /// Registers and answers until the connection ends.
    pub fn serve(&mut self, identity: &Identity) -> SessionError {
        match self.register(identity).and_then(|()| self.answer_all()) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn register(&mut self, identity: &Identity) -> Result<(), SessionError> {
        let message = RegisterPluginRequest {
            plugin_name: identity.name.clone(),
            plugin_idx: identity.index.clone(),
        };
        let call = Frame {
            stream: 1,
            body: Body::Request(Request {
                service: RUNTIME_SERVICE.to_owned(),
                method: "RegisterPlugin".to_owned(),
                payload: message.encode_to_vec(),
            }),
        };
        Ok(self.trunk.write(Connection::Runtime, &call)?)
    }

    fn answer_all(&mut self) -> Result<std::convert::Infallible, SessionError> {
        loop {
            let (connection, frame) = self.trunk.read()?;
            match (connection, frame.body) {
                (Connection::Plugin, Body::Request(request)) => {
                    let body = Body::Response(self.answer(&request));
                    let stream = frame.stream;
                    self.trunk.write(Connection::Plugin, &Frame { stream, body })?;
                }
                (Connection::Runtime, Body::Response(response)) => {
                    if let Some(status) = response.status.filter(|status| status.code != 0) {
                        return Err(SessionError::Refused(status.message));
                    }
                }
                // Neither side answers where it called.
                _ => {}
            }
        }
    }

    fn answer(&mut self, request: &Request) -> Response {
        match self.call(request) {
            Ok(payload) => Response {
                status: None,
                payload,
            },
            Err(error) => {
                tracing::warn!(method = request.method, %error, "refused");
                Response {
                    status: Some(error.status()),
                    payload: Vec::new(),
                }
            }
        }
    }

    fn call(&mut self, request: &Request) -> Result<Vec<u8>, CallError> {
        let message = request.payload.as_slice();
        let unknown = || CallError::Unknown(format!("{}/{}", request.service, request.method));
        if request.service != PLUGIN_SERVICE {
            return Err(unknown());
        }
        match request.method.as_str() {
            "Configure" => Ok(self
                .configure(&ConfigureRequest::decode(message)?)
                .encode_to_vec()),
            "Synchronize" => Ok(self
                .synchronize(SynchronizeRequest::decode(message)?)
                .encode_to_vec()),
            "StateChange" => self.state_change(&StateChangeEvent::decode(message)?),
            "CreateContainer" => self.create_container(&CreateContainerRequest::decode(message)?),
            "Shutdown" => Ok(Vec::new()),
            _ => Err(unknown()),
        }
    }

    fn configure(&mut self, request: &ConfigureRequest) -> ConfigureResponse {
        tracing::info!(
            runtime = request.runtime_name,
            version = request.runtime_version,
            "connected"
        );
        self.is_configured = true;
        ConfigureResponse {
            events: EVENTS.into_iter().fold(0, |mask, event| mask | event.bit()),
        }
    }

    /// Whatever is wrong with the ledger, we stay: containers are refused with the reason then. Without us they would start
    /// and have no GPU.
    fn synchronize(&mut self, request: SynchronizeRequest) -> SynchronizeResponse {
        self.sandboxes.extend(request.pods);
        self.containers.extend(request.containers);
        if !request.more {
            let (sandboxes, containers) = (
                std::mem::take(&mut self.sandboxes),
                std::mem::take(&mut self.containers),
            );
            if let Err(error) = self.pods.found(&sandboxes, &containers) {
                tracing::warn!(%error, "slices of pods that are gone are left to the next reap");
            }
        }
        SynchronizeResponse { more: request.more }
    }

    fn state_change(&self, change: &StateChangeEvent) -> Result<Vec<u8>, CallError> {
        let sandbox = change.pod.as_ref().ok_or(PodError::Missing("pod"))?;
        match change.event() {
            Event::RunPodSandbox => self.pods.started(sandbox),
            Event::StopPodSandbox | Event::RemovePodSandbox => self.pods.ended(sandbox),
            Event::CreateContainer | Event::Unknown => {}
        }
        Ok(Vec::new())
    }

    fn create_container(&self, request: &CreateContainerRequest) -> Result<Vec<u8>, CallError> {
        let sandbox = request.pod.as_ref().ok_or(PodError::Missing("pod"))?;
        let container = request.container.as_ref().ok_or(PodError::Missing("container"))?;
        let adjust = self.pods.adjusted(sandbox, container)?;
        Ok(CreateContainerResponse { adjust }.encode_to_vec())
    }
}
