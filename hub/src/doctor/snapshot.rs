//! What the checks look at: answers of the broker and the store, as they came, and what the configuration expects of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use broker_topology::{LivePolicy, LiveQueue, Names, Topology};
use database::Inspection;
use jiff::Timestamp;
use messaging::connection::Negotiated;
use messaging::greeting::Greeting;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// What was seen, or why not.
pub(super) type Seen<T> = Result<T, Unseen>;

/// Why something was not seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unseen {
    /// Nobody answers there, or somebody else, or the user is not let in at all.
    Away { why: String, remedy: String },
    /// Just this part is kept from this user.
    Kept {
        /// Of the management API, which may have users of its own.
        user: String,
        /// What would show it; `None` where it is no tag that is missing.
        tag: Option<&'static str>,
        why: String,
    },
}

/// All at one moment, or nearly.
pub(super) struct Snapshot {
    pub(super) at: Timestamp,
    pub(super) expected: Expected,
    pub(super) amqp: Amqp,
    pub(super) management: ManagementApi,
    pub(super) certificates: Vec<Certificate>,
    /// `None` of a shard: it was looked at with the main broker.
    pub(super) store: Option<Store>,
    /// What a process of this user may open, where this runs; `None` where it cannot be told.
    pub(super) files: Option<u64>,
}

impl Snapshot {
    /// The queues as far as their existence, depth and consumers go, whoever told of them.
    pub(super) fn queues(&self) -> Option<&[Queue]> {
        let over_amqp = || self.amqp.queues.as_ref()?.as_deref().ok();
        self.management.queues.as_deref().ok().or_else(over_amqp)
    }
}

/// What the configuration expects.
pub(super) struct Expected {
    pub(super) vhost: String,
    pub(super) user: String,
    /// All that is declared, a team's own too.
    pub(super) topology: Topology,
    /// The queues of it that Warren's promises rest on.
    pub(super) warrens: BTreeSet<String>,
    pub(super) names: Names,
    pub(super) lost: String,
    /// Whether a process with this configuration keeps dead letters.
    pub(super) keeper: bool,
    /// Whether devices are served.
    pub(super) devices: bool,
    /// Connections that the public listener of a process takes, and what such a process opens.
    pub(super) connections: u64,
    pub(super) files: u64,
    pub(super) consumer_timeout: Duration,
    pub(super) heartbeat: Duration,
}

/// What AMQP tells.
pub(super) struct Amqp {
    /// Without user and password.
    pub(super) at: String,
    pub(super) secure: bool,
    /// Whether it is this machine.
    pub(super) loopback: bool,
    pub(super) greeting: Result<Greeting, String>,
    /// What a login came to.
    pub(super) login: Result<Negotiated, String>,
    /// Whether `guest` with its default password gets in over the network; `None` when it was not tried.
    pub(super) guest: Option<bool>,
    /// The queues of the topology with their depth and consumers alone; `None` when the management API told of them.
    pub(super) queues: Option<Result<Vec<Queue>, String>>,
}

/// What the management API tells, each part for itself.
pub(super) struct ManagementApi {
    pub(super) at: String,
    pub(super) secure: bool,
    /// Whether it is this machine.
    pub(super) loopback: bool,
    pub(super) overview: Seen<Overview>,
    /// The broker's clock when it answered, to the second, and ours half-way.
    pub(super) clock: Option<(Timestamp, Timestamp)>,
    pub(super) nodes: Seen<Vec<Node>>,
    pub(super) flags: Seen<Vec<Flag>>,
    /// Empty on brokers that do not know of deprecation.
    pub(super) deprecated: Seen<Vec<Deprecated>>,
    pub(super) users: Seen<Vec<User>>,
    pub(super) user_limits: Seen<Vec<UserLimits>>,
    pub(super) vhost: Seen<VhostInfo>,
    pub(super) vhost_limits: Seen<Vec<VhostLimits>>,
    /// Open in the vhost; `None` where their number has no limit.
    pub(super) connections: Option<Seen<Vec<Connection>>>,
    pub(super) policies: Seen<Vec<LivePolicy>>,
    pub(super) operator_policies: Seen<Vec<LivePolicy>>,
    /// Of the vhost, but those of devices.
    pub(super) queues: Seen<Vec<Queue>>,
    pub(super) devices: Seen<DeviceQueues>,
}

impl ManagementApi {
    /// A limit of the vhost, if there is one.
    pub(super) fn vhost_limit(&self, name: &str) -> Option<u64> {
        let values = self.vhost_limits.iter().flatten().filter_map(|one| one.value.get(name));
        values.filter_map(|value| u64::try_from(*value).ok()).min()
    }
}

/// A certificate, or several in one file.
pub(super) struct Certificate {
    pub(super) object: String,
    /// When each ends; at least one.
    pub(super) ends: Result<Vec<Timestamp>, String>,
    /// Whether it is enough that one has not ended.
    pub(super) any: bool,
}

/// The store, and the place its file is in.
pub(super) struct Store {
    pub(super) shown: String,
    pub(super) found: Result<Inspection, String>,
    /// With a file of its own.
    pub(super) place: Option<Place>,
}

/// Where a file is.
pub(super) struct Place {
    pub(super) folder: PathBuf,
    /// The network file system it is on, if it is.
    pub(super) network: Option<&'static str>,
    /// In bytes.
    pub(super) free: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Overview {
    pub(super) product_name: String,
    pub(super) rabbitmq_version: String,
    pub(super) erlang_version: String,
    pub(super) disable_stats: bool,
    pub(super) object_totals: Totals,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Totals {
    #[serde(deserialize_with = "number")]
    pub(super) connections: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Connection {
    pub(super) name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) running: bool,
    pub(super) mem_alarm: bool,
    pub(super) disk_free_alarm: bool,
    pub(super) partitions: Vec<String>,
    pub(super) enabled_plugins: Option<Vec<String>>,
    pub(super) applications: Vec<Application>,
    #[serde(deserialize_with = "number")]
    pub(super) fd_used: Option<u64>,
    #[serde(deserialize_with = "number")]
    pub(super) fd_total: Option<u64>,
    #[serde(deserialize_with = "number")]
    pub(super) sockets_used: Option<u64>,
    #[serde(deserialize_with = "number")]
    pub(super) sockets_total: Option<u64>,
    #[serde(deserialize_with = "number")]
    pub(super) proc_used: Option<u64>,
    #[serde(deserialize_with = "number")]
    pub(super) proc_total: Option<u64>,
    #[serde(deserialize_with = "number")]
    pub(super) mem_used: Option<u64>,
    #[serde(deserialize_with = "number")]
    pub(super) mem_limit: Option<u64>,
    #[serde(deserialize_with = "number")]
    pub(super) disk_free: Option<u64>,
    #[serde(deserialize_with = "number")]
    pub(super) disk_free_limit: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Application {
    pub(super) name: String,
    pub(super) version: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Flag {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) stability: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Deprecated {
    pub(super) name: String,
    pub(super) deprecation_phase: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct User {
    pub(super) name: String,
    /// Base64 of four bytes of salt, and the digest of salt and password.
    pub(super) password_hash: Option<String>,
    pub(super) hashing_algorithm: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct UserLimits {
    pub(super) user: String,
    pub(super) value: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct VhostInfo {
    pub(super) name: String,
    pub(super) default_queue_type: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct VhostLimits {
    pub(super) value: BTreeMap<String, i64>,
}

/// Queues of devices: there may be hundreds of thousands, of which some are looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct DeviceQueues {
    /// How many there are.
    pub(super) count: u64,
    /// The first of them.
    pub(super) some: Vec<LiveQueue>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Queue {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) state: Option<String>,
    pub(super) policy: Option<String>,
    pub(super) operator_policy: Option<String>,
    /// An object; old brokers give an empty list for none.
    pub(super) effective_policy_definition: Value,
    pub(super) leader: Option<String>,
    pub(super) members: Option<Vec<String>>,
    pub(super) online: Option<Vec<String>>,
    #[serde(deserialize_with = "number")]
    pub(super) consumers: Option<u64>,
    #[serde(deserialize_with = "number")]
    pub(super) messages: Option<u64>,
    #[serde(deserialize_with = "number")]
    pub(super) messages_unacknowledged: Option<u64>,
    /// `{"ack_details": {"rate": 0.0}}` and others; absent until something happened.
    pub(super) message_stats: Value,
}

/// A number, or `None`: some are words, such as `infinity`, or -1.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Value::deserialize(deserializer).map(|value| value.as_u64())
}
