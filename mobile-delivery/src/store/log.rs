//! What goes to many devices at once: stored once, and told to each of them from where it stands.
//!
//! A tenant's log is numbered from 1 in the order of commits, without holes. Each entry is for one [`Audience`]; a device gets those for it, in order, after the
//! last that it has acked ([`Standing::heard`]). So an entry costs one row whatever the number of devices, and nothing for those that are away.

use uuid::Uuid;

use super::{Author, Message, Micros, Number};

/// Members of an audience that are counted at most.
pub const COUNTED: i64 = 100_000;

/// For whom an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// All devices of the tenant.
    Everyone,
    /// Those in this group.
    Group(String),
    /// Those with this label.
    Label {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
}

impl Audience {
    /// How it is written in the database.
    pub fn tag(&self) -> String {
        match self {
            Self::Everyone => "*".to_owned(),
            Self::Group(group) => format!("g:{group}"),
            Self::Label { name, value } => format!("l:{name}={value}"),
        }
    }

    /// The audience that is written so; `None` of any other tag.
    pub fn of_tag(tag: &str) -> Option<Self> {
        match tag.split_once(':') {
            None => (tag == "*").then_some(Self::Everyone),
            Some(("g", group)) => Some(Self::Group(group.to_owned())),
            Some(("l", label)) => {
                let (name, value) = label.split_once('=')?;
                Some(Self::Label { name: name.to_owned(), value: value.to_owned() })
            }
            Some(_) => None,
        }
    }
}

/// An entry of a tenant's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub entry: i64,
    /// For whom it is, as [`Audience::tag`].
    pub tag: String,
    /// Not to be given after this time.
    pub expires_at: Micros,
    /// The device that published it; `None` where a back end sent it.
    pub author: Option<Author>,
    /// What was sent.
    pub message: Message,
}

/// Entries of a tenant, whomever they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// In order.
    pub entries: Vec<Entry>,
    /// Up to this entry there is nothing but these.
    pub through: i64,
    /// There is more after the last of them.
    pub more: bool,
}

/// Where a device stands with the log of its tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The last entry that it has acked; or the head when it was registered.
    pub heard: i64,
    /// How often its tags have changed. What it acks counts while this is true.
    pub roster: i64,
    /// What it gets entries for, as [`Audience::tag`], and after which entry of each: the head when it came to have the tag.
    pub tags: Vec<(String, i64)>,
    /// Whose it is.
    pub user: String,
    /// Those of its groups that were rooms when it was looked at.
    pub rooms: Vec<String>,
    /// The last entry that is for it, if it has not heard it.
    pub last: Option<i64>,
}

/// What a device has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hearing {
    /// Which device.
    pub device: Number,
    /// Of its session.
    pub fence: i64,
    /// [`Standing::roster`], as the session that gave it knows it; `None` of a request, which goes by what its device's session says ([`LogStore::goes_by`](super::LogStore::goes_by)).
    pub roster: Option<i64>,
    /// Everything for it up to here.
    pub entry: i64,
}

/// What that came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is stored; what was stored before may be later.
    Done,
    /// The tags of the device are others now: nothing was stored, since entries for it may have been passed over.
    Stale,
    /// Another session has the device.
    Fenced,
    /// There is no such device.
    Unknown,
}

/// What a change of a group came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It is as it was said.
    Done {
        /// Whether it was not before.
        changed: bool,
        /// Which device it is.
        device: Number,
        /// The session to tell.
        session: Option<super::Session>,
    },
    /// There is no such device.
    Unknown,
    /// It is in [`GROUPS`](super::GROUPS) groups already.
    Full,
    /// The group is a room, and has [`ROOM`](super::ROOM) members already.
    Crowded,
}

/// An entry that was committed just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its number.
    pub entry: i64,
    /// For whom, as [`Audience::tag`].
    pub tag: String,
    /// Not to be given after this time.
    pub expires_at: Micros,
    /// The device that published it, as it was registered in that moment.
    pub author: Option<Author>,
}

/// Whether an entry is given to those who have not heard it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Giving {
    /// It is, until its time is over.
    On,
    /// Not before somebody says so.
    Paused,
    /// Not any more: it was withdrawn.
    Off,
}

/// What came of a wish to pause a message, or to have it go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pausing<T> {
    /// There is no such message.
    Unknown,
    /// It goes to devices by their names, and not by the log.
    Direct,
    /// It was withdrawn, or its time is over.
    Over,
    /// It is as it was wished; `None` if it was before.
    Done(Option<T>),
}

/// How far an entry has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// For whom it is.
    pub audience: Audience,
    /// Its number.
    pub entry: i64,
    /// Not given after this time.
    pub expires_at: Micros,
    /// Whether it is given.
    pub giving: Giving,
    /// Devices that it is for and that are registered still; [`COUNTED`] are counted at most.
    pub devices: i64,
    /// Those that have acked it, or a later one.
    pub delivered: i64,
}

/// An entry that was withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// Of whose log.
    pub tenant: String,
    /// Its number.
    pub entry: i64,
    /// The message.
    pub message: Uuid,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_is_written_and_read() {
        let label = |name: &str, value: &str| Audience::Label { name: name.into(), value: value.into() };
        for (audience, tag) in [
            (Audience::Everyone, "*"),
            (Audience::Group("room-7".into()), "g:room-7"),
            (label("app", "shop"), "l:app=shop"),
            (label("app", "a=b"), "l:app=a=b"),
        ] {
            assert_eq!(audience.tag(), tag);
            assert_eq!(Audience::of_tag(tag), Some(audience));
        }
        for tag in ["u:ada", "", "**", "l:x", "x"] {
            assert_eq!(Audience::of_tag(tag), None, "{tag}");
        }
    }
}
