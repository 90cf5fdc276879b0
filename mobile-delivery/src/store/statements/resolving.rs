//! Whom a message goes to: names to numbers. In the same round trip, how much the devices of its tenant have to get already.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::batch::batch;
use super::devices::user_tag;
use super::sending::too_many;
use super::{Conn, Fault};
use crate::store::{NewMessage, Sent, Target, Tier};

/// Found devices; and a row for each tenant, at [`TENANT`], with the sum of its counters.
macro_rules! found {
    ($by:expr) => {
        concat!(
            "SELECT ",
            int!("0"),
            ", d.number, d.id, d.tier FROM ",
            each!("$1"),
            " CROSS JOIN ",
            $by,
            " UNION ALL SELECT -1, CAST(sum(b.messages) AS bigint), b.tenant, CAST(0 AS smallint) \
             FROM device_backlogs AS b WHERE b.tenant IN (SELECT n.value->>1 FROM ",
            each!("$1"),
            ") GROUP BY b.tenant"
        )
    };
}

const DEVICES: &str = found!(concat!("devices AS d WHERE d.tenant = n.value->>1 AND ", live_id!(), " = n.value->>2"));

const TAGGED: &str =
    found!("device_tags AS t JOIN devices AS d ON d.number = t.device WHERE t.tenant = n.value->>1 AND t.tag = n.value->>2");

/// Where a row stands that is a tenant's.
const TENANT: i64 = -1;

/// What devices of tenants have to get.
pub(super) type Backlogs = HashMap<String, i64>;

/// A device that a message goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recipient {
    pub(super) device: i64,
    pub(super) id: String,
    pub(super) tier: Tier,
}

/// The recipients of each of `asked` that can be sent to, and what their tenants have to get; the others are answered.
pub(super) async fn recipients(
    conn: &mut Conn,
    sends: &[NewMessage],
    asked: &[usize],
    answers: &mut [Option<Sent>],
) -> Result<(BTreeMap<usize, Vec<Recipient>>, Backlogs), Fault> {
    let (mut by_id, mut by_tag) = (Vec::new(), Vec::new());
    for &at in asked {
        let tenant = sends[at].tenant.as_str();
        match &sends[at].target {
            Target::Devices(ids) => {
                let ids: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
                match too_many(ids.len()) {
                    true => answers[at] = Some(Sent::TooMany),
                    false => by_id.extend(ids.into_iter().map(|id| (at, tenant, Cow::Borrowed(id)))),
                }
            }
            Target::User { user, .. } => by_tag.push((at, tenant, Cow::Owned(user_tag(user)))),
            Target::Log(_) => {}
        }
    }
    let (mut found, mut backlogs) = (HashMap::<usize, Vec<Recipient>>::new(), Backlogs::new());
    for (statement, rows) in [(DEVICES, by_id), (TAGGED, by_tag)] {
        if rows.is_empty() {
            continue;
        }
        let rows: Vec<(i64, i64, String, i16)> = sqlx::query_as(statement).bind(batch(rows)?).fetch_all(&mut *conn).await?;
        for (at, device, id, tier) in rows {
            if at == TENANT {
                backlogs.insert(id, device);
                continue;
            }
            let recipient = Recipient { device, id, tier: Tier::of_stored(tier)? };
            found.entry(usize::try_from(at).unwrap_or_default()).or_default().push(recipient);
        }
    }
    let mut recipients = BTreeMap::new();
    for &at in asked.iter().filter(|at| answers[**at].is_none()).collect::<Vec<_>>() {
        match chosen(&sends[at].target, found.remove(&at).unwrap_or_default()) {
            Ok(chosen) => drop(recipients.insert(at, chosen)),
            Err(answer) => answers[at] = Some(answer),
        }
    }
    Ok((recipients, backlogs))
}

fn chosen(target: &Target, mut found: Vec<Recipient>) -> Result<Vec<Recipient>, Sent> {
    found.sort_unstable_by_key(|recipient| recipient.device);
    match target {
        Target::Devices(ids) => {
            if let Some(id) = ids.iter().find(|id| !found.iter().any(|recipient| recipient.id == **id)) {
                return Err(Sent::UnknownDevice { device: id.clone() });
            }
        }
        Target::User { except, .. } => found.retain(|recipient| Some(&recipient.id) != except.as_ref()),
        Target::Log(_) => return Ok(Vec::new()),
    }
    match found.len() {
        0 => Err(Sent::NoDevices),
        many if too_many(many) => Err(Sent::TooMany),
        _ => Ok(found),
    }
}
