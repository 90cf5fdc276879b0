//! The tables of devices behind a trait per aggregate, on Postgres and on SQLite.
//!
//! ```text
//! device (registration)     device_states: the narrow row, one per device: seq, backlog, fences, gap
//!   | number                     | whoever changes anything of a device holds this row
//!   +-- device_deliveries        what the device has still to get, by (device, seq)
//!   +-- device_ended             how it ended, by (message, device), for as long as retention says
//!   +-- device_scheduled         what is not due yet and has no seq
//!   +-- device_sessions          who is connected; no row: nobody
//!   +-- device_lanes             who has a queue; no row: cold
//! device_messages                what was sent, once, however many devices get it
//!   +-- device_log               what many get at once, numbered by tenant: each device stands somewhere in it (`heard`)
//! device_groups                  what is said of a group; no row: nothing
//! ```
//!
//! Owns rows, their order and their fences. Refuses to own the broker's side, HTTP, and *when* something is done: callers bring the time,
//! the limits and the ids.
//!
//! Guarantees: what was answered is committed (fsynced), but for marks of the relay and receipts that are forgotten, whose loss costs a copy. The `seq` of a device rises in the order of
//! commits. A row ends once, and what outsiders are to hear of it is in the outbox of receipts by the same commit. An answer of
//! [`StoreError::Unavailable`] leaves open whether it was done; every call says what doing it again costs.
//!
//! Limits: no call walks what is others'. Cost goes by what a call names, whatever number of cold devices there is.
//!
//! Times are microseconds since the Unix epoch, UTC, as `i64`. A device is (tenant, id) outside, and a [`Number`] inside.

mod credential;
mod delivery;
mod device;
mod group;
mod lane;
mod log;
mod message;
pub mod postgres;
mod receipt;
mod session;
pub mod sqlite;
mod stored;
mod stores;

pub use broker_topology::Priority;
pub use credential::{Hash, Refreshed};
pub use database::{Micros, StoreError};
pub use delivery::{
    Ack, Acked, Ending, Expired, Fate, Gap, GapReason, Given, Limit, Outcome, Pending, Reason, State, Which, Withdrawn,
};
pub use device::{
    After, Device, Filter, GROUPS, Invalid, LABELS, Number, Order, Page, Presence, Put, Registration, Removed, Tier, Via, slot_of,
};
pub use device::{check_group, check_id};
pub use group::{Author, Group, GroupRules, HISTORY, History, Member, ROOM};
pub use lane::{Handed, Idle, Lane, Left, Mark, Reading, Relayed, SLOTS, Slot, Temperature, Turned};
pub use log::{Audience, COUNTED, Entry, Giving, Heard, Hearing, Logged, Membership, Pausing, Recalled, Spread, Standing, Tail};
pub use message::{Cancelled, Due, Key, Limits, Message, NewMessage, Placed, RECIPIENTS, Record, SENDS, Sent, Target};
pub use messaging::devices::MAIN;
pub use postgres::PostgresDevices;
pub use receipt::Receipt;
pub use session::{Claim, Claimed, LAPSE, Lost, Over, ProcessId, Session, Transport};
pub use sqlite::SqliteDevices;
pub use stores::{Stores, TABLES};

use async_trait::async_trait;
use uuid::Uuid;

/// Devices: who they are, and what they show to be let in.
///
/// Every method is one transaction. Conflicts between transactions (40001, 40P01, SQLITE_BUSY) are retried inside.
#[async_trait]
pub trait DeviceStore: Send + Sync + 'static {
    /// Registers a device, or makes a registered one what this says (full state). The same again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with what is wrong about the registration.
    async fn put(&self, registration: &Registration, now: Micros) -> Result<Put, StoreError>;

    /// The same, but a device that is registered keeps the groups that it is in.
    ///
    /// # Errors
    /// As [`DeviceStore::put`].
    async fn put_in_its_groups(&self, registration: &Registration, now: Micros) -> Result<Put, StoreError>;

    /// Makes the device a member of the group, or none.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with what is wrong about the name of the group.
    async fn member(&self, tenant: &str, group: &str, id: &str, is_in: bool, now: Micros) -> Result<Membership, StoreError>;

    /// The device, unless it was removed.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn get(&self, tenant: &str, id: &str) -> Result<Option<Device>, StoreError>;

    /// The device that rows and queues know by this number, unless it was removed.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn numbered(&self, device: Number) -> Result<Option<Device>, StoreError>;

    /// Of these devices, those that have something to get, and when the longest waiting of it was sent. At most 4096.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn waiting_since(&self, devices: &[Number]) -> Result<Vec<(Number, Micros)>, StoreError>;

    /// Devices that match, in the order that is asked for ([`Order`]). Looks at [`Filter::scan`] at most: a page may be
    /// empty and not the last. By user, by group, by label and by presence online it looks at those alone.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn list(&self, filter: &Filter) -> Result<Page, StoreError>;

    /// Removes a device: its messages end as `dropped`, reason `removed`, its credentials count no more. Its lane is left as
    /// `cooling`, so that [`LaneStore::idle`] tells of the queue until it is gone. `None`: there is none (any more).
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn remove(&self, tenant: &str, id: &str, now: Micros) -> Result<Option<Removed>, StoreError>;

    /// Makes `hash` the one refresh credential of the device; all before it count no more, and a revoked device is let in again.
    /// Answers whether there is such a device.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn credit(&self, device: Number, hash: Hash, now: Micros) -> Result<bool, StoreError>;

    /// Takes `shown` for `fresh`. The same again answers the same.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn refresh(&self, shown: Hash, fresh: Hash, now: Micros, grace: Micros) -> Result<Refreshed, StoreError>;

    /// Says that the device is not let in until it gets a credential anew. Its messages stay, and it goes on getting what its user gets; by name it is
    /// sent nothing ([`Sent::Revoked`]). Answers the session to close, or `None` when there is no such device.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn revoke(&self, device: Number, now: Micros) -> Result<Option<Option<Session>>, StoreError>;
}

/// Messages: on their way to devices, and how they ended.
#[async_trait]
pub trait MessageStore: Send + Sync + 'static {
    /// Stores up to [`SENDS`] messages with their deliveries and gives each device's next `seq`, in the order of `sends`. Each is answered on its own and in order; what is
    /// [`Sent::Accepted`] is fsynced. Same key and fingerprint answer as the first did; two in one call, the second as the first.
    ///
    /// A lost answer is found out by sending again under the same key.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when some message is bad: nothing was stored.
    async fn send(&self, sends: &[NewMessage], limits: &Limits, now: Micros) -> Result<Vec<Sent>, StoreError>;

    /// The message and what became of it for each device. Payload not included.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn record(&self, tenant: &str, message: Uuid) -> Result<Option<Record>, StoreError>;

    /// Ends what is not delivered yet as `dropped`, reason `cancelled`. Again: nothing more to end.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn cancel(&self, tenant: &str, message: Uuid, now: Micros) -> Result<Cancelled, StoreError>;

    /// Has an entry of the log given to nobody more for now. Again: nothing more happens.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn pause(&self, tenant: &str, message: Uuid, now: Micros) -> Result<Pausing<Recalled>, StoreError>;

    /// Has a paused entry go on: as a new one, with the same message, for those who are in its audience now. Who has had it gets it once more. Again: nothing more happens.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn resume(&self, tenant: &str, message: Uuid, now: Micros) -> Result<Pausing<Entry>, StoreError>;

    /// Says that the device's user has seen these messages: of delivered ones `read`, the first time. Answers how many were news. At most 1024.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn read(&self, device: Number, messages: &[Uuid], now: Micros) -> Result<u32, StoreError>;

    /// Ends up to `limit` of what the device has to get, oldest first, as `dropped`, reason `purged`, and marks the gap; nothing after the `seq` `upto`, so that
    /// who empties a backlog does not race with who fills it. What is scheduled stays: it is not in the backlog yet. Answers how many; fewer than `limit`:
    /// none is left.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn empty(&self, device: Number, upto: i64, now: Micros, limit: u32) -> Result<u32, StoreError>;

    /// Gives up to `limit` scheduled deliveries that are due their `seq`.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn place_due(&self, limits: &Limits, now: Micros, limit: u32) -> Result<Due, StoreError>;

    /// Ends up to `limit` deliveries whose time is over as `expired`, and marks the gap.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn expire(&self, now: Micros, limit: u32) -> Result<Expired, StoreError>;

    /// Forgets up to `limit` deliveries that ended before `before`, messages that none is left of, and removed devices that none is left of. Answers how many rows went.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn purge(&self, before: Micros, limit: u32) -> Result<u32, StoreError>;

    /// Forgets up to `limit` idempotency keys made before `before`. Answers how many.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn purge_keys(&self, before: Micros, limit: u32) -> Result<u32, StoreError>;

    /// The oldest receipts after that number that were not published yet, by their numbers. Who publishes them twice does no harm. A lower number
    /// may come to light after a higher one, by a commit that took longer.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn receipts(&self, after: i64, limit: u32) -> Result<Vec<Receipt>, StoreError>;

    /// Forgets receipts, by their numbers, once they are published.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn forget_receipts(&self, numbers: &[i64]) -> Result<(), StoreError>;
}

/// Sessions: who is connected, what he is given and what he acks.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Makes each claim's session the one of its device (newest wins), with the next fence. Answers in order. Devices are distinct; at most 512.
    /// Again after a lost answer: a newer fence, and the lost one is the previous session.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn claim(&self, claims: &[Claim], now: Micros) -> Result<Vec<Claimed>, StoreError>;

    /// Ends sessions, as (device, fence), those that are still the ones of their devices. Answers in order whether they were. Devices are distinct; at most 512.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn release(&self, sessions: &[(Number, i64)], now: Micros) -> Result<Vec<bool>, StoreError>;

    /// What a device has to get after `seq`, in order, within `limit` (but one at least), what is expired left out; and the gap it was not told of yet. Reads what is committed, and no row of others.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn pending(&self, device: Number, after: i64, limit: Limit, now: Micros) -> Result<Pending, StoreError>;

    /// Of devices at these seqs, those that have something later to get. For a slow round over idle sessions, at most 4096 in one call.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn behind(&self, devices: &[(Number, i64)], now: Micros) -> Result<Vec<Number>, StoreError>;

    /// Of sessions, as (device, fence), those that are not the ones of their devices any more, and why. For a slow round over all sessions of a
    /// process, which finds what it was not told; at most 4096 in one call. Holds nothing.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn over(&self, sessions: &[(Number, i64)]) -> Result<Vec<(Number, Over)>, StoreError>;

    /// Of deliveries, as (device, message), how those ended that were not acked. For a process that was told that some have; at most 512 in one
    /// call. Holds nothing.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn endings(&self, deliveries: &[(Number, Uuid)]) -> Result<Vec<Ending>, StoreError>;

    /// Of deliveries, as (device, seq, message), how those ended that have, by an ack or without. For sessions that hold them, and were told that something
    /// was acked elsewhere; at most 16,384 in one call. Holds nothing.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn became(&self, deliveries: &[(Number, i64, Uuid)]) -> Result<Vec<Ending>, StoreError>;

    /// Ends what devices have acked. Answers in order; at most 512 acks. An ack again ends nothing more.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn settle(&self, acks: &[Ack], now: Micros) -> Result<Vec<Acked>, StoreError>;

    /// Says under `fence` that the device knows of the gap of this number ([`Gap::number`]). What was dropped since stays to be told. Answers whether
    /// it is news.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn told(&self, device: Number, fence: i64, number: i64) -> Result<bool, StoreError>;

    /// Says that `me` lives, by the database's clock, and which shards it has beside [`MAIN`]. Answers the processes that live, `me` among them, with
    /// theirs.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn beat(&self, me: ProcessId, shards: &[String]) -> Result<Vec<(ProcessId, Vec<String>)>, StoreError>;

    /// Says that `me` leaves: its slots are free at once, its sessions to [`SessionStore::release_lapsed`].
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn leave(&self, me: ProcessId) -> Result<(), StoreError>;

    /// Ends up to `limit` sessions of processes that live no more ([`LAPSE`]) and frees their slots. More sessions may be left while it answers `limit`.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn release_lapsed(&self, now: Micros, limit: u32) -> Result<Lost, StoreError>;
}

/// Lanes: which devices have a queue, and who fills it.
#[async_trait]
pub trait LaneStore: Send + Sync + 'static {
    /// Takes slots that nobody who lives has until `me` has `want`, and answers all that `me` has. Each taking has the slot's next fence.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn take_slots(&self, me: ProcessId, want: u32) -> Result<Vec<Slot>, StoreError>;

    /// Gives slots back, those that are still held under their fences.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn give_slots(&self, slots: &[Slot]) -> Result<(), StoreError>;

    /// What is to be published to lanes of these slots, by device and `seq`, each device from where its lane was marked last; within `reading`. Cold devices are not walked.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn unsent(&self, reading: &Reading<'_>, now: Micros) -> Result<Vec<Relayed>, StoreError>;

    /// The same of these devices alone, those that are hot and have something; for a relay that knows where to look. [`Reading::slots`] and
    /// [`Reading::after`] are not looked at. Where a limit was met, devices after the last one answered are left out.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn unsent_of(&self, devices: &[Number], reading: &Reading<'_>, now: Micros) -> Result<Vec<Relayed>, StoreError>;

    /// Says up to which `seq` lanes were filled (confirmed). Counts only under the fence of the device's slot and on the turn of the lane that was read. Answers in
    /// order whether it did. Devices are distinct; at most 4096. Lost with the power, it costs copies. What is [`Mark::handed`] ends by the same commit, as
    /// `delivered` that is inferred.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn mark_sent(&self, marks: &[Mark]) -> Result<Vec<bool>, StoreError>;

    /// Says that the device has a queue: call it once the queue is declared and bound, before the rows are read. From `cooling` too: who cools has lost its turn then, and must not delete. A hot one stays as it is.
    /// What has a `seq` by now is left to the session's read and not relayed; of a device that the broker serves ([`Via`]) it is relayed, and its lane is never
    /// idle. `None`: no such device.
    ///
    /// The queue is at `shard`. A lane that is at another broker stays there, and is answered as it is; but the session of the fence `by` takes it along, and so
    /// does anybody once it is cooling: it is at `shard` from then on, on a newer turn, and the queue where it was is [`Left`].
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn warm(&self, device: Number, shard: &str, by: Option<i64>, now: Micros) -> Result<Option<Lane>, StoreError>;

    /// Begins to cool a hot lane without session, if it is at `turn`: nothing is relayed from now on. Answers the turn to end it with.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn cool(&self, device: Number, turn: i64, now: Micros) -> Result<Turned, StoreError>;

    /// Ends the cooling of `turn`: the queue is gone. Again, or after somebody made it warm: nothing changes.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn cooled(&self, device: Number, turn: i64) -> Result<Turned, StoreError>;

    /// Lanes at these brokers that had no session since before `before`, longest first: hot ones to cool, and cooling ones that somebody left half-way (also of
    /// removed devices).
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn idle(&self, shards: &[&str], before: Micros, limit: u32) -> Result<Vec<Idle>, StoreError>;

    /// Lanes at these brokers that are to go, however long they were idle: left half-way, found without a queue, or of removed devices.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn cooling(&self, shards: &[&str], limit: u32) -> Result<Vec<Idle>, StoreError>;

    /// Of the first `limit` lanes at `shard`, which is not [`MAIN`], those that are hot and have no session, however short: to cool them where a broker is emptied. The
    /// others go otherwise.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn vacant(&self, shard: &str, limit: u32) -> Result<Vec<Idle>, StoreError>;

    /// Says that a queue is about to be made where the lane of its device is not: it is [`Left`] until [`LaneStore::warm`] says that it is the lane's, so that it goes should whoever
    /// makes it die in between.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn leave(&self, left: &Left) -> Result<(), StoreError>;

    /// Queues at these brokers that are no lane's since before `before`.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn left(&self, shards: &[&str], before: Micros, limit: u32) -> Result<Vec<Left>, StoreError>;

    /// Says that a queue that was left is gone. Answers whether it was still to go, since then: else the lane has come back to it, or is about to.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn gone(&self, left: &Left) -> Result<bool, StoreError>;

    /// Which brokers but [`MAIN`] have lanes or queues that were left, and how many, counted up to `most` each.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn occupied(&self, most: u32) -> Result<Vec<(String, u32)>, StoreError>;
}

/// The log: what goes to many devices at once ([`MessageStore::send`] appends to it).
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// The heads of those tenants that have a log: the number of the last entry.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn heads(&self, tenants: &[String]) -> Result<Vec<(String, i64)>, StoreError>;

    /// Entries of a tenant after `after`, in order, within `limit` (but one at least); what was withdrawn or has expired is left out.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn tail(&self, tenant: &str, after: i64, limit: Limit) -> Result<Tail, StoreError>;

    /// The same of those that are for this device.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn unheard(&self, device: Number, after: i64, limit: Limit, now: Micros) -> Result<Tail, StoreError>;

    /// Where a device stands. `None`: there is no such device.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn standing(&self, device: Number) -> Result<Option<Standing>, StoreError>;

    /// Of devices, with the number of their tags ([`Standing::roster`]), those that have others now. At most 4096.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn stale(&self, rosters: &[(Number, i64)]) -> Result<Vec<Number>, StoreError>;

    /// Says what devices have heard. Answers in order; devices are distinct, at most 512. Again: nothing changes.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn hear(&self, heard: &[Hearing]) -> Result<Vec<Heard>, StoreError>;

    /// Says that the session of this fence goes by the tags of this number from now on, and has passed over nothing that is for the device by them.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn goes_by(&self, device: Number, fence: i64, roster: i64) -> Result<(), StoreError>;

    /// Ends up to `limit` entries whose time is over. Answers how many.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn expire_log(&self, now: Micros, limit: u32) -> Result<u32, StoreError>;
}

/// Groups: what is said of them, who is there, and what was sent.
#[async_trait]
pub trait GroupStore: Send + Sync + 'static {
    /// Says what a group is. `false`, and nothing is changed: it would be a room, and has more than [`ROOM`] members. Again: nothing changes.
    ///
    /// # Errors
    /// As [`StoreError`]; `Refused` for more [`HISTORY`] than there can be.
    async fn set_group(&self, tenant: &str, group: &str, rules: &GroupRules, now: Micros) -> Result<bool, StoreError>;

    /// What is said of a group, and how many are in it. One that nobody has heard of has no rules, and nobody in it.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn group(&self, tenant: &str, group: &str) -> Result<Group, StoreError>;

    /// The groups that a device is in, by name.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn groups_of(&self, device: Number) -> Result<Vec<(String, GroupRules)>, StoreError>;

    /// Who is in a group with this device, which is one of them; nobody where it is no room. `None`: the device is not in it.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn members(&self, device: Number, group: &str) -> Result<Option<Vec<Member>>, StoreError>;

    /// Who is connected of each of these groups, given as (tenant, group); `None` of one that is no room. In order.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn present(&self, rooms: &[(String, String)]) -> Result<Vec<Option<Vec<Member>>>, StoreError>;

    /// What was sent to a group before the entry `before`, of the newest [`GroupRules::history`]: the last of it within `limit` (but one at least); what was withdrawn or
    /// has expired is left out. `None`: the device is not in it.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn history(
        &self,
        device: Number,
        group: &str,
        before: i64,
        limit: Limit,
        now: Micros,
    ) -> Result<Option<History>, StoreError>;
}
