//! Queues a team has already: their consumer knows nothing of Warren, and nothing of theirs is declared or changed.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, Consumer};
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::broker::{Broker, Message, Vhost};
use warren_tests::hub::{HubClient, HubOptions, HubProcess};
use warren_tests::proxy::{Mode, Proxy};
use warren_tests::wait::{until, until_true};

use crate::http_worker::Stage;
use crate::world::{Keep, LONG, settled};

/// A kind whose messages go elsewhere, raw and done with the confirm unless `target` says otherwise.
fn kind(name: &str, target: &str, more: &str) -> String {
    format!("\n[[kind]]\nname = \"{name}\"\nworker = \"amqp\"\n{more}\n[kind.amqp]\n{target}\n")
}

const HANDOFF: &str = "format = \"raw\"\ncompletion = \"handoff\"";

const NOOP: &str = "\n[[kind]]\nname = \"demo.noop\"\n";

/// A consumer as it was written before anybody spoke of Warren.
struct Old {
    _connection: Connection,
    deliveries: Consumer,
}

impl Old {
    async fn start(vhost: &Vhost, queue: &str) -> Self {
        let connection = Connection::connect(&vhost.url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let options = BasicConsumeOptions::default();
        let deliveries = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap();
        Self { _connection: connection, deliveries }
    }

    async fn next(&mut self) -> Delivery {
        let next = tokio::time::timeout(LONG, self.deliveries.next()).await.expect("a message in time");
        let delivery = next.unwrap().unwrap();
        delivery.ack(BasicAckOptions::default()).await.unwrap();
        delivery
    }
}

/// A queue of the team's own, bound to an exchange of theirs.
async fn declare(vhost: &Vhost, exchange: &str, sort: &str, key: &str, queue: &str) {
    vhost.declare_queue(queue, json!({"x-queue-type": "classic", "x-max-length": 5000})).await;
    if !exchange.is_empty() {
        vhost.declare_exchange(exchange, sort, json!({})).await;
        vhost.bind(exchange, queue, key).await;
    }
}

async fn a_consumer_goes_on_as_it_was(keep: Keep) {
    let stage = Stage::set(keep).await;
    let targets = [
        ("order.placed", "shop", "topic", "order.*", "order.placed", "fulfilment"),
        ("invoice.write", "billing", "direct", "invoice", "invoice", "invoices"),
        ("mail.send", "", "", "", "mails", "mails"),
    ];
    let mut toml = NOOP.to_owned();
    for (name, exchange, sort, binding, key, queue) in targets {
        declare(stage.vhost(), exchange, sort, binding, queue).await;
        let target = format!("exchange = \"{exchange}\"\nrouting_key = \"{key}\"\nqueue = \"{queue}\"\n{HANDOFF}");
        toml += &kind(name, &target, "content_types = [\"application/json\", \"text/plain\"]");
    }
    let before = stage.vhost().definitions().await;
    let hub = stage.hub(&toml).await;
    let client = hub.client();
    for (name, exchange, _, _, key, queue) in targets {
        let mut consumer = Old::start(stage.vhost(), queue).await;
        for (content_type, body) in [("application/json", "{ \"order\" : 7 }"), ("text/plain", "a line of text\u{0}")] {
            let request = client.request(Method::POST, &format!("/v1/kinds/{name}/jobs")).header("content-type", content_type);
            let answer = client.send(request.body(body)).await.unwrap();
            let id = answer.job_id().unwrap_or_else(|| panic!("{name}: {}", answer.body)).to_owned();
            let delivery = consumer.next().await;
            assert_eq!((&delivery.data[..], delivery.routing_key.as_str()), (body.as_bytes(), key), "{name}");
            assert_eq!(delivery.exchange.as_str(), exchange);
            let properties = &delivery.properties;
            let text = |field: &Option<lapin::types::ShortString>| field.as_ref().map(|text| text.as_str().to_owned());
            assert_eq!(text(properties.message_id()), Some(id.clone()));
            assert_eq!(text(properties.content_type()).as_deref(), Some(content_type));
            assert_eq!((text(properties.kind()).as_deref(), text(properties.app_id()).as_deref()), (Some(name), Some("warren")));
            assert_eq!(*properties.delivery_mode(), Some(2));
            assert!(properties.timestamp().is_some());
            assert!(properties.headers().as_ref().is_none_or(|headers| headers.inner().is_empty()), "{properties:?}");
            // Nobody reports anything.
            let job = client.wait_state(&id, "succeeded", LONG).await;
            assert_eq!((&job["attempts"], &job["reason"], &job["error"]), (&json!([]), &Value::Null, &Value::Null));
            assert!(job["ended_at"].is_string(), "{job}");
        }
        for own in [format!("jobs.{name}"), format!("jobs.{name}.dead")] {
            assert_eq!(stage.vhost().queue_depth(&own).await, None, "{own} is not declared");
        }
    }
    // All that was there is there still, and as it was.
    let after = stage.vhost().definitions().await;
    for part in ["exchanges", "queues", "bindings"] {
        let now = after[part].as_array().unwrap();
        assert!(before[part].as_array().unwrap().iter().all(|old| now.contains(old)), "{part}");
    }
}

#[tokio::test]
async fn a_consumer_goes_on_as_it_was_on_sqlite() {
    a_consumer_goes_on_as_it_was(Keep::Sqlite).await;
}

#[tokio::test]
async fn a_consumer_goes_on_as_it_was_on_postgres() {
    a_consumer_goes_on_as_it_was(Keep::Postgres).await;
}

/// Waits until a job shows why it waits.
async fn shows(client: &HubClient, id: &str, reason: &str) -> Value {
    until(LONG, &format!("{id} to show {reason}"), async || {
        let job = client.job(id).await.ok()?.body;
        (job["reason"] == reason).then_some(job)
    })
    .await
}

#[tokio::test]
async fn what_is_missing_is_said_and_waited_for_and_nobody_else_waits() {
    let stage = Stage::set(Keep::Postgres).await;
    let target = format!("exchange = \"shop\"\nrouting_key = \"order.placed\"\nqueue = \"fulfilment\"\n{HANDOFF}");
    let short = "timeout = \"1s\"\ndeadline = \"3s\"\nretry = { delays = [\"1s\"], max_attempts = 1 }";
    let toml = NOOP.to_owned() + &kind("order.placed", &target, "") + &kind("order.brief", &target, short);
    let hub = stage.hub(&toml).await;
    let (client, vhost) = (hub.client(), stage.vhost());
    let sentence = "exchange `shop` and queue `fulfilment` are not on the broker";
    until_true(LONG, "the log to say it", async || hub.log().contains(sentence)).await;

    let id = client.accepted("order.placed", &json!({"order": 1})).await;
    let job = shows(&client, &id, "exchange-missing").await;
    assert_eq!(job["state"], "accepted");
    assert!(job["error"].as_str().unwrap().contains("exchange `shop`"), "{job}");
    let brief = client.accepted("order.brief", &json!({})).await;
    let unwanted = client.accepted("order.placed", &json!({})).await;
    assert_eq!(client.send(client.request(Method::POST, &format!("/v1/jobs/{unwanted}/cancel"))).await.unwrap().status, 200);
    client.wait_state(&brief, "expired", LONG).await;
    let others = client.accepted("demo.noop", &json!({})).await;
    client.wait_state(&others, "succeeded", LONG).await;

    // An exchange that routes nowhere.
    vhost.declare_exchange("shop", "topic", json!({})).await;
    let job = shows(&client, &id, "unroutable").await;
    assert!(job["error"].as_str().unwrap().contains("no queue took the message"), "{job}");
    vhost.declare_queue("fulfilment", json!({})).await;
    vhost.bind("shop", "fulfilment", "order.#").await;
    let job = client.wait_state(&id, "succeeded", LONG).await;
    assert_eq!((&job["reason"], &job["error"]), (&Value::Null, &Value::Null), "{job}");

    // It goes while the hub runs: each publish closes its channel, and no other.
    vhost.delete_exchange("shop").await;
    let id = client.accepted("order.placed", &json!({"order": 2})).await;
    shows(&client, &id, "exchange-missing").await;
    for _ in 0..20 {
        let others = client.accepted("demo.noop", &json!({})).await;
        client.wait_state(&others, "succeeded", Duration::from_secs(10)).await;
    }
    vhost.declare_exchange("shop", "topic", json!({})).await;
    vhost.bind("shop", "fulfilment", "order.#").await;
    client.wait_state(&id, "succeeded", LONG).await;
    let came: Vec<Message> = vhost.get_messages("fulfilment", 10).await;
    let bodies: Vec<&[u8]> = came.iter().map(|message| &message.body[..]).collect();
    assert_eq!(bodies, [&br#"{"order":1}"#[..], br#"{"order":2}"#], "each once, and neither the cancelled nor the expired");
}

#[tokio::test]
async fn an_exchange_that_warren_may_not_write_to_keeps_nobody_else_waiting() {
    let stage = Stage::set(Keep::Sqlite).await;
    let vhost = stage.vhost();
    declare(vhost, "shop", "topic", "order.*", "fulfilment").await;
    vhost.set_permissions(".*", "^(?!shop$).*", ".*").await;
    let target = format!("exchange = \"shop\"\nrouting_key = \"order.placed\"\n{HANDOFF}");
    let hub = stage.hub(&(NOOP.to_owned() + &kind("order.placed", &target, ""))).await;
    let client = hub.client();
    let id = client.accepted("order.placed", &json!({"order": 1})).await;
    shows(&client, &id, "not-confirmed").await;
    for _ in 0..20 {
        let others = client.accepted("demo.noop", &json!({})).await;
        client.wait_state(&others, "succeeded", Duration::from_secs(10)).await;
    }
    vhost.set_permissions(".*", ".*", ".*").await;
    client.wait_state(&id, "succeeded", LONG).await;
    assert_eq!(vhost.get_messages("fulfilment", 10).await.len(), 1);
}

async fn a_kill_before_the_end_publishes_again(keep: Keep) {
    let stage = Stage::set(keep).await;
    let vhost = stage.vhost();
    declare(vhost, "", "", "", "mails").await;
    let toml = kind("mail.send", &format!("routing_key = \"mails\"\n{HANDOFF}"), "");
    // Dies with the confirm in hand, before the job's end is stored.
    let env = vec![("WARREN_CRASH_POINT".to_owned(), "K6".to_owned())];
    let mut hub = HubProcess::start(&HubOptions { env, ..stage.options(&toml) }).await;
    settled(&hub).await;
    let client = hub.client();
    let id = client.accepted("mail.send", &json!({"to": "a"})).await;
    hub.crashed(LONG).await;
    hub.start_again_with(&[]).await;
    client.wait_state(&id, "succeeded", LONG).await;
    let came = vhost.get_messages("mails", 10).await;
    let ids: Vec<Option<&str>> = came.iter().map(Message::message_id).collect();
    assert_eq!(ids, [Some(&*id), Some(&*id)], "twice, under one id");
    let jobs = client.get("/v1/jobs?kind=mail.send").await.unwrap();
    assert_eq!(jobs.body["items"].as_array().unwrap().len(), 1, "{}", jobs.body);
}

#[tokio::test]
async fn a_kill_before_the_end_publishes_again_on_sqlite() {
    a_kill_before_the_end_publishes_again(Keep::Sqlite).await;
}

#[tokio::test]
async fn a_kill_before_the_end_publishes_again_on_postgres() {
    a_kill_before_the_end_publishes_again(Keep::Postgres).await;
}

#[tokio::test]
async fn with_the_broker_away_jobs_are_accepted_and_handed_off_later() {
    let stage = Stage::set(Keep::Sqlite).await;
    declare(stage.vhost(), "", "", "", "mails").await;
    let proxy = Proxy::to(Broker::shared().await.amqp_addr()).await;
    let toml = kind("mail.send", &format!("routing_key = \"mails\"\n{HANDOFF}"), "");
    let hub = HubProcess::start(&HubOptions { broker_url: proxy.through(&stage.vhost().url()), ..stage.options(&toml) }).await;
    settled(&hub).await;
    proxy.set(Mode::Refuse).await;
    let client = hub.client();
    let mut ids = Vec::new();
    for number in 0..30 {
        ids.push(client.accepted("mail.send", &json!(number)).await);
    }
    assert_eq!(client.job(&ids[0]).await.unwrap().state(), Some("accepted"));
    proxy.set(Mode::Pass).await;
    for id in &ids {
        client.wait_state(id, "succeeded", LONG).await;
    }
    let mut came: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for message in stage.vhost().get_messages("mails", 100).await {
        came.insert(message.message_id().unwrap().to_owned(), message.body);
    }
    let sent = ids.iter().enumerate().map(|(number, id)| (id.clone(), number.to_string().into_bytes())).collect();
    assert_eq!(came, sent);
}

async fn report(vhost: &Vhost, message: &Message, outcome: &str) {
    let (epoch, attempt) = (message.header("warren-epoch"), message.header("warren-attempt"));
    let failure = (outcome != "succeeded").then(|| json!({"code": "boom", "message": "as the test wants it"}));
    let body = json!({
        "job": message.message_id(), "epoch": epoch, "attempt": attempt, "outcome": outcome, "failure": failure,
        "token": message.header("warren-token"),
        "started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:01Z", "worker": "old",
    });
    let id = format!("{}/{epoch}/{attempt}", message.message_id().unwrap());
    let properties = json!({"message_id": id, "type": "warren.result", "delivery_mode": 2});
    assert!(vhost.publish("warren.results", "warren.results", properties, body.to_string().as_bytes()).await);
}

/// The second step: the same queue, and a consumer that says how it went.
#[tokio::test]
async fn a_consumer_that_reports_has_retries_dead_letters_and_redrives_in_its_own_queue() {
    let stage = Stage::set(Keep::Sqlite).await;
    let vhost = stage.vhost();
    declare(vhost, "shop", "topic", "order.*", "fulfilment").await;
    let target = "exchange = \"shop\"\nrouting_key = \"order.placed\"\nqueue = \"fulfilment\"";
    let hub = stage.hub(&kind("order.placed", target, "window = 1\nretry = { delays = [\"1s\"] }")).await;
    let (client, admin) = (hub.client(), hub.admin());
    let take = async || {
        until(LONG, "a message in fulfilment", async || vhost.get_messages("fulfilment", 1).await.into_iter().next()).await
    };
    let id = client.accepted("order.placed", &json!({"order": 7})).await;
    let message = take().await;
    assert_eq!((message.message_id(), message.header("warren-attempt")), (Some(&*id), &json!(1)));
    assert_eq!((message.header("cloudEvents_type"), &*message.exchange), (&json!("order.placed"), "shop"));
    // One is out, and so the window is full until it comes back.
    let second = client.accepted("order.placed", &json!({"order": 8})).await;
    assert_eq!(client.job(&second).await.unwrap().state(), Some("accepted"));
    report(vhost, &message, "failed").await;
    // The first waits for its next attempt in the store, and takes no place meanwhile.
    let message = take().await;
    assert_eq!(message.message_id(), Some(&*second));
    report(vhost, &message, "succeeded").await;
    client.wait_state(&second, "succeeded", LONG).await;
    let message = take().await;
    let came = (message.message_id(), message.header("warren-attempt"), &*message.exchange);
    assert_eq!(came, (Some(&*id), &json!(2), "shop"), "from the store, and by no rung");
    report(vhost, &message, "rejected").await;
    client.wait_state(&id, "dead", LONG).await;
    let letter = until(LONG, "the dead letter", async || {
        let letters = admin.get("/admin/dead-letters?kind=order.placed").await.ok()?;
        Some(letters.body["items"][0]["id"].as_str()?.to_owned())
    })
    .await;

    let redrive = admin.request(Method::POST, &format!("/admin/dead-letters/{letter}/redrive")).json(&json!({}));
    assert_eq!(admin.send(redrive).await.unwrap().status, 200);
    let message = take().await;
    assert_eq!((message.message_id(), message.header("warren-epoch")), (Some(&*id), &json!(2)));
    report(vhost, &message, "succeeded").await;
    client.wait_state(&id, "succeeded", LONG).await;
    assert_eq!(vhost.queue_depth("jobs.order.placed").await, None);
    assert_eq!(vhost.queue_depth("warren.lost").await, Some(0));
}
