//! How the crates with tables ask a database, in as few words as they have statements.

/// Does `$work` on a connection `$conn` of the pool `$pool`, again after a conflict, and not for longer than
/// [`ANSWER`](crate::postgres::ANSWER). `$work` is a future of a `Result` whose error is a [`Fault`](crate::postgres::error::Fault).
#[macro_export]
macro_rules! ask {
    ($pool:expr, $conn:ident => $work:expr) => {{
        let mut left = $crate::postgres::CONFLICTS;
        loop {
            let mut lease = $pool.acquire().await.map_err($crate::postgres::error::store)?;
            let answer = {
                let $conn: &mut $crate::sqlx::PgConnection = &mut lease;
                $crate::postgres::in_time($work).await
            };
            match answer {
                Ok(Ok(value)) => break Ok::<_, $crate::StoreError>(value),
                Ok(Err(fault)) if left > 0 && fault.is_conflict() => left -= 1,
                Ok(Err(fault)) => break Err($crate::StoreError::from(fault)),
                Err(_) => {
                    drop(lease.detach());
                    break Err($crate::postgres::error::silent());
                }
            }
        }
    }};
}

/// Reads what is committed, with a connection of its own. `$work` is a future of a `Result`.
#[macro_export]
macro_rules! read {
    ($database:expr, $conn:ident => $work:expr) => {{
        let mut lease = $database.reader().await?;
        let $conn: &mut $crate::sqlx::SqliteConnection = &mut lease;
        $work.await
    }};
}

/// Writes in a transaction, [`SYNCED`](crate::sqlite::SYNCED) or [`LAZY`](crate::sqlite::LAZY), which an error rolls back.
#[macro_export]
macro_rules! write {
    ($how:expr, $database:expr, $conn:ident => $work:expr) => {{
        let mut lease = $database.writer().await?;
        let done = async {
            let mut tx = $crate::sqlite::begin(&mut lease, $how).await?;
            let done = {
                let $conn: &mut $crate::sqlx::SqliteConnection = &mut tx;
                $work.await?
            };
            tx.commit().await.map_err($crate::sqlite::error::store)?;
            Ok::<_, $crate::StoreError>(done)
        }
        .await;
        $crate::sqlite::give_back(lease, &done).await;
        done
    }};
}
