//! The aggregates, answered by statements that are the same on both databases.
//!
//! This folder is compiled once for each: `postgres.rs` and `sqlite.rs` say how a batch is taken apart, what holds a row and what a transaction
//! is, and nothing else differs. So there is one text of every statement, and one order of them.

mod batch;
mod credentials;
mod devices;
mod due;
mod emptying;
mod ending;
mod groups;
mod hold;
mod leaving;
mod listing;
mod log;
mod messages;
mod pausing;
mod placing;
mod processes;
mod purging;
mod ranking;
mod records;
mod relaying;
mod resolving;
mod sending;
mod sessions;
mod settling;
mod turning;

use async_trait::async_trait;
use uuid::Uuid;

use super::{Conn, Fault, put_messages, write_states};
use crate::store::{
    Ack, Acked, Cancelled, Claim, Claimed, Device, DeviceStore, Due, Ending, Entry, Expired, Filter, Group, GroupRules,
    GroupStore, HISTORY, Hash, Heard, Hearing, History, Idle, Lane, LaneStore, Left, Limit, Limits, LogStore, Lost, Mark, Member,
    Membership, MessageStore, Micros, NewMessage, Number, Over, Page, Pausing, Pending, ProcessId, Put, Reading, Recalled,
    Receipt, Record, Refreshed, Registration, Relayed, Removed, Sent, Session, SessionStore, Slot, Standing, StoreError, Tail,
    Turned, check_group,
};

/// The counters of a tenant below this are of what is sent, those from here on of what is acked: a counter is held until its transaction is on disk, and neither is
/// to wait for the other.
pub(super) const OF_ACKS: i16 = 8;

#[async_trait]
impl DeviceStore for super::Devices {
    async fn put(&self, registration: &Registration, now: Micros) -> Result<Put, StoreError> {
        write!(self.shared(), conn => devices::put(conn, registration, false, now))
    }

    async fn put_in_its_groups(&self, registration: &Registration, now: Micros) -> Result<Put, StoreError> {
        write!(self.shared(), conn => devices::put(conn, registration, true, now))
    }

    async fn member(&self, tenant: &str, group: &str, id: &str, is_in: bool, now: Micros) -> Result<Membership, StoreError> {
        check_group(group).map_err(|invalid| StoreError::Refused(invalid.to_string()))?;
        write!(self.shared(), conn => log::member(conn, tenant, group, id, is_in, now))
    }

    async fn get(&self, tenant: &str, id: &str) -> Result<Option<Device>, StoreError> {
        read!(self.shared(), conn => listing::get(conn, tenant, id))
    }

    async fn numbered(&self, device: Number) -> Result<Option<Device>, StoreError> {
        read!(self.shared(), conn => listing::numbered(conn, device))
    }

    async fn waiting_since(&self, devices: &[Number]) -> Result<Vec<(Number, Micros)>, StoreError> {
        read!(self.shared(), conn => ranking::waiting_since(conn, devices))
    }

    async fn list(&self, filter: &Filter) -> Result<Page, StoreError> {
        read!(self.shared(), conn => listing::list(conn, filter))
    }

    async fn remove(&self, tenant: &str, id: &str, now: Micros) -> Result<Option<Removed>, StoreError> {
        write!(self.shared(), conn => devices::remove(conn, self.shard, tenant, id, now))
    }

    async fn credit(&self, device: Number, hash: Hash, now: Micros) -> Result<bool, StoreError> {
        write!(self.shared(), conn => credentials::credit(conn, device, hash, now))
    }

    async fn refresh(&self, shown: Hash, fresh: Hash, now: Micros, grace: Micros) -> Result<Refreshed, StoreError> {
        write!(self.shared(), conn => credentials::refresh(conn, shown, fresh, now, grace))
    }

    async fn revoke(&self, device: Number, now: Micros) -> Result<Option<Option<Session>>, StoreError> {
        write!(self.shared(), conn => credentials::revoke(conn, device, now))
    }
}

#[async_trait]
impl MessageStore for super::Devices {
    async fn send(&self, sends: &[NewMessage], limits: &Limits, now: Micros) -> Result<Vec<Sent>, StoreError> {
        sending::check(sends, limits)?;
        write!(self.sending(), conn => sending::send(conn, self.shard, sends, limits, now))
    }

    async fn record(&self, tenant: &str, message: Uuid) -> Result<Option<Record>, StoreError> {
        read!(self.shared(), conn => records::record(conn, tenant, message))
    }

    async fn cancel(&self, tenant: &str, message: Uuid, now: Micros) -> Result<Cancelled, StoreError> {
        write!(self.shared(), conn => records::cancel(conn, self.shard, tenant, message, now))
    }

    async fn pause(&self, tenant: &str, message: Uuid, now: Micros) -> Result<Pausing<Recalled>, StoreError> {
        write!(self.shared(), conn => pausing::pause(conn, tenant, message, now))
    }

    async fn resume(&self, tenant: &str, message: Uuid, now: Micros) -> Result<Pausing<Entry>, StoreError> {
        write!(self.shared(), conn => pausing::resume(conn, tenant, message, now))
    }

    async fn read(&self, device: Number, messages: &[Uuid], now: Micros) -> Result<u32, StoreError> {
        write!(self.shared(), conn => records::read(conn, device.0, messages, now))
    }

    async fn empty(&self, device: Number, upto: i64, now: Micros, limit: u32) -> Result<u32, StoreError> {
        write!(self.shared(), conn => emptying::empty(conn, self.shard, device, upto, now, limit))
    }

    async fn place_due(&self, limits: &Limits, now: Micros, limit: u32) -> Result<Due, StoreError> {
        write!(self.shared(), conn => due::place_due(conn, self.shard, limits, now, limit))
    }

    async fn expire(&self, now: Micros, limit: u32) -> Result<Expired, StoreError> {
        write!(self.shared(), conn => due::expire(conn, self.shard, now, limit))
    }

    async fn purge(&self, before: Micros, limit: u32) -> Result<u32, StoreError> {
        write!(self.shared(), conn => purging::purge(conn, before, limit))
    }

    async fn purge_keys(&self, before: Micros, limit: u32) -> Result<u32, StoreError> {
        write!(self.shared(), conn => purging::purge_keys(conn, before, limit))
    }

    async fn receipts(&self, after: i64, limit: u32) -> Result<Vec<Receipt>, StoreError> {
        read!(self.shared(), conn => records::receipts(conn, after, limit))
    }

    async fn forget_receipts(&self, numbers: &[i64]) -> Result<(), StoreError> {
        mark!(self.shared(), conn => records::forget_receipts(conn, numbers))
    }
}

#[async_trait]
impl SessionStore for super::Devices {
    async fn claim(&self, claims: &[Claim], now: Micros) -> Result<Vec<Claimed>, StoreError> {
        write!(self.shared(), conn => sessions::claim(conn, claims, now))
    }

    async fn release(&self, ending: &[(Number, i64)], now: Micros) -> Result<Vec<bool>, StoreError> {
        let rows: Vec<(i64, i64)> = ending.iter().map(|(device, fence)| (device.0, *fence)).collect();
        let gone = write!(self.shared(), conn => sessions::release(conn, &rows, now))?;
        Ok(rows.iter().map(|(device, _)| gone.contains(device)).collect())
    }

    async fn pending(&self, device: Number, after: i64, limit: Limit, now: Micros) -> Result<Pending, StoreError> {
        read!(self.shared(), conn => settling::pending(conn, device, after, limit, now))
    }

    async fn behind(&self, devices: &[(Number, i64)], now: Micros) -> Result<Vec<Number>, StoreError> {
        read!(self.shared(), conn => settling::behind(conn, devices, now))
    }

    async fn over(&self, all: &[(Number, i64)]) -> Result<Vec<(Number, Over)>, StoreError> {
        read!(self.shared(), conn => sessions::over(conn, all))
    }

    async fn endings(&self, deliveries: &[(Number, Uuid)]) -> Result<Vec<Ending>, StoreError> {
        read!(self.shared(), conn => ending::without_ack(conn, deliveries))
    }

    async fn became(&self, deliveries: &[(Number, i64, Uuid)]) -> Result<Vec<Ending>, StoreError> {
        read!(self.shared(), conn => ending::became(conn, deliveries))
    }

    async fn settle(&self, acks: &[Ack], now: Micros) -> Result<Vec<Acked>, StoreError> {
        write!(self.settling(), conn => settling::settle(conn, self.shard + OF_ACKS, acks, now))
    }

    async fn told(&self, device: Number, fence: i64, number: i64) -> Result<bool, StoreError> {
        write!(self.shared(), conn => sessions::told(conn, device.0, fence, number))
    }

    async fn beat(&self, me: ProcessId, shards: &[String]) -> Result<Vec<(ProcessId, Vec<String>)>, StoreError> {
        write!(self.shared(), conn => processes::beat(conn, me, shards))
    }

    async fn leave(&self, me: ProcessId) -> Result<(), StoreError> {
        write!(self.shared(), conn => processes::leave(conn, me))
    }

    async fn release_lapsed(&self, now: Micros, limit: u32) -> Result<Lost, StoreError> {
        write!(self.shared(), conn => processes::release_lapsed(conn, now, limit))
    }
}

#[async_trait]
impl LaneStore for super::Devices {
    async fn take_slots(&self, me: ProcessId, want: u32) -> Result<Vec<Slot>, StoreError> {
        write!(self.shared(), conn => processes::take_slots(conn, me, want))
    }

    async fn give_slots(&self, slots: &[Slot]) -> Result<(), StoreError> {
        write!(self.shared(), conn => processes::give_slots(conn, slots))
    }

    async fn unsent(&self, reading: &Reading<'_>, now: Micros) -> Result<Vec<Relayed>, StoreError> {
        read!(self.shared(), conn => relaying::unsent(conn, reading, now))
    }

    async fn unsent_of(&self, devices: &[Number], reading: &Reading<'_>, now: Micros) -> Result<Vec<Relayed>, StoreError> {
        read!(self.shared(), conn => relaying::unsent_of(conn, devices, reading, now))
    }

    async fn mark_sent(&self, marks: &[Mark]) -> Result<Vec<bool>, StoreError> {
        mark!(self.settling(), conn => relaying::mark_sent(conn, self.shard + OF_ACKS, marks))
    }

    async fn warm(&self, device: Number, shard: &str, by: Option<i64>, now: Micros) -> Result<Option<Lane>, StoreError> {
        write!(self.shared(), conn => turning::warm(conn, device, shard, by, now))
    }

    async fn cool(&self, device: Number, turn: i64, now: Micros) -> Result<Turned, StoreError> {
        write!(self.shared(), conn => turning::cool(conn, device, turn, now))
    }

    async fn cooled(&self, device: Number, turn: i64) -> Result<Turned, StoreError> {
        write!(self.shared(), conn => turning::cooled(conn, device, turn))
    }

    async fn idle(&self, shards: &[&str], before: Micros, limit: u32) -> Result<Vec<Idle>, StoreError> {
        read!(self.shared(), conn => turning::idle(conn, shards, before, limit))
    }

    async fn cooling(&self, shards: &[&str], limit: u32) -> Result<Vec<Idle>, StoreError> {
        read!(self.shared(), conn => turning::cooling(conn, shards, limit))
    }

    async fn vacant(&self, shard: &str, limit: u32) -> Result<Vec<Idle>, StoreError> {
        read!(self.shared(), conn => leaving::vacant(conn, shard, limit))
    }

    async fn leave(&self, left: &Left) -> Result<(), StoreError> {
        write!(self.shared(), conn => leaving::leave(conn, left.device, &left.shard, left.tier, left.since))
    }

    async fn left(&self, shards: &[&str], before: Micros, limit: u32) -> Result<Vec<Left>, StoreError> {
        read!(self.shared(), conn => leaving::left(conn, shards, before, limit))
    }

    async fn gone(&self, left: &Left) -> Result<bool, StoreError> {
        write!(self.shared(), conn => leaving::gone(conn, left))
    }

    async fn occupied(&self, most: u32) -> Result<Vec<(String, u32)>, StoreError> {
        read!(self.shared(), conn => leaving::occupied(conn, most))
    }
}

#[async_trait]
impl LogStore for super::Devices {
    async fn heads(&self, tenants: &[String]) -> Result<Vec<(String, i64)>, StoreError> {
        read!(self.shared(), conn => log::heads(conn, tenants))
    }

    async fn tail(&self, tenant: &str, after: i64, limit: Limit) -> Result<Tail, StoreError> {
        read!(self.shared(), conn => log::tail(conn, tenant, after, limit))
    }

    async fn unheard(&self, device: Number, after: i64, limit: Limit, now: Micros) -> Result<Tail, StoreError> {
        read!(self.shared(), conn => log::unheard(conn, device.0, after, limit, now))
    }

    async fn standing(&self, device: Number) -> Result<Option<Standing>, StoreError> {
        let mut found = read!(self.shared(), conn => log::standings(conn, &[device.0]))?;
        Ok(found.remove(&device.0).map(|(standing, _)| standing))
    }

    async fn stale(&self, rosters: &[(Number, i64)]) -> Result<Vec<Number>, StoreError> {
        read!(self.shared(), conn => log::stale(conn, rosters))
    }

    async fn hear(&self, heard: &[Hearing]) -> Result<Vec<Heard>, StoreError> {
        write!(self.settling(), conn => log::hear(conn, heard))
    }

    async fn goes_by(&self, device: Number, fence: i64, roster: i64) -> Result<(), StoreError> {
        write!(self.shared(), conn => log::goes_by(conn, device, fence, roster))
    }

    async fn expire_log(&self, now: Micros, limit: u32) -> Result<u32, StoreError> {
        write!(self.shared(), conn => log::expire(conn, now, limit))
    }
}

#[async_trait]
impl GroupStore for super::Devices {
    async fn set_group(&self, tenant: &str, group: &str, rules: &GroupRules, now: Micros) -> Result<bool, StoreError> {
        check_group(group).map_err(|invalid| StoreError::Refused(invalid.to_string()))?;
        if rules.history > HISTORY {
            return Err(StoreError::Refused(format!("`history` must be {HISTORY} at most, not {}", rules.history)));
        }
        write!(self.shared(), conn => groups::set(conn, tenant, group, rules, now))
    }

    async fn group(&self, tenant: &str, group: &str) -> Result<Group, StoreError> {
        read!(self.shared(), conn => groups::get(conn, tenant, group))
    }

    async fn groups_of(&self, device: Number) -> Result<Vec<(String, GroupRules)>, StoreError> {
        read!(self.shared(), conn => groups::of(conn, device))
    }

    async fn members(&self, device: Number, group: &str) -> Result<Option<Vec<Member>>, StoreError> {
        read!(self.shared(), conn => groups::members(conn, device, group))
    }

    async fn present(&self, rooms: &[(String, String)]) -> Result<Vec<Option<Vec<Member>>>, StoreError> {
        read!(self.shared(), conn => groups::present(conn, rooms))
    }

    async fn history(
        &self,
        device: Number,
        group: &str,
        before: i64,
        limit: Limit,
        now: Micros,
    ) -> Result<Option<History>, StoreError> {
        read!(self.shared(), conn => groups::history(conn, device, group, before, limit, now))
    }
}
