//! Pausing what goes to many, and having it go on.

use uuid::Uuid;

use super::records::is_there;
use super::{Conn, Fault, log};
use crate::store::{Entry, Giving, Micros, Pausing, Recalled};

pub(super) async fn pause(conn: &mut Conn, tenant: &str, message: Uuid, now: Micros) -> Result<Pausing<Recalled>, Fault> {
    if !is_there(conn, tenant, message).await? {
        return Ok(Pausing::Unknown);
    }
    Ok(match log::giving(conn, message, now).await? {
        None => Pausing::Direct,
        Some(Giving::Off) => Pausing::Over,
        Some(Giving::Paused) => Pausing::Done(None),
        Some(Giving::On) => Pausing::Done(log::pause(conn, message, now).await?),
    })
}

pub(super) async fn resume(conn: &mut Conn, tenant: &str, message: Uuid, now: Micros) -> Result<Pausing<Entry>, Fault> {
    if !is_there(conn, tenant, message).await? {
        return Ok(Pausing::Unknown);
    }
    Ok(match log::giving(conn, message, now).await? {
        None => Pausing::Direct,
        Some(Giving::Off) => Pausing::Over,
        Some(Giving::On) => Pausing::Done(None),
        Some(Giving::Paused) => Pausing::Done(log::resume(conn, message, now).await?),
    })
}
