//! What is left of each product.

use serde::Serialize;
use sqlx::{PgPool, Row};

/// One product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stock {
    /// Which product.
    pub sku: String,
    /// How many may still be reserved.
    pub available: i64,
    /// How many are reserved.
    pub reserved: i64,
}

/// Says how many of `sku` are available; the product is made when there is none.
///
/// # Errors
/// When the database is away, or `available` is below zero.
pub async fn set(pool: &PgPool, sku: &str, available: i64) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("INSERT INTO products (sku) VALUES ($1) ON CONFLICT DO NOTHING").bind(sku).execute(&mut *tx).await?;
    sqlx::query(
        "INSERT INTO stock (sku, available) VALUES ($1, $2) ON CONFLICT (sku) DO UPDATE SET available = excluded.available",
    )
    .bind(sku)
    .bind(available)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// All products, by sku.
///
/// # Errors
/// When the database is away.
pub async fn list(pool: &PgPool) -> Result<Vec<Stock>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT s.sku, s.available, coalesce(sum(r.quantity), 0)::bigint AS reserved
         FROM stock s LEFT JOIN reservations r USING (sku) GROUP BY s.sku, s.available ORDER BY s.sku",
    )
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok(Stock { sku: row.try_get(0)?, available: row.try_get(1)?, reserved: row.try_get(2)? })).collect()
}
