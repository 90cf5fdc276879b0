//! What happens to a session, and what it wants done.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

use crate::protocol::{
    ClientFrame, Close, Gap, GoAway, Hello, Malformed, Message, Publish, ServerFrame, Signal, Token, Withdrawal,
};

/// What the broker's delivery is settled by; the driver's own number, never used twice in one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u64);

/// What happens to a session. Any order is survived: what does not fit the phase changes nothing.
#[derive(Clone, Debug)]
pub enum Event {
    /// The client said something.
    Frame(ClientFrame),
    /// The client said what is no frame.
    Malformed(Malformed),
    /// The token is good, the claim is in the store, the device's queue was declared, and then consumed from.
    Claimed(Claimed),
    /// The token of an `auth` is good.
    Authorized {
        /// When it runs out.
        until: Option<Instant>,
    },
    /// Somebody else ends it: the token was refused, a newer session claimed the device, a settling met a newer fence, the device was
    /// revoked.
    End {
        /// How it closes.
        close: Close,
        /// For the client.
        detail: String,
    },
    /// The lane brought something.
    Delivery(Delivery),
    /// The lane is consumed anew: what it delivered before is given back already, or will come again.
    LaneReset,
    /// The store answered an [`Action::Ask`].
    Page {
        /// The number of the question.
        ask: u32,
        /// The answer.
        page: Page,
    },
    /// The store could not answer; the session asks again, later.
    Unread {
        /// The number of the question.
        ask: u32,
    },
    /// The store has these ends for good, or had them before.
    Settled {
        /// Of which messages.
        seqs: Vec<u64>,
    },
    /// The device has acked something by a request, and the store has it.
    Acked,
    /// The store answered an [`Action::Check`], or could not.
    Checked {
        /// Those of them that ended by an ack.
        ended: Vec<u64>,
    },
    /// Rows ended without the device: cancelled, collapsed, expired, dropped.
    Withdrawn {
        /// Which ones.
        seqs: Vec<u64>,
        /// Why.
        reason: Withdrawal,
    },
    /// The store has something at this `seq` that the lane may not have brought.
    Pending {
        /// The highest that is known.
        seq: u64,
    },
    /// The log has an entry for this device, at this number or before.
    Logged {
        /// Its number.
        entry: u64,
    },
    /// The log was read, as an [`Action::AskLog`] wanted.
    LogPage {
        /// The number of the question.
        ask: u32,
        /// The answer.
        page: LogPage,
    },
    /// The log could not be read; the session asks again, later.
    LogUnread {
        /// The number of the question.
        ask: u32,
    },
    /// The store has it that the device has heard the log up to here.
    Heard {
        /// Up to which entry.
        entry: u64,
    },
    /// An entry was withdrawn.
    Recalled {
        /// Its number.
        entry: u64,
    },
    /// There is something to tell the client that nothing here depends on: what became of what it published, who is in a room.
    Tell(ServerFrame),
    /// The process leaves.
    Drain {
        /// What the client is told.
        away: GoAway,
        /// How long what is with the device may take to be acked.
        within: Duration,
    },
    /// The time of the last [`Action::Wake`] has come.
    Timer,
    /// The connection is no more.
    Gone,
}

/// A session has its device.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Rises with every claim of the device; what is settled under an older one is refused.
    pub fence: i64,
    /// Which session it is.
    pub session: Uuid,
    /// Up to which entry the device has heard the log, and the last that is there for it, if it has not heard that.
    pub heard: u64,
    /// See `heard`.
    pub logged: Option<u64>,
    /// When the token runs out.
    pub until: Option<Instant>,
    /// The wall clock.
    pub time: Timestamp,
}

/// A message from the device's queue.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// To settle it by.
    pub tag: Tag,
    /// Its sequence number.
    pub seq: u64,
    /// The one before it that was published to this device; 0 for none.
    pub after: u64,
    /// The message; `None` when it is known that its row is no more, or its time is over.
    pub message: Option<Message>,
}

/// What the store has of a device, read in one statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Rows after the question's `after`, in order of `seq`; none that has ended or expired.
    pub messages: Vec<Message>,
    /// There are more after the last of them.
    pub more: bool,
    /// Without `more`: the last `seq` that the device was given at the time of the read. All up to it is here, or has ended.
    pub through: u64,
    /// What was dropped and not acked yet. Its number rises with whatever is dropped, for as long as the device is there.
    pub gap: Option<Gap>,
}

/// What there is of the log for a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    /// Entries after the question's `after`, in order; none that was withdrawn or has expired.
    pub messages: Vec<Message>,
    /// There are more after the last of them.
    pub more: bool,
    /// Up to this entry there is nothing for the device but these.
    pub through: u64,
}

/// How a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The device acked it, or said that it has seen it.
    Delivered,
    /// The device will never take it.
    Rejected {
        /// Its reason, if it gave one.
        reason: Option<String>,
    },
}

/// An end to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Which message, of this device.
    pub seq: u64,
    /// Its id.
    pub id: Uuid,
    /// How.
    pub ended: Ended,
}

/// What a session wants done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Verify the token, claim the device, declare its queue, consume from it with a prefetch of the window's messages; then say
    /// [`Event::Claimed`]. The session reads the store after that, so that what is published meanwhile is met by one of the two.
    Claim(Box<Hello>),
    /// Verify a token; then say [`Event::Authorized`], or [`Event::End`].
    Verify(Token),
    /// Send a frame.
    Send(ServerFrame),
    /// Read what is pending; then say [`Event::Page`] or [`Event::Unread`].
    Ask(Ask),
    /// Read the log; then say [`Event::LogPage`] or [`Event::LogUnread`].
    AskLog(Ask),
    /// Write that the device has heard the log up to this entry, however often it takes; then say [`Event::Heard`], or, if there is a newer fence,
    /// [`Event::End`].
    Hear {
        /// Up to which entry. What was wanted before is in it.
        entry: u64,
    },
    /// Write these ends under this fence, however often it takes; then say [`Event::Settled`]. If there is a newer fence:
    /// [`Event::End`].
    Settle {
        /// Of this session.
        fence: i64,
        /// Each message once.
        ends: Vec<End>,
    },
    /// Ask what became of these, by `seq` and id; then say [`Event::Withdrawn`] of those that ended without the device, and [`Event::Checked`].
    Check(Vec<(u64, Uuid)>),
    /// Ask up to which entry the device has heard the log; then say [`Event::Heard`].
    CheckLog,
    /// The device has acked this gap: forget it, and those of lower numbers. One that has grown since has a higher one.
    GapTold {
        /// Of this session.
        fence: i64,
        /// The gap's.
        number: u64,
    },
    /// Somebody read these.
    Read {
        /// Ids of messages.
        ids: Vec<Uuid>,
    },
    /// Publish this; then say what became of it, by [`Event::Tell`].
    Publish(Box<Publish>),
    /// Signal this.
    Signal(Box<Signal>),
    /// Tell who is in these rooms, and in no others, by [`Event::Tell`].
    Watch {
        /// Their names.
        groups: Vec<String>,
    },
    /// Ack these to the broker.
    AckLane(Vec<Tag>),
    /// Give these back to the broker, in this order.
    GiveBack(Vec<Tag>),
    /// Say [`Event::Timer`] then. It takes the place of the one before.
    Wake(Instant),
    /// Close the connection with this code. It is the last one.
    Close(Close),
}

/// A question to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Names the answer.
    pub number: u32,
    /// Rows with a higher `seq`, or entries with a higher number.
    pub after: u64,
    /// So many rows at most.
    pub messages: u16,
    /// So many bytes of payloads, and one row at least.
    pub bytes: u32,
}
