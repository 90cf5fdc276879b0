//! A subscriber dies between the publish of what follows from an event and the ack of the original: two copies are on their way.
//!
//! K11: a retry was published. K12: a dead letter was.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::json;
use sqlx::PgPool;
use warren_tests::broker::{Broker, Vhost};
use warren_tests::postgres::Postgres;
use warren_tests::process::{Process, binary};
use warren_tests::wait::until_true;

use crate::crash::kills;
use crate::world::LONG;

const QUEUE: &str = "hard.orders";
const EVENTS: i64 = 30;

fn subscriber(vhost: &Vhost, database: &str, crash: Option<String>) -> Process {
    let mut command = Command::new(binary("hard-handlers"));
    command.arg("subscriber").env("AMQP_URL", vhost.url()).env("DATABASE_URL", database);
    if let Some(point) = crash {
        command.env("WARREN_CRASH_POINT", point);
    }
    Process::start("hard-handlers", command)
}

async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    // Before the first start there is no table.
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap_or_default()
}

#[tokio::test]
async fn k11_retry_published_and_original_not_acked() {
    let vhost = Broker::shared().await.vhost().await;
    let database = Postgres::shared().await.database().await;
    let pool = PgPool::connect(&database).await.unwrap();
    // The queue is there before the first event.
    let mut first = subscriber(&vhost, &database, None);
    until_true(LONG, "the subscriber to consume", async || vhost.consumers(QUEUE).await == Some(1)).await;
    first.kill9();
    let mut published = 0;
    for round in 0..kills() {
        for _ in 0..EVENTS {
            let properties = json!({"message_id": format!("e-{published}"), "type": "orders.placed", "delivery_mode": 2});
            assert!(vhost.publish("warren.events", "orders.placed", properties, br#"{"do":"retry"}"#).await);
            published += 1;
        }
        let nth = [1, 9, 23][round % 3];
        let mut doomed = subscriber(&vhost, &database, Some(format!("K11:{nth}")));
        doomed.wait(LONG).await;
        assert!(doomed.was_killed(), "{}", doomed.tail());
    }
    let mut subscriber = subscriber(&vhost, &database, None);
    until_true(LONG, "every effect", async || count(&pool, "SELECT count(DISTINCT id) FROM effects").await == published).await;
    until_true(LONG, "second copies to be gone", async || {
        vhost.queue_depth("warren.retry.1s").await == Some(0) && vhost.queue_depth(QUEUE).await == Some(0)
    })
    .await;
    // A drain settles what is still in hand, so that what is counted is final.
    let status = subscriber.terminate(LONG).await;
    assert!(status.success(), "{}", subscriber.tail());
    assert_eq!(count(&pool, "SELECT count(*) FROM effects").await, published, "each once");
    assert_eq!(vhost.queue_depth("hard.orders.dead").await, Some(0));
    assert_eq!(vhost.queue_depth("warren.lost").await, Some(0));
    let twice =
        count(&pool, "SELECT count(*) FROM (SELECT FROM runs WHERE attempt = 1 GROUP BY id HAVING count(*) > 1) AS t").await;
    assert!(twice >= i64::try_from(kills()).unwrap(), "each kill left an original to be run again, {twice} were");
}

#[tokio::test]
async fn k12_an_events_dead_letter_published_and_original_not_acked() {
    let vhost = Broker::shared().await.vhost().await;
    let database = Postgres::shared().await.database().await;
    let mut first = subscriber(&vhost, &database, None);
    until_true(LONG, "the subscriber to consume", async || vhost.consumers(QUEUE).await == Some(1)).await;
    first.kill9();
    // No handler takes these.
    let body = |number: usize| vec![0xff, 0x00, u8::try_from(number).unwrap()];
    let count = 10 * kills();
    for number in 0..count {
        let properties = json!({"message_id": number.to_string(), "type": "orders.placed", "delivery_mode": 2});
        assert!(vhost.publish("warren.events", "orders.placed", properties, &body(number)).await);
    }
    for round in 0..kills() {
        let mut doomed = subscriber(&vhost, &database, Some(format!("K12:{}", [1, 4, 2][round % 3])));
        doomed.wait(LONG).await;
        assert!(doomed.was_killed(), "{}", doomed.tail());
    }
    let mut last = subscriber(&vhost, &database, None);
    // It may find nothing to do, and must be there all the same before it is told to go.
    until_true(LONG, "the last one to consume", async || vhost.consumers(QUEUE).await == Some(1)).await;
    let dead = format!("{QUEUE}.dead");
    until_true(LONG, "all to be dead", async || {
        let letters = vhost.peek_messages(&dead, 100 * count).await;
        letters.iter().map(|letter| letter.message_id().unwrap()).collect::<BTreeSet<_>>().len() == count
    })
    .await;
    assert!(last.terminate(LONG).await.success(), "{}", last.tail());
    let mut copies = vec![0; count];
    for letter in vhost.get_messages(&dead, 100 * count).await {
        let number: usize = letter.message_id().unwrap().parse().unwrap();
        assert_eq!((letter.body, &letter.properties["headers"]["warren-reason"]), (body(number), &json!("undecodable")));
        copies[number] += 1;
    }
    assert!(copies.iter().sum::<usize>() > count, "the kills left copies: {copies:?}");
}
