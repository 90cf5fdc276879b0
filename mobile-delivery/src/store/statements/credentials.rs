//! Refresh credentials: hashes, and how each stands.

use super::hold::Holding;
use super::sessions::session_of;
use super::{Conn, Fault};
use crate::rules::{Kept, Refresh, Spent, refresh as rule};
use crate::store::{Hash, Micros, Number, Refreshed, Session};

/// Hashes that are known of a device, so that an old one is told from one that nobody had.
const KNOWN: i64 = 16;

const WHOSE: &str = "SELECT device, state, until FROM device_credentials WHERE hash = $1";

const SPEND: &str = "UPDATE device_credentials SET state = 2 WHERE device = $1 AND state <> 2";

const FORGET: &str = "DELETE FROM device_credentials WHERE device = $1";

const KEEP_FEW: &str = "DELETE FROM device_credentials WHERE hash IN (SELECT hash FROM device_credentials WHERE device = $1 \
     AND state = 2 ORDER BY created_at DESC LIMIT 1000 OFFSET $2)";

const KEEP: &str = "UPDATE device_credentials SET state = 1, until = $2 WHERE hash = $1";

const ADD: &str = "INSERT INTO device_credentials (hash, device, state, until, created_at) VALUES ($1, $2, 0, 0, $3)";

const DEVICE: &str = "SELECT tenant, id FROM devices WHERE number = $1";

type Row = (i64, i16, Micros);

async fn whose(conn: &mut Conn, hash: Hash) -> Result<Option<Row>, Fault> {
    Ok(sqlx::query_as(WHOSE).bind(hash.0.to_vec()).fetch_optional(conn).await?)
}

pub(super) async fn credit(conn: &mut Conn, device: Number, hash: Hash, now: Micros) -> Result<bool, Fault> {
    let mut holding = Holding::of(conn, [device.0]).await?;
    let Some(held) = holding.change(device.0) else { return Ok(false) };
    if let Some(revoked_at) = held.revoked_at.take() {
        // Tokens that were good when it was revoked are not good again for that.
        held.tokens_since = Some(revoked_at);
    }
    sqlx::query(FORGET).bind(device.0).execute(&mut *conn).await?;
    sqlx::query(ADD).bind(hash.0.to_vec()).bind(device.0).bind(now).execute(&mut *conn).await?;
    holding.write(conn, 0).await?;
    Ok(true)
}

pub(super) async fn refresh(conn: &mut Conn, shown: Hash, fresh: Hash, now: Micros, grace: Micros) -> Result<Refreshed, Fault> {
    let Some((device, ..)) = whose(conn, shown).await? else { return Ok(Refreshed::Unknown) };
    let mut holding = Holding::of(conn, [device]).await?;
    // Once more: who held the device before may have shown the same.
    let Some((_, state, until)) = whose(conn, shown).await? else { return Ok(Refreshed::Unknown) };
    let number = Number(device);
    match holding.get(device) {
        None => return Ok(Refreshed::Unknown),
        Some(held) if held.revoked_at.is_some() => return Ok(Refreshed::Revoked { device: number }),
        Some(_) => {}
    }
    let kept = match state {
        0 => Kept::Current,
        1 => Kept::Previous { until },
        _ => Kept::Spent,
    };
    // The answer was lost, and the same is asked again.
    let again = whose(conn, fresh).await?.is_some_and(|(of, state, _)| of == device && state == 0) && fresh != shown;
    if !again {
        match rule(kept, now) {
            Refresh::Revoke => {
                if let Some(held) = holding.change(device) {
                    held.revoked_at = Some(now);
                }
                let session = session_of(conn, device).await?;
                holding.write(conn, 0).await?;
                return Ok(Refreshed::Reused { device: number, session });
            }
            Refresh::Take { spent } => take(conn, device, (shown, fresh), spent, now, grace).await?,
        }
    }
    let (tenant, id): (String, String) = sqlx::query_as(DEVICE).bind(device).fetch_one(conn).await?;
    Ok(Refreshed::Done { device: number, tenant, id })
}

async fn take(
    conn: &mut Conn,
    device: i64,
    (shown, fresh): (Hash, Hash),
    spent: Spent,
    now: Micros,
    grace: Micros,
) -> Result<(), Fault> {
    sqlx::query(SPEND).bind(device).execute(&mut *conn).await?;
    if spent == Spent::AllButShown {
        sqlx::query(KEEP).bind(shown.0.to_vec()).bind(now.saturating_add(grace)).execute(&mut *conn).await?;
    }
    sqlx::query(ADD).bind(fresh.0.to_vec()).bind(device).bind(now).execute(&mut *conn).await?;
    sqlx::query(KEEP_FEW).bind(device).bind(KNOWN).execute(conn).await?;
    Ok(())
}

pub(super) async fn revoke(conn: &mut Conn, device: Number, now: Micros) -> Result<Option<Option<Session>>, Fault> {
    let mut holding = Holding::of(conn, [device.0]).await?;
    let Some(held) = holding.change(device.0) else { return Ok(None) };
    held.revoked_at = held.revoked_at.or(Some(now));
    let session = session_of(conn, device.0).await?;
    holding.write(conn, 0).await?;
    Ok(Some(session))
}
