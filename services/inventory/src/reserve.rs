//! The job `inventory.reserve`: takes a quantity of one product off the shelf for one order.

use std::num::NonZeroU32;

use async_trait::async_trait;
use broker_topology::Kind;
use messaging::handler::{Context, Failure, Handler, Json, Outcome};
use messaging::inbox::{Entry, Inbox, InboxError};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};

/// The job kind.
pub const KIND: &str = "inventory.reserve";

/// [`KIND`], parsed.
pub fn kind() -> Kind {
    // The test below keeps this from ever happening.
    Kind::parse(KIND).unwrap_or_else(|_| unreachable!("`{KIND}` is a kind"))
}

/// The payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReserveStock {
    /// For which order.
    pub order_id: String,
    /// Which product.
    pub sku: String,
    /// How many, from 1.
    pub quantity: NonZeroU32,
}

/// The result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// For which order.
    pub order_id: String,
    /// Which product.
    pub sku: String,
    /// How many.
    pub quantity: u32,
    /// How many are left.
    pub available: i64,
}

/// The handler.
///
/// Its effect and its inbox entry are one transaction. Unknown product, empty shelf and a bad payload are rejected; whatever
/// goes wrong with the database is tried again.
#[derive(Clone, Debug)]
pub struct Reserve {
    pool: PgPool,
}

impl Reserve {
    /// A handler on the service's database.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    async fn reserve(&self, cx: &Context, order: &ReserveStock) -> Result<Outcome, InboxError> {
        let mut tx = self.pool.begin().await?;
        let outcome = match take(&mut tx, order).await? {
            Some(available) => done(order, available),
            None => Outcome::Reject(why_not(&mut tx, order).await?),
        };
        messaging::crash_point!("K8");
        if let Entry::Already(before) = Inbox::record(&mut tx, cx, &outcome).await? {
            tx.rollback().await?;
            return Ok(before);
        }
        if matches!(outcome, Outcome::Done(_)) {
            note(&mut tx, cx, order).await?;
        }
        tx.commit().await?;
        Ok(outcome)
    }
}

#[async_trait]
impl Handler<Json<ReserveStock>> for Reserve {
    async fn handle(&self, cx: &Context, Json(order): Json<ReserveStock>) -> Outcome {
        if let Some(failure) = invalid(&order) {
            return Outcome::Reject(failure);
        }
        self.reserve(cx, &order).await.unwrap_or_else(|error| Outcome::Retry(Failure::new("database", error.to_string())))
    }
}

/// Takes the quantity if there is as much: how many are left, or `None`.
async fn take(tx: &mut PgConnection, order: &ReserveStock) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar("UPDATE stock SET available = available - $2 WHERE sku = $1 AND available >= $2 RETURNING available")
        .bind(&order.sku)
        .bind(i64::from(order.quantity.get()))
        .fetch_optional(tx)
        .await
}

async fn why_not(tx: &mut PgConnection, order: &ReserveStock) -> Result<Failure, sqlx::Error> {
    let available: Option<i64> =
        sqlx::query_scalar("SELECT available FROM stock WHERE sku = $1").bind(&order.sku).fetch_optional(tx).await?;
    Ok(match available {
        Some(available) => {
            Failure::new("out-of-stock", format!("{} of `{}` are wanted, {available} are left", order.quantity, order.sku))
        }
        None => Failure::new("unknown-sku", format!("there is no product `{}`", order.sku)),
    })
}

async fn note(tx: &mut PgConnection, cx: &Context, order: &ReserveStock) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO reservations (job_id, order_id, sku, quantity) VALUES ($1, $2, $3, $4)")
        .bind(&cx.id)
        .bind(&order.order_id)
        .bind(&order.sku)
        .bind(i64::from(order.quantity.get()))
        .execute(tx)
        .await
        .map(drop)
}

fn done(order: &ReserveStock, available: i64) -> Outcome {
    let reserved =
        Reserved { order_id: order.order_id.clone(), sku: order.sku.clone(), quantity: order.quantity.get(), available };
    Outcome::Done(serde_json::to_vec(&reserved).ok().map(Into::into))
}

/// What no database should be asked about.
fn invalid(order: &ReserveStock) -> Option<Failure> {
    for (field, text) in [("order_id", &order.order_id), ("sku", &order.sku)] {
        if text.is_empty() || text.len() > 200 || text.chars().any(char::is_control) {
            return Some(Failure::new("invalid", format!("`{field}` needs 1 to 200 bytes without control characters")));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_kind_is_one() {
        assert_eq!(Kind::parse(KIND).unwrap(), kind());
    }

    #[test]
    fn a_payload_without_a_quantity_of_one_or_more_does_not_decode() {
        for quantity in ["0", "-1", "1.5", "4294967296", "\"1\"", "null"] {
            let json = format!(r#"{{"order_id":"o","sku":"s","quantity":{quantity}}}"#);
            assert!(serde_json::from_str::<ReserveStock>(&json).is_err(), "{quantity}");
        }
    }

    #[test]
    fn texts_the_database_would_refuse_are_invalid() {
        let order = |sku: &str| ReserveStock { order_id: "o".into(), sku: sku.into(), quantity: NonZeroU32::MIN };
        assert_eq!(invalid(&order("tea")), None);
        for sku in ["", "te\0a", "te\na", &"x".repeat(201)] {
            assert_eq!(invalid(&order(sku)).unwrap().code, "invalid");
        }
    }
}
