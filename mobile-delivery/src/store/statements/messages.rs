//! Messages with their bodies, as devices get them.

use std::collections::HashMap;

use bytes::Bytes;
use uuid::Uuid;

use super::batch::batch;
use super::{Conn, Fault};
use crate::store::stored::priority_of;
use crate::store::{Given, Limit, Message, Micros};

const BODIES: &str = concat!(
    "SELECT d.device, d.seq, d.expires_at, m.id, m.sender, m.kind, m.content_type, m.body, m.traceparent, m.collapse_key, \
     m.priority, m.created_at FROM ",
    each!("$1"),
    " CROSS JOIN device_deliveries AS d JOIN device_messages AS m ON m.id = d.message WHERE d.device = ",
    int!("0"),
    " AND d.seq = ",
    int!("1"),
    " ORDER BY d.device, d.seq"
);

type Row = (i64, i64, Micros, Uuid, String, String, String, Vec<u8>, Option<String>, Option<String>, i16, Micros);

/// How many of messages of these sizes fit into `limit`: one at least.
pub(super) fn fitting(sizes: impl Iterator<Item = i64>, limit: Limit) -> usize {
    let most = usize::try_from(limit.messages.max(1)).unwrap_or(usize::MAX);
    let sum = sizes.take(most).scan(0_i64, |sum, size| {
        *sum += size;
        Some(*sum)
    });
    sum.enumerate().take_while(|(at, sum)| *at == 0 || *sum <= limit.bytes).count()
}

/// The messages of these rows, by device and place, those that are still there; in the order of places.
pub(super) async fn bodies(conn: &mut Conn, rows: &[(i64, i64)]) -> Result<HashMap<i64, Vec<Given>>, Fault> {
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let found: Vec<Row> = sqlx::query_as(BODIES).bind(batch(rows)?).fetch_all(conn).await?;
    let mut given: HashMap<i64, Vec<Given>> = HashMap::new();
    for row in found {
        let (device, seq, expires_at, id, sender, kind, content_type, body, traceparent, collapse_key, priority, created_at) =
            row;
        let (body, priority) = (Bytes::from(body), priority_of(priority));
        let message = Message { id, sender, kind, content_type, body, traceparent, collapse_key, priority, created_at };
        given.entry(device).or_default().push(Given { seq, expires_at, message });
    }
    Ok(given)
}
