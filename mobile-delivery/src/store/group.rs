//! What is said of a group, and who is there.
//!
//! A group is there while a device is in it, and is nobody's but the back end's. One that its devices may publish to is a *room*: then each member sees who else is
//! connected, too.

use super::{Entry, Micros, Number};

/// Members of a room at most, counted by commits: what goes on at the same time can pass it.
pub const ROOM: i64 = 1000;

/// Messages that can be read back at most.
pub const HISTORY: u16 = 1000;

/// What is said of a group. Nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupRules {
    /// Its devices publish to it: it is a room.
    pub publish: bool,
    /// So many of its newest messages a member may read back, also from before it came; [`HISTORY`] at most.
    pub history: u16,
    /// How long what devices publish is kept; as long as other messages unless said.
    pub ttl: Option<Micros>,
}

/// A group, and how many are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// What is said of it.
    pub rules: GroupRules,
    /// Devices in it; [`COUNTED`](super::COUNTED) are counted at most.
    pub members: i64,
    /// Those of them that are connected.
    pub present: i64,
}

/// A device, as others in its groups are shown it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Author {
    /// Its id.
    pub device: String,
    /// Whose it is.
    pub user: String,
}

/// A device in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which one.
    pub number: Number,
    /// As others are shown it.
    pub author: Author,
    /// It is connected.
    pub present: bool,
}

/// Messages of a group that are read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// In order.
    pub entries: Vec<Entry>,
    /// There are more before the first of them.
    pub more: bool,
}
