//! The messages of the Node Resource Interface that we use, with their fields' numbers; what else a runtime sends is
//! passed over. Source: github.com/containerd/nri, pkg/api/api.proto (package nri.pkg.api.v1alpha1), which containerd
//! 1.7 and 2.x and CRI-O speak.

use std::collections::HashMap;

use prost::Message;

/// The service that a runtime calls on us.
pub const PLUGIN_SERVICE: &str = "nri.pkg.api.v1alpha1.Plugin";
/// The service that we call on a runtime.
pub const RUNTIME_SERVICE: &str = "nri.pkg.api.v1alpha1.Runtime";

/// What happens to pods and containers. Subscribed to by a mask with bit `event - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Event {
    /// None.
    Unknown = 0,
    /// A pod's sandbox has been made and starts.
    RunPodSandbox = 1,
    /// A pod's containers are stopped, its sandbox is about to be.
    StopPodSandbox = 2,
    /// A pod is removed.
    RemovePodSandbox = 3,
    /// A container is about to be made and may be adjusted.
    CreateContainer = 4,
}

impl Event {
    /// Its bit in a mask of subscriptions.
    pub fn bit(self) -> i32 {
        1 << (self as i32 - 1)
    }
}

/// Our first call.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RegisterPluginRequest {
    /// Our name.
    #[prost(string, tag = "1")]
    pub plugin_name: String,
    /// Two digits: plugins are called in their order.
    #[prost(string, tag = "2")]
    pub plugin_idx: String,
}

/// The runtime's first call.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ConfigureRequest {
    /// The runtime's name.
    #[prost(string, tag = "2")]
    pub runtime_name: String,
    /// Its version.
    #[prost(string, tag = "3")]
    pub runtime_version: String,
}

/// What we want to hear of.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ConfigureResponse {
    /// Mask of events.
    #[prost(int32, tag = "2")]
    pub events: i32,
}

/// What is there already, in one piece or in several.
#[derive(Clone, PartialEq, Message)]
pub struct SynchronizeRequest {
    /// Pods.
    #[prost(message, repeated, tag = "1")]
    pub pods: Vec<PodSandbox>,
    /// Containers.
    #[prost(message, repeated, tag = "2")]
    pub containers: Vec<Container>,
    /// Whether there is more to come.
    #[prost(bool, tag = "3")]
    pub more: bool,
}

/// The answer.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct SynchronizeResponse {
    /// Whether we take several pieces: as the request says.
    #[prost(bool, tag = "2")]
    pub more: bool,
}

/// Something happened.
#[derive(Clone, PartialEq, Message)]
pub struct StateChangeEvent {
    /// What.
    #[prost(enumeration = "Event", tag = "1")]
    pub event: i32,
    /// To which pod.
    #[prost(message, optional, tag = "2")]
    pub pod: Option<PodSandbox>,
}

/// A container is about to be made.
#[derive(Clone, PartialEq, Message)]
pub struct CreateContainerRequest {
    /// Its pod.
    #[prost(message, optional, tag = "1")]
    pub pod: Option<PodSandbox>,
    /// As it would be.
    #[prost(message, optional, tag = "2")]
    pub container: Option<Container>,
}

/// What it gets from us.
#[derive(Clone, PartialEq, Message)]
pub struct CreateContainerResponse {
    /// Absent: nothing.
    #[prost(message, optional, tag = "1")]
    pub adjust: Option<ContainerAdjustment>,
}

/// A pod.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandbox {
    /// Of its sandbox.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Its namespace.
    #[prost(string, tag = "4")]
    pub namespace: String,
    /// Its labels, which no OCI spec has.
    #[prost(map = "string, string", tag = "5")]
    pub labels: HashMap<String, String>,
    /// Its annotations.
    #[prost(map = "string, string", tag = "6")]
    pub annotations: HashMap<String, String>,
    /// The sandbox's first process; 0: unknown.
    #[prost(uint32, tag = "9")]
    pub pid: u32,
}

/// A container.
#[derive(Clone, PartialEq, Message)]
pub struct Container {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Of its pod's sandbox.
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    /// Its name in the pod.
    #[prost(string, tag = "3")]
    pub name: String,
    /// `NAME=VALUE`.
    #[prost(string, repeated, tag = "8")]
    pub env: Vec<String>,
    /// Mounts.
    #[prost(message, repeated, tag = "9")]
    pub mounts: Vec<Mount>,
    /// Hooks.
    #[prost(message, optional, tag = "10")]
    pub hooks: Option<Hooks>,
    /// What Linux knows of.
    #[prost(message, optional, tag = "11")]
    pub linux: Option<LinuxContainer>,
    /// Its first process; 0: none yet.
    #[prost(uint32, tag = "12")]
    pub pid: u32,
}

/// Of a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxContainer {
    /// Device nodes.
    #[prost(message, repeated, tag = "2")]
    pub devices: Vec<LinuxDevice>,
}

/// Changes to a container that is about to be made.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerAdjustment {
    /// Mounts to add, in the place of those on the same path.
    #[prost(message, repeated, tag = "3")]
    pub mounts: Vec<Mount>,
    /// Variables to set, or to remove.
    #[prost(message, repeated, tag = "4")]
    pub env: Vec<KeyValue>,
    /// Hooks to add.
    #[prost(message, optional, tag = "5")]
    pub hooks: Option<Hooks>,
    /// What Linux knows of.
    #[prost(message, optional, tag = "6")]
    pub linux: Option<LinuxContainerAdjustment>,
}

/// Of a container's changes.
#[derive(Clone, PartialEq, Message)]
pub struct LinuxContainerAdjustment {
    /// Device nodes to add, each with its rule in the device cgroup.
    #[prost(message, repeated, tag = "1")]
    pub devices: Vec<LinuxDevice>,
    /// Limits.
    #[prost(message, optional, tag = "2")]
    pub resources: Option<LinuxResources>,
}

/// Limits of a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxResources {
    /// cgroup v2 files and what to write there.
    #[prost(map = "string, string", tag = "6")]
    pub unified: HashMap<String, String>,
}

/// A mount.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Mount {
    /// In the container.
    #[prost(string, tag = "1")]
    pub destination: String,
    /// Kind.
    #[prost(string, tag = "2")]
    pub r#type: String,
    /// On the host.
    #[prost(string, tag = "3")]
    pub source: String,
    /// As those of mount(8).
    #[prost(string, repeated, tag = "4")]
    pub options: Vec<String>,
}

/// Hooks by stage.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Hooks {
    /// createRuntime.
    #[prost(message, repeated, tag = "2")]
    pub create_runtime: Vec<Hook>,
    /// createContainer.
    #[prost(message, repeated, tag = "3")]
    pub create_container: Vec<Hook>,
    /// poststop.
    #[prost(message, repeated, tag = "6")]
    pub poststop: Vec<Hook>,
}

/// A hook.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Hook {
    /// The program.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Arguments, the program's name first.
    #[prost(string, repeated, tag = "2")]
    pub args: Vec<String>,
    /// Environment, all of it.
    #[prost(string, repeated, tag = "3")]
    pub env: Vec<String>,
}

/// A device node.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LinuxDevice {
    /// In the container.
    #[prost(string, tag = "1")]
    pub path: String,
    /// `c` or `b`.
    #[prost(string, tag = "2")]
    pub r#type: String,
    /// Major number.
    #[prost(int64, tag = "3")]
    pub major: i64,
    /// Minor number.
    #[prost(int64, tag = "4")]
    pub minor: i64,
    /// Permissions.
    #[prost(message, optional, tag = "5")]
    pub file_mode: Option<OptionalFileMode>,
}

/// Permissions that may be absent.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct OptionalFileMode {
    /// Bits as of chmod(2).
    #[prost(uint32, tag = "1")]
    pub value: u32,
}

/// A variable. A name that begins with `-` removes one.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyValue {
    /// Name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}
