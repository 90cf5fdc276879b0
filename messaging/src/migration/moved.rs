//! A message as it goes on: to the byte what it was, but for what the broker wrote on it.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::message::{Route, header};
use crate::wire::{Outbound, is_death_header, size_of};

/// Header bytes beyond which nothing is added: they go in one frame of 128 KiB, or the connection is closed.
const ROOM: usize = 120 * 1024;

/// The delivery on its way through the fanout exchange `exchange`, under its own key. The exchange it came through goes into the header
/// `warren-moved-from`.
pub(super) fn moved(exchange: &str, delivery: Delivery) -> Outbound {
    let properties = cleaned(&delivery.properties, delivery.exchange.as_str(), exchange);
    let id = properties.message_id().as_ref().map_or_else(String::new, |id| id.as_str().to_owned());
    let route = Route::new(exchange, delivery.routing_key.as_str());
    Outbound::as_it_is(route, id, properties, Bytes::from(delivery.data))
}

/// Without deaths and counts, which are the broker's (a kept `x-death` makes it drop the message as a cycle), and without `user_id`,
/// since nobody may publish in another's name.
fn cleaned(came: &BasicProperties, from: &str, through: &str) -> BasicProperties {
    let kept = came.headers().iter().flat_map(|table| table.inner()).filter(|(name, _)| !is_brokers(name.as_str()));
    let mut headers: FieldTable =
        kept.map(|(name, value)| (name.clone(), value.clone())).collect::<std::collections::BTreeMap<_, _>>().into();
    // On the way back it is there already; one of another time says nothing any more.
    if from != through && size_of(&AMQPValue::FieldTable(headers.clone())) <= ROOM {
        headers.insert(ShortString::from(header::MOVED_FROM), AMQPValue::LongString(from.into()));
    }
    let mut properties = BasicProperties::default();
    macro_rules! keep {
        ($($read:ident $write:ident),*) => {$(
            if let Some(value) = came.$read() {
                properties = properties.$write(value.clone());
            }
        )*};
    }
    keep!(
        content_type with_content_type, content_encoding with_content_encoding, delivery_mode with_delivery_mode,
        priority with_priority, correlation_id with_correlation_id, reply_to with_reply_to, expiration with_expiration,
        message_id with_message_id, timestamp with_timestamp, kind with_type, app_id with_app_id, cluster_id with_cluster_id
    );
    if headers.inner().is_empty() { properties } else { properties.with_headers(headers) }
}

fn is_brokers(name: &str) -> bool {
    is_death_header(name) || ["x-delivery-count", "x-acquired-count"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_kept_but_what_the_broker_wrote() {
        let mut headers = FieldTable::default();
        for name in ["x-death", "x-first-death-queue", "x-last-death-reason", "x-delivery-count"] {
            headers.insert(name.into(), AMQPValue::LongInt(1));
        }
        headers.insert("mine".into(), AMQPValue::LongInt(7));
        let came = BasicProperties::default()
            .with_headers(headers)
            .with_expiration("60000".into())
            .with_priority(9)
            .with_delivery_mode(1)
            .with_user_id("somebody".into())
            .with_message_id("m".into())
            .with_reply_to("r".into());
        let goes = cleaned(&came, "warren.events", "warren.moving.q");
        let mut expected = FieldTable::default();
        expected.insert("mine".into(), AMQPValue::LongInt(7));
        expected.insert(header::MOVED_FROM.into(), AMQPValue::LongString("warren.events".into()));
        let wanted = BasicProperties::default()
            .with_headers(expected)
            .with_expiration("60000".into())
            .with_priority(9)
            .with_delivery_mode(1)
            .with_message_id("m".into())
            .with_reply_to("r".into());
        assert_eq!(goes, wanted);
        assert_eq!(cleaned(&goes, "warren.moving.q", "warren.moving.q"), wanted, "and back the same");
    }

    #[test]
    fn a_message_without_headers_has_none_but_where_it_came_through() {
        assert_eq!(cleaned(&BasicProperties::default(), "e", "e"), BasicProperties::default());
        let goes = cleaned(&BasicProperties::default(), "", "warren.moving.q");
        assert_eq!(goes.headers().as_ref().map(|headers| headers.inner().len()), Some(1));
    }
}
