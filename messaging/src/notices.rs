//! Wake-ups between processes: what is published to `warren.notices` is heard by every process that listens at that moment.
//!
//! Each listener has an exclusive queue of its own, `warren.notices.<random>`, which is gone with its connection: a notice is heard once at
//! most. The name is ours and not the broker's (`amq.gen-...`), so that a user can be let declare such queues and no others. Who listens is
//! told when the queue is there and when it is lost, since what is said in between is never heard.

use std::collections::BTreeMap;
use std::time::Duration;

use broker_topology::Names;
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Consumer};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::connection::Link;
use crate::message::{Message, Route};
use crate::publisher::Publisher;
use crate::subscription;
use crate::wire::Outbound;

/// The `type` of the message.
pub const KIND: &str = "warren.notice";

/// Notices that wait in the broker for one listener; what comes beyond takes the place of the oldest.
const WAITING: i32 = 10_000;

/// How long a notice may take on its way.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// From now on it hears everything.
    Open,
    /// A notice, of this process too.
    Notice(Bytes),
    /// It hears nothing until the next [`Heard::Open`].
    Lost,
}

/// A notice that nobody may have heard, and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a notice is not heard: {0}")]
pub struct NotTold(String);

/// Tells whoever listens to notices of the type `kind`, as JSON, and waits up to 5 s until the broker has it. The publisher should be one for
/// notices alone: who may not publish them loses its channel.
///
/// # Errors
/// [`NotTold`]: whatever rests on notices has another way to find out.
pub async fn tell(
    publisher: &Publisher,
    names: &Names,
    kind: &str,
    source: &str,
    notice: &impl Serialize,
) -> Result<(), NotTold> {
    let message = Message {
        id: Uuid::now_v7().to_string(),
        kind: kind.to_owned(),
        source: source.to_owned(),
        time: Timestamp::now(),
        content_type: "application/json".to_owned(),
        traceparent: None,
        run: None,
        tenant: String::new(),
        headers: BTreeMap::new(),
        body: serde_json::to_vec(notice).map_err(|error| NotTold(error.to_string()))?.into(),
    };
    let outbound = Outbound::new(Route::new(names.notices(), ""), &message).map_err(|error| NotTold(error.to_string()))?;
    match tokio::time::timeout(PATIENCE, publisher.publish(outbound)).await {
        Ok(published) => published.map_err(|error| NotTold(error.to_string())),
        Err(_) => Err(NotTold(format!("the broker has not confirmed it within {} s", PATIENCE.as_secs()))),
    }
}

/// Listens until `stop`, and hands on what it hears. While `heard` is full nothing more is taken.
pub async fn listen(link: Link, names: Names, heard: mpsc::Sender<Heard>, stop: CancellationToken) {
    listen_to(KIND, link, names, heard, stop).await;
}

/// As [`listen`], to notices of this `type` alone, so that one part of a hub does not read those of another.
pub async fn listen_to(kind: &'static str, link: Link, names: Names, heard: mpsc::Sender<Heard>, stop: CancellationToken) {
    let mut wait = Duration::from_millis(200);
    loop {
        let opened = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            opened = open(&link, &names) => opened,
        };
        match opened {
            Ok((_channel, mut notices)) => {
                wait = Duration::from_millis(200);
                if heard.send(Heard::Open).await.is_err() {
                    return;
                }
                loop {
                    let notice = tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        notice = notices.next() => notice,
                    };
                    let Some(Ok(delivery)) = notice else { break };
                    if delivery.properties.kind().as_ref().is_some_and(|said| said.as_str() != kind) {
                        continue;
                    }
                    if heard.send(Heard::Notice(Bytes::from(delivery.data))).await.is_err() {
                        return;
                    }
                }
                if heard.send(Heard::Lost).await.is_err() {
                    return;
                }
            }
            Err(why) => tracing::debug!(why, "cannot listen to notices, trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}

async fn open(link: &Link, names: &Names) -> Result<(Channel, Consumer), String> {
    let live = link.live().await.map_err(|_| "the link is closed".to_owned())?;
    let opening = async {
        let channel = live.connection.create_channel().await?;
        let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(WAITING));
        let to = names.notices();
        // New each time: the broker may still hold the one of a connection that it has not yet noticed to be gone.
        let name = ShortString::from(format!("{to}.{}", Uuid::new_v4().simple()));
        channel.queue_declare(name.clone(), own, arguments).await?;
        channel
            .queue_bind(name.clone(), to.as_str().into(), "".into(), QueueBindOptions::default(), FieldTable::default())
            .await?;
        let lightly = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
        let notices = subscription::consume(&channel, name, lightly, FieldTable::default()).await?;
        Ok::<_, lapin::Error>((channel, notices))
    };
    match tokio::time::timeout(Duration::from_secs(10), opening).await {
        Ok(opened) => opened.map_err(|error| error.to_string()),
        Err(_) => Err("the broker does not answer".to_owned()),
    }
}
