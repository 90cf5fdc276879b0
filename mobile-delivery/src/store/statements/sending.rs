//! Accepting: one transaction and one fsync for a batch, each message answered on its own.
//!
//! Devices are held first, keys taken second, heads of logs third, each in order, so that two processes wait for each other and never in a circle.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

use super::batch::{batch, count, hex};
use super::ending::withdrawn;
use super::hold::Holding;
use super::placing::{Newcomer, place};
use super::resolving::{self, Backlogs, Recipient};
use super::{Conn, Fault, groups, log};
use crate::store::{Author, Key, Limits, Micros, NewMessage, RECIPIENTS, SENDS, Sent, StoreError, Target, Tier};

/// Deliveries that one call stores: what comes after is deferred. The first message always goes.
const DELIVERIES: usize = 4096;

const KNOWN: &str = concat!(
    "SELECT k.hash, k.message, k.fingerprint FROM ",
    each!("$1"),
    " CROSS JOIN device_keys AS k WHERE k.hash = ",
    bytes!("0")
);

const TAKE: &str = concat!(
    "INSERT INTO device_keys (hash, message, fingerprint, created_at) SELECT ",
    bytes!("0"),
    ", ",
    uuid!("1"),
    ", ",
    bytes!("2"),
    ", $2 FROM ",
    each!("$1"),
    " WHERE true ON CONFLICT (hash) DO NOTHING RETURNING hash"
);

const SCHEDULE: &str = concat!(
    "INSERT INTO device_scheduled (message, device, due_at, ttl, bytes, receipt, collapse_key) SELECT ",
    uuid!("0"),
    ", ",
    int!("1"),
    ", ",
    int!("2"),
    ", ",
    int!("3"),
    ", ",
    int!("4"),
    ", ",
    int!("5"),
    ", n.value->>6 FROM ",
    each!("$1")
);

/// What postgres refuses, and what no column has room for: the same message must be good or bad on both databases.
pub(super) fn check(sends: &[NewMessage], limits: &Limits) -> Result<(), StoreError> {
    let refused = |id: Uuid, why: &str| Err(StoreError::Refused(format!("message {id} {why}")));
    if sends.len() > SENDS {
        return Err(StoreError::Refused(format!("{} messages in one call: {SENDS} at most", sends.len())));
    }
    for send in sends {
        let message = &send.message;
        let texts = [&send.tenant, &message.sender, &message.kind, &message.content_type].into_iter();
        let mut texts = texts.chain(&message.traceparent).chain(&message.collapse_key);
        if texts.any(|text| text.contains('\0') || text.len() > 1024) {
            return refused(message.id, "has a text with a NUL or of more than 1024 bytes");
        }
        if count(message.body.len()) > limits.device_bytes.min(i64::from(i32::MAX)) {
            return refused(message.id, "is larger than what a device may have to get");
        }
    }
    Ok(())
}

pub(super) async fn send(
    conn: &mut Conn,
    shard: i16,
    sends: &[NewMessage],
    limits: &Limits,
    now: Micros,
) -> Result<Vec<Sent>, Fault> {
    let mut answers: Vec<Option<Sent>> = vec![None; sends.len()];
    let firsts = firsts(sends);
    let held_keys = known(conn, &firsts).await?;
    answer_known(sends, &held_keys, &mut answers);
    let is_first = |at: usize| sends[at].key.is_none_or(|key| firsts.get(&key.hash).is_some_and(|(first, _)| *first == at));
    let asked: Vec<usize> = (0..sends.len()).filter(|&at| answers[at].is_none() && is_first(at)).collect();

    let (to_log, asked): (Vec<usize>, Vec<usize>) = asked.into_iter().partition(|&at| log::audience(&sends[at]).is_some());
    let (mut recipients, backlogs) = resolving::recipients(conn, sends, &asked, &mut answers).await?;
    defer(&asked, &mut recipients, &mut answers);
    refuse_full(sends, &mut recipients, backlogs, limits, &mut answers);
    let publishers = to_log.iter().filter_map(|&at| Some(sends[at].publisher?.0));
    let devices = recipients.values().flatten().map(|recipient| recipient.device).chain(publishers);
    let mut holding = Holding::of(conn, devices).await?;
    recipients.retain(|&at, to| {
        let named = matches!(sends[at].target, Target::Devices(_));
        let refused = to.iter().find_map(|Recipient { device, id, .. }| match holding.get(*device) {
            None => Some(Sent::UnknownDevice { device: id.clone() }),
            Some(held) if named && held.revoked_at.is_some() => Some(Sent::Revoked { device: id.clone() }),
            Some(_) => None,
        });
        let fits = refused.is_none();
        answers[at] = refused.or(answers[at].take());
        fits
    });
    let to_many = to_many(conn, sends, &to_log, limits, &mut answers).await?;
    recipients.extend(to_many.keys().map(|&at| (at, Vec::new())));
    take_keys(conn, sends, &mut recipients, &mut answers, now).await?;
    store(conn, &mut holding, sends, &recipients, limits, &mut answers, now).await?;
    append(conn, sends, to_many.into_iter().filter(|(at, _)| recipients.contains_key(at)), &mut answers).await?;
    holding.write(conn, shard).await?;
    Ok(settle_repeated(sends, &firsts, answers))
}

type Firsts = BTreeMap<[u8; 32], (usize, Key)>;

/// Who came first with each key.
fn firsts(sends: &[NewMessage]) -> Firsts {
    let mut firsts = Firsts::new();
    for (at, send) in sends.iter().enumerate() {
        if let Some(key) = send.key {
            firsts.entry(key.hash).or_insert((at, key));
        }
    }
    firsts
}

type Known = HashMap<Vec<u8>, (Uuid, Vec<u8>)>;

async fn known(conn: &mut Conn, keys: &Firsts) -> Result<Known, Fault> {
    if keys.is_empty() {
        return Ok(Known::new());
    }
    let hashes = batch(keys.keys().map(|hash| [hex(hash)]))?;
    let found: Vec<(Vec<u8>, Uuid, Vec<u8>)> = sqlx::query_as(KNOWN).bind(hashes).fetch_all(conn).await?;
    Ok(found.into_iter().map(|(hash, message, fingerprint)| (hash, (message, fingerprint))).collect())
}

/// What a key that is taken answers.
fn same(message: Uuid, fingerprint: &[u8], key: &Key) -> Sent {
    match fingerprint == key.fingerprint {
        true => Sent::Existing { message },
        false => Sent::Conflict { message },
    }
}

fn answer_known(sends: &[NewMessage], known: &Known, answers: &mut [Option<Sent>]) {
    for (send, answer) in sends.iter().zip(answers) {
        let Some(key) = send.key.filter(|_| answer.is_none()) else { continue };
        if let Some((message, fingerprint)) = known.get(&key.hash[..]) {
            *answer = Some(same(*message, fingerprint, &key));
        }
    }
}

type Recipients = BTreeMap<usize, Vec<Recipient>>;

/// Leaves to a later call what is more than one transaction should hold.
fn defer(asked: &[usize], recipients: &mut Recipients, answers: &mut [Option<Sent>]) {
    let mut deliveries = 0;
    for at in asked {
        let Some(to) = recipients.get(at) else { continue };
        // Order among the messages of a caller is kept: once one is deferred, so are those after it.
        if deliveries > 0 && deliveries + to.len() > DELIVERIES {
            deliveries = DELIVERIES;
            recipients.remove(at);
            answers[*at] = Some(Sent::Deferred);
        } else {
            deliveries += to.len();
        }
    }
}

/// Refuses what is more than a tenant's devices may have to get.
fn refuse_full(
    sends: &[NewMessage],
    recipients: &mut Recipients,
    mut backlogs: Backlogs,
    limits: &Limits,
    answers: &mut [Option<Sent>],
) {
    recipients.retain(|&at, to| {
        let backlog = backlogs.entry(sends[at].tenant.clone()).or_default();
        let fits = *backlog + count(to.len()) <= limits.tenant_messages;
        match fits {
            true => *backlog += count(to.len()),
            false => answers[at] = Some(Sent::BacklogFull),
        }
        fits
    });
}

/// Takes the keys of what is to be stored; who has lost his is answered.
async fn take_keys(
    conn: &mut Conn,
    sends: &[NewMessage],
    recipients: &mut Recipients,
    answers: &mut [Option<Sent>],
    now: Micros,
) -> Result<(), Fault> {
    let keys: BTreeMap<[u8; 32], (usize, Key)> =
        recipients.keys().filter_map(|&at| sends[at].key.map(|key| (key.hash, (at, key)))).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let rows = keys.values().map(|(at, key)| (hex(&key.hash), sends[*at].message.id, hex(&key.fingerprint)));
    let won: Vec<(Vec<u8>,)> = sqlx::query_as(TAKE).bind(batch(rows)?).bind(now).fetch_all(&mut *conn).await?;
    if won.len() == keys.len() {
        return Ok(());
    }
    let won: BTreeSet<&[u8]> = won.iter().map(|(hash,)| hash.as_slice()).collect();
    let lost: Firsts = keys.into_iter().filter(|(hash, _)| !won.contains(&hash[..])).collect();
    let known = known(conn, &lost).await?;
    for (hash, (at, key)) in lost {
        // Retention took it in between: nothing is stored, and the next try finds it free.
        let Some((message, fingerprint)) = known.get(&hash[..]) else {
            return Err(StoreError::Undecided("an idempotency key is taken and given back by turns".into()).into());
        };
        answers[at] = Some(same(*message, fingerprint, &key));
        recipients.remove(&at);
    }
    Ok(())
}

async fn store(
    conn: &mut Conn,
    holding: &mut Holding,
    sends: &[NewMessage],
    recipients: &Recipients,
    limits: &Limits,
    answers: &mut [Option<Sent>],
    now: Micros,
) -> Result<(), Fault> {
    let accepted: Vec<&NewMessage> = recipients.keys().map(|&at| &sends[at]).collect();
    if accepted.is_empty() {
        return Ok(());
    }
    let (mut newcomers, mut whose, mut scheduled) = (Vec::new(), Vec::new(), Vec::new());
    for (&at, to) in recipients {
        let send = &sends[at];
        let (message, bytes, receipt) = (send.message.id, count(send.message.body.len()), send.receipt);
        let collapse_key = send.message.collapse_key.as_deref();
        let due_at = send.not_before.filter(|due_at| *due_at > now);
        holding.count(send.tenant.clone(), count(to.len()));
        for recipient in to {
            let ttl = limits.ttl_of(send.ttl, recipient.tier);
            if let Some(due_at) = due_at {
                scheduled.push((message, recipient.device, due_at, ttl, bytes, i16::from(receipt), collapse_key));
            } else {
                let expires_at = send.message.created_at.saturating_add(ttl);
                newcomers.push(Newcomer { device: recipient.device, message, bytes, expires_at, receipt, collapse_key });
                whose.push(at);
            }
        }
        answers[at] = Some(Sent::Accepted { message, placed: Vec::new(), withdrawn: Vec::new(), logged: None });
    }
    if !scheduled.is_empty() {
        sqlx::query(SCHEDULE).bind(batch(scheduled)?).execute(&mut *conn).await?;
    }
    let (places, ended) = place(conn, holding, &accepted, &newcomers, limits, now).await?;
    let made_way = withdrawn(conn, &ended).await?;
    let last = answers.iter_mut().rev().find_map(|answer| match answer {
        Some(Sent::Accepted { withdrawn, .. }) => Some(withdrawn),
        _ => None,
    });
    if let Some(told) = last {
        *told = made_way;
    }
    for (at, place) in whose.into_iter().zip(places) {
        if let Some(Sent::Accepted { placed, .. }) = &mut answers[at] {
            placed.push(place);
        }
    }
    Ok(())
}

/// How long a message to many is kept, and the device that published it.
type ForMany = (Micros, Option<Author>);

/// Of what goes to the log, that which is taken.
async fn to_many(
    conn: &mut Conn,
    sends: &[NewMessage],
    to_log: &[usize],
    limits: &Limits,
    answers: &mut [Option<Sent>],
) -> Result<BTreeMap<usize, ForMany>, Fault> {
    let with_devices: BTreeMap<usize, i64> = log::with_devices(conn, sends, to_log).await?.into_iter().collect();
    let mut published = groups::may_publish(conn, sends, to_log).await?;
    let mut taken = BTreeMap::new();
    for &at in to_log {
        let may = match (published.remove(&at), with_devices.get(&at)) {
            (Some(Err(refused)), _) => Err(refused),
            // Nothing that a device has said goes out as a back end's.
            (None, _) if sends[at].publisher.is_some() => Err(Sent::NotAMember),
            (_, None) => Err(Sent::NoDevices),
            (_, Some(live)) if *live >= limits.tenant_messages => Err(Sent::BacklogFull),
            (Some(Ok((ttl, author))), _) => Ok((ttl, Some(author))),
            (None, _) => Ok((sends[at].ttl, None)),
        };
        match may {
            Ok((ttl, author)) => drop(taken.insert(at, (limits.ttl_of(ttl, Tier::Standard), author))),
            Err(refused) => answers[at] = Some(refused),
        }
    }
    Ok(taken)
}

/// The last thing but counters: the heads of logs are held from here to the commit.
async fn append(
    conn: &mut Conn,
    sends: &[NewMessage],
    to_many: impl Iterator<Item = (usize, ForMany)>,
    answers: &mut [Option<Sent>],
) -> Result<(), Fault> {
    let (places, entries): (Vec<usize>, Vec<log::NewEntry<'_>>) = to_many
        .filter_map(|(at, (ttl, author))| {
            let send = &sends[at];
            Some((at, (send, log::audience(send)?, send.message.created_at.saturating_add(ttl), author)))
        })
        .unzip();
    let appended = log::append(conn, &entries).await?;
    for (at, entry) in places.into_iter().zip(appended) {
        if let Some(Sent::Accepted { logged, .. }) = &mut answers[at] {
            *logged = Some(Box::new(entry));
        }
    }
    Ok(())
}

/// Two of one key in one call: the second as the first.
fn settle_repeated(sends: &[NewMessage], firsts: &Firsts, answers: Vec<Option<Sent>>) -> Vec<Sent> {
    let first_answers = answers.clone();
    let settled = answers.into_iter().zip(sends).map(|(answer, send)| {
        if let Some(answer) = answer {
            return answer;
        }
        let first = send.key.and_then(|key| Some((key, firsts.get(&key.hash)?)));
        match first.and_then(|(key, (at, first))| Some((key, first, first_answers[*at].clone()?))) {
            Some((key, first, Sent::Accepted { message, .. })) => same(message, &first.fingerprint, &key),
            Some((.., other)) => other,
            None => Sent::Deferred,
        }
    });
    settled.collect()
}

/// Whether a message goes to more devices than it may.
pub(super) fn too_many(devices: usize) -> bool {
    devices > RECIPIENTS
}
