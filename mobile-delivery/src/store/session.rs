//! Who is connected as a device.

use uuid::Uuid;

use super::{Gap, Micros, Number, Standing, Temperature};

/// A hub process, for as long as it runs. Random and positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId(pub i64);

/// How long after its last beat a process counts as gone, in microseconds.
pub const LAPSE: Micros = 10_000_000;

/// How a session goes to its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// WebSocket.
    Socket = 0,
    /// Server-sent events.
    Stream = 1,
    /// Long-poll.
    Poll = 2,
    /// MQTT, through the broker's plugin.
    Mqtt = 3,
    /// AMQP, from the broker.
    Amqp = 4,
}

impl Transport {
    /// All.
    pub const ALL: [Self; 5] = [Self::Socket, Self::Stream, Self::Poll, Self::Mqtt, Self::Amqp];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Stream => "stream",
            Self::Poll => "poll",
            Self::Mqtt => "mqtt",
            Self::Amqp => "amqp",
        }
    }

    /// Whether it takes messages from the device's queue. One that does not keeps no queue warm.
    pub fn has_lane(self) -> bool {
        self != Self::Poll
    }

    /// The transport of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.name() == name)
    }
}

/// The session of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which.
    pub id: Uuid,
    /// Where its socket is.
    pub process: ProcessId,
    /// Rises with every claim of the device, for ever.
    pub fence: i64,
    /// How.
    pub transport: Transport,
    /// Since when.
    pub since: Micros,
}

/// A device that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which.
    pub device: Number,
    /// Where to.
    pub process: ProcessId,
    /// The new session's id, of the caller.
    pub session: Uuid,
    /// How.
    pub transport: Transport,
}

/// What a claim came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is the device's session.
    Yours {
        /// What acks of this session carry.
        fence: i64,
        /// The session to close; its acks count no more.
        previous: Option<Session>,
        /// The `seq` given last by now: when all up to it is delivered, the device is caught up.
        seq: i64,
        /// Messages it has to get.
        backlog: i64,
        /// What it is to be told that it missed.
        gap: Option<Gap>,
        /// Whether it has a queue.
        temperature: Temperature,
        /// The broker that is at; [`MAIN`](super::MAIN) while there is none.
        shard: String,
        /// Where it stands with the log.
        standing: Box<Standing>,
    },
    /// The device was revoked.
    Revoked,
    /// There is no such device.
    Unknown,
}

/// Why a session is not the one of its device any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// A newer one has claimed the device.
    Displaced,
    /// The device is not let in any more.
    Revoked,
    /// The device was removed.
    Removed,
    /// Its process counted as gone, or it was released: nobody has the device.
    Released,
}

/// What processes that are gone have left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Sessions that were ended.
    pub sessions: u32,
    /// Slots that came free.
    pub slots: u32,
}
