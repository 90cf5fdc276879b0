//! In which order devices are looked at.
//!
//! By registration, the narrowest of what was asked for leads (user, group, label, online, tenant), each by an index of its own that is in the order of
//! numbers. By what they have to get, those with much of it are found by their load ([`crate::rules::load`]), the highest first; the others, and those of a
//! narrow choice, are looked at in windows. By age, the deliveries are walked as their messages were sent.

use std::cmp::Reverse;

use uuid::Uuid;

use super::batch::{batch, count};
use super::devices::{EVERY_TAG, group_tag, label_tag, user_tag};
use super::{Conn, Fault};
use crate::rules::{LOADED_BYTES, LOADED_MESSAGES, load};
use crate::store::{After, Filter, Micros, Number, Order, Presence};

const ALL: &str = "SELECT device FROM device_states WHERE CAST($1 AS text) IS NULL AND device > $2 ORDER BY device LIMIT $3";

const TAGGED: &str = "SELECT device FROM device_tags WHERE tenant = $1 AND tag = $4 AND device > $2 ORDER BY device LIMIT $3";

const ONLINE: &str =
    concat!("SELECT device FROM device_sessions WHERE ", of_tenant!("device"), " ORDER BY tenant, device LIMIT $3");

const ALL_ONLINE: &str =
    "SELECT device FROM device_sessions WHERE CAST($1 AS text) IS NULL AND device > $2 ORDER BY device LIMIT $3";

const HIGHEST: &str = "SELECT max(load) FROM device_states WHERE load > 0";

/// Those of a load or a higher one, by what they have, after one of them.
macro_rules! loaded {
    ($amount:literal) => {
        concat!(
            "SELECT device, ",
            $amount,
            " FROM device_states WHERE load > 0 AND load >= $1 AND (CAST($2 AS text) IS NULL OR tenant = $2) AND (",
            $amount,
            ", -device) < ($3, $4) AND ",
            $amount,
            " >= $5 ORDER BY ",
            $amount,
            " DESC, device LIMIT $6"
        )
    };
}

const AMOUNTS: &str = concat!(
    "SELECT device, backlog, backlog_bytes FROM device_states WHERE backlog > 0 AND device IN (SELECT CAST(n.value AS bigint) FROM ",
    each!("$1"),
    ")"
);

const BY_AGE: &str = "SELECT d.message, d.device, \
     NOT EXISTS (SELECT 1 FROM device_deliveries AS o WHERE o.device = d.device AND o.seq < d.seq) \
     FROM device_deliveries AS d WHERE (d.message, d.device) > ($1, $2) ORDER BY d.message, d.device LIMIT $3";

const SINCE: &str = concat!(
    "SELECT d.device, m.created_at FROM ",
    each!("$1"),
    " CROSS JOIN device_deliveries AS d JOIN device_messages AS m ON m.id = d.message WHERE d.device = CAST(n.value AS bigint) \
     AND d.seq = (SELECT min(o.seq) FROM device_deliveries AS o WHERE o.device = CAST(n.value AS bigint))"
);

/// Deliveries that are looked at together.
const TOGETHER: i64 = 500;

/// One that is looked at, and where to go on after it.
pub(super) struct Step {
    /// `None`: it was looked at for nothing.
    pub(super) device: Option<i64>,
    pub(super) after: After,
}

/// Devices in the order that is asked for.
pub(super) struct Walk<'a> {
    filter: &'a Filter,
    /// What is asked for leads by itself to few devices: nobody else is looked at.
    is_narrow: bool,
    at: At,
}

/// Where the walk is.
enum At {
    Number(i64),
    /// Among those of this load, or a higher one; `None`: whichever is the highest.
    Loaded {
        load: Option<i16>,
        after: (i64, i64),
    },
    /// In the window after a device; after one of its devices, if some of them were seen.
    Window {
        window: i64,
        after: Option<(i64, i64)>,
    },
    Message(Uuid, i64),
    End,
}

impl<'a> Walk<'a> {
    pub(super) fn of(filter: &'a Filter) -> Self {
        let is_narrow = filter.user.is_some()
            || filter.group.is_some()
            || filter.label.is_some()
            || filter.presence == Some(Presence::Online);
        let at = match (filter.after, filter.order) {
            (Some(After::Device(device)), _) => At::Number(device.0),
            (Some(After::Loaded { amount, device }), _) => At::Loaded { load: None, after: (amount, device.0) },
            (Some(After::Window { window, amount, device }), _) => {
                At::Window { window: window.0, after: Some((amount, device.0)) }
            }
            (Some(After::Message { message, device }), _) => At::Message(message, device.0),
            (None, Order::Registered) => At::Number(0),
            (None, _) if is_narrow => At::Window { window: 0, after: None },
            (None, Order::Age) => At::Message(Uuid::nil(), 0),
            (None, Order::Messages | Order::Bytes) => At::Loaded { load: None, after: (i64::MAX, 0) },
        };
        Self { filter, is_narrow, at }
    }

    /// Some more, about `many`; none at the end.
    pub(super) async fn next(&mut self, conn: &mut Conn, many: usize) -> Result<Vec<Step>, Fault> {
        loop {
            let steps = match self.at {
                At::End => return Ok(Vec::new()),
                At::Number(after) => self.by_number(conn, after, many).await?,
                At::Loaded { load, after } => self.loaded(conn, load, after, many).await?,
                At::Window { window, after } => self.window(conn, window, after).await?,
                At::Message(message, device) => self.by_age(conn, message, device).await?,
            };
            if !steps.is_empty() {
                return Ok(steps);
            }
        }
    }

    async fn by_number(&mut self, conn: &mut Conn, after: i64, many: usize) -> Result<Vec<Step>, Fault> {
        let numbers = numbers(conn, self.filter, after, count(many)).await?;
        self.at = numbers.last().map_or(At::End, |last| At::Number(*last));
        Ok(numbers.into_iter().map(|device| Step { device: Some(device), after: After::Device(Number(device)) }).collect())
    }

    /// The highest load first. One that is lower has less than the least of it, so that what is found at each is what comes next.
    async fn loaded(&mut self, conn: &mut Conn, at: Option<i16>, after: (i64, i64), many: usize) -> Result<Vec<Step>, Fault> {
        let (statement, least) = match self.filter.order {
            Order::Bytes => (loaded!("backlog_bytes"), LOADED_BYTES),
            _ => (loaded!("backlog"), LOADED_MESSAGES),
        };
        let at = match at {
            Some(at) => at,
            None => {
                let (highest,): (Option<i16>,) = sqlx::query_as(HIGHEST).fetch_one(&mut *conn).await?;
                // Whoever has as much as the last one has this load at least.
                let (messages, bytes) = if least == LOADED_BYTES { (0, after.0) } else { (after.0, 0) };
                highest.unwrap_or(0).min(load(messages, bytes))
            }
        };
        if at < 1 {
            self.at = At::Window { window: 0, after: None };
            return Ok(Vec::new());
        }
        let least = least.checked_shl(u32::try_from(at - 1).unwrap_or(u32::MAX)).unwrap_or(i64::MAX);
        let query = sqlx::query_as(statement).bind(at).bind(self.filter.tenant.as_deref()).bind(after.0).bind(-after.1);
        let found: Vec<(i64, i64)> = query.bind(least).bind(count(many)).fetch_all(conn).await?;
        self.at = match found.last() {
            Some(&(device, amount)) if found.len() >= many => At::Loaded { load: Some(at), after: (amount, device) },
            Some(&(device, amount)) => At::Loaded { load: Some(at - 1), after: (amount, device) },
            None => At::Loaded { load: Some(at - 1), after },
        };
        let step = |(device, amount)| Step { device: Some(device), after: After::Loaded { amount, device: Number(device) } };
        Ok(found.into_iter().map(step).collect())
    }

    /// A window of devices, in order, without those that were found by their load.
    async fn window(&mut self, conn: &mut Conn, window: i64, after: Option<(i64, i64)>) -> Result<Vec<Step>, Fault> {
        let scan = self.filter.scan.max(1);
        let numbers = numbers(conn, self.filter, window, i64::from(scan)).await?;
        let Some(&last) = numbers.last() else {
            self.at = At::End;
            return Ok(Vec::new());
        };
        let found: Vec<(i64, i64, i64)> = sqlx::query_as(AMOUNTS).bind(batch(&numbers)?).fetch_all(&mut *conn).await?;
        let mut amounts: Vec<(i64, i64)> = match self.filter.order {
            Order::Age => {
                let devices: Vec<Number> = found.iter().map(|(device, ..)| Number(*device)).collect();
                let since = waiting_since(conn, &devices).await?;
                since.into_iter().map(|(device, since)| (since.saturating_neg(), device.0)).collect()
            }
            Order::Bytes => found.iter().map(|(device, _, bytes)| (*bytes, *device)).collect(),
            _ => found.iter().map(|(device, messages, _)| (*messages, *device)).collect(),
        };
        if !self.is_narrow {
            let least = if self.filter.order == Order::Bytes { LOADED_BYTES } else { LOADED_MESSAGES };
            amounts.retain(|(amount, _)| *amount < least);
        }
        let rank = |(amount, device): (i64, i64)| (Reverse(amount), device);
        amounts.sort_unstable_by_key(|one| rank(*one));
        if let Some(after) = after {
            amounts.retain(|one| rank(*one) > rank(after));
        }
        self.at = At::Window { window: last, after: None };
        let at = |amount, device| After::Window { window: Number(window), amount, device: Number(device) };
        let mut steps: Vec<Step> =
            amounts.into_iter().map(|(amount, device)| Step { device: Some(device), after: at(amount, device) }).collect();
        // The window was looked at, however few of it have anything to get.
        let rest = usize::try_from(scan).unwrap_or(usize::MAX).min(numbers.len()).saturating_sub(steps.len());
        let end = || Step { device: None, after: After::Window { window: Number(last), amount: i64::MAX, device: Number(0) } };
        steps.extend(std::iter::repeat_with(end).take(rest));
        Ok(steps)
    }

    async fn by_age(&mut self, conn: &mut Conn, message: Uuid, device: i64) -> Result<Vec<Step>, Fault> {
        let found: Vec<(Uuid, i64, bool)> =
            sqlx::query_as(BY_AGE).bind(message).bind(device).bind(TOGETHER).fetch_all(conn).await?;
        self.at = found.last().map_or(At::End, |(message, device, _)| At::Message(*message, *device));
        let step = |(message, device, is_oldest): (Uuid, i64, bool)| Step {
            device: is_oldest.then_some(device),
            after: After::Message { message, device: Number(device) },
        };
        Ok(found.into_iter().map(step).collect())
    }
}

/// The next numbers of devices that are asked for.
async fn numbers(conn: &mut Conn, filter: &Filter, after: i64, many: i64) -> Result<Vec<i64>, Fault> {
    let user = filter.user.as_deref().map(user_tag);
    let label = || filter.label.as_ref().map(|(name, value)| label_tag(name, value));
    let tag = user.or_else(|| filter.group.as_deref().map(group_tag)).or_else(label);
    let online = filter.presence == Some(Presence::Online);
    let (statement, tag) = match (tag, online, filter.tenant.is_some()) {
        (Some(tag), ..) => (TAGGED, Some(tag)),
        (None, true, true) => (ONLINE, None),
        (None, true, false) => (ALL_ONLINE, None),
        (None, false, true) => (TAGGED, Some(EVERY_TAG.to_owned())),
        (None, false, false) => (ALL, None),
    };
    let query = sqlx::query_as(statement).bind(filter.tenant.as_deref()).bind(after).bind(many);
    let query = match tag {
        Some(tag) => query.bind(tag),
        None => query,
    };
    let numbers: Vec<(i64,)> = query.fetch_all(conn).await?;
    Ok(numbers.into_iter().map(|(number,)| number).collect())
}

/// When the longest waiting messages of devices were sent, of those that have any.
pub(super) async fn waiting_since(conn: &mut Conn, devices: &[Number]) -> Result<Vec<(Number, Micros)>, Fault> {
    let found: Vec<(i64, Micros)> = sqlx::query_as(SINCE).bind(batch(devices)?).fetch_all(conn).await?;
    Ok(found.into_iter().map(|(device, since)| (Number(device), since)).collect())
}
