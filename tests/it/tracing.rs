//! One trace from the request to the service behind the queue, as a collector sees it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::collector::{Collector, Span};
use warren_tests::downstream::{Downstream, Reply};
use warren_tests::hub::{HubClient, HubOptions, HubProcess};
use warren_tests::process::{Process, binary};
use warren_tests::wait::{until, until_true};

use crate::calling_back;
use crate::edge::metric;
use crate::http_worker::{Stage, kind};
use crate::world::{Keep, LONG, RESERVE, World, settled};

const PLACE: &str = "orders.place";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

fn traced(endpoint: &str, more: &str) -> String {
    format!("\n[tracing]\nendpoint = \"{endpoint}\"\n{more}\n")
}

/// Submits as part of a trace of the client's own, and gives the job's id.
async fn submit(client: &HubClient, flags: &str, body: &Value) -> String {
    let request = client.request(Method::POST, &format!("/v1/kinds/{PLACE}/jobs")).json(body);
    let answer = client.send(request.header("traceparent", format!("00-{TRACE}-{CLIENT}-{flags}"))).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.job_id().unwrap().to_owned()
}

/// The spans of `trace` once there are `count` of them.
async fn spans_of(collector: &Collector, trace: &str, count: usize) -> Vec<Span> {
    until(LONG, &format!("{count} spans of {trace}"), async || {
        let spans: Vec<Span> = collector.spans().into_iter().filter(|span| span.trace == trace).collect();
        (spans.len() >= count).then_some(spans)
    })
    .await
}

/// Name, and whose child it is, in the order of their starts.
fn tree(spans: &[Span]) -> Vec<(String, String)> {
    let name = |id: &str| spans.iter().find(|span| span.id == id).map_or_else(|| id.to_owned(), |span| span.name.clone());
    spans.iter().map(|span| (span.name.clone(), name(&span.parent))).collect()
}

fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, parent)| ((*name).to_owned(), (*parent).to_owned())).collect()
}

#[tokio::test]
async fn a_job_is_one_trace_over_retries_a_dead_letter_and_its_redrive() {
    const ACCEPT: &str = "POST /v1/kinds/{kind}/jobs";
    const PROCESS: &str = "process jobs.orders.place";
    let (service, collector) = (Downstream::start(Downstream::status(503)).await, Collector::start().await);
    let stage = Stage::set(Keep::Postgres).await;
    let headers = "[tracing.headers]\nauthorization = \"Bearer canary\"\n";
    let hub = stage.hub(&(kind(PLACE, &service, "") + &traced(&collector.endpoint(), headers))).await;
    let client = hub.client();
    let id = submit(&client, "01", &json!({"order": 7})).await;
    client.wait_state(&id, "dead", LONG).await;

    let spans = spans_of(&collector, TRACE, 9).await;
    let died = [
        (ACCEPT, CLIENT),
        ("publish warren.jobs:orders.place", ACCEPT),
        (PROCESS, ACCEPT),
        ("POST", PROCESS),
        ("publish warren.retry.1s:jobs.orders.place", ACCEPT),
        (PROCESS, ACCEPT),
        ("POST", PROCESS),
        ("publish warren.dead:jobs.orders.place", ACCEPT),
        ("process jobs.orders.place.dead", ACCEPT),
    ];
    assert_eq!(tree(&spans), named(&died));
    // What the service is sent is caused by the call, not by what came before it.
    let calls: Vec<&Span> = spans.iter().filter(|span| span.name == "POST").collect();
    for (call, asked) in calls.iter().zip(service.asked()) {
        assert_eq!(asked.header("traceparent"), format!("00-{TRACE}-{}-01", call.id));
    }
    for (span, key, value) in [
        (&spans[0], "http.response.status_code", "202"),
        (&spans[0], "http.route", "/v1/kinds/{kind}/jobs"),
        (&spans[0], "warren.job.id", &*id),
        (&spans[1], "messaging.system", "rabbitmq"),
        (&spans[1], "messaging.operation.type", "send"),
        (&spans[1], "messaging.message.id", &id),
        (&spans[2], "messaging.operation.type", "process"),
        (&spans[2], "warren.job.kind", PLACE),
        (&spans[2], "warren.job.attempt", "1"),
        (&spans[2], "warren.job.outcome", "failed"),
        (&spans[3], "http.response.status_code", "503"),
        (&spans[3], "url.full", &format!("{}/work", service.origin())),
        (&spans[5], "warren.job.attempt", "2"),
        (&spans[7], "warren.dead_letter.reason", "exhausted"),
    ] {
        assert_eq!(span.get(key), value, "{key} of {span:?}");
    }
    let failed: Vec<bool> = spans.iter().map(|span| span.failed).collect();
    assert_eq!(failed, [false, false, true, true, false, true, true, false, false]);
    assert!(spans.iter().all(|span| span.service == "warren" && span.started <= span.ended));
    assert!(collector.asked().iter().all(|headers| headers["authorization"] == "Bearer canary"));
    assert!(!hub.log().contains("canary"));

    // A redrive is a new epoch of the same job, and of the same trace.
    service.set(Reply::Status(200, vec![], "{}"));
    let admin = hub.admin();
    let letter = until(LONG, "the dead letter", async || {
        let letters = admin.get("/admin/dead-letters").await.ok()?;
        Some(letters.body["items"][0]["id"].as_str()?.to_owned())
    })
    .await;
    let redrive = admin.request(Method::POST, &format!("/admin/dead-letters/{letter}/redrive")).json(&json!({}));
    assert_eq!(admin.send(redrive).await.unwrap().status, 200);
    client.wait_state(&id, "succeeded", LONG).await;
    let spans = spans_of(&collector, TRACE, 12).await;
    let again: Vec<_> = tree(&spans).into_iter().skip(9).collect();
    let redriven = [("publish warren.return:jobs.orders.place", ACCEPT), (PROCESS, ACCEPT), ("POST", PROCESS)];
    assert_eq!(again, named(&redriven));
    assert_eq!(spans.last().unwrap().get("http.response.status_code"), "200");
}

#[tokio::test]
async fn a_callback_is_part_of_the_trace() {
    let (service, receiver) =
        (Downstream::start(Downstream::status(200)).await, Downstream::start(Downstream::status(204)).await);
    let collector = Collector::start().await;
    let stage = Stage::set(Keep::Sqlite).await;
    let callback = format!("callback = \"{}/hook\"", receiver.origin());
    let toml = kind(PLACE, &service, &callback) + &calling_back::settings(&[&receiver], "") + &traced(&collector.endpoint(), "");
    let hub = stage.hub(&toml).await;
    submit(&hub.client(), "01", &json!({"order": 7})).await;
    let spans = spans_of(&collector, TRACE, 5).await;
    let told = spans.iter().find(|span| span.get("url.full").ends_with("/hook")).unwrap();
    let accept = spans.iter().find(|span| span.parent == CLIENT).unwrap();
    assert_eq!((&*told.name, &told.parent, told.get("http.response.status_code")), ("POST", &accept.id, "204"));
    assert_eq!(receiver.asked()[0].header("traceparent"), format!("00-{TRACE}-{}-01", told.id));
}

#[tokio::test]
async fn a_service_and_its_report_are_part_of_the_trace_and_the_last_spans_go_out_on_drain() {
    let collector = Collector::start().await;
    let world = World::new(Keep::Sqlite).await;
    let extra_toml = format!("{}{}", world.options().extra_toml, traced(&collector.endpoint(), "service = \"hub-1\""));
    let mut hub = HubProcess::start(&HubOptions { extra_toml, ..world.options() }).await;
    settled(&hub).await;
    let mut command = std::process::Command::new(binary("shop"));
    command.args(["inventory", "--grace", "5s"]).env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint());
    command.env("AMQP_URL", world.vhost.url()).env("DATABASE_URL", &world.shop_url);
    let mut shop = Process::start("shop", command);
    let client = hub.client();
    // Nobody sends a trace: it begins at the door.
    let id = client.accepted(RESERVE, &json!({"order_id": "o-1", "sku": "tea", "quantity": 1})).await;
    client.wait_state(&id, "succeeded", LONG).await;
    assert!(shop.terminate(Duration::from_secs(20)).await.success());
    assert!(hub.terminate(Duration::from_secs(40)).await.success());

    // Both have left: whatever they had to tell is told.
    let spans = collector.spans();
    let told: Vec<(&str, &str)> = spans.iter().map(|span| (span.service.as_str(), span.name.as_str())).collect();
    let expected = [
        ("hub-1", "POST /v1/kinds/{kind}/jobs"),
        ("hub-1", "publish warren.jobs:inventory.reserve"),
        ("inventory", "process jobs.inventory.reserve"),
        ("inventory", "publish warren.results"),
        ("hub-1", "process warren.results"),
    ];
    assert_eq!(told, expected);
    assert!(spans[0].parent.is_empty());
    assert!(spans[1..].iter().all(|span| span.trace == spans[0].trace && span.parent == spans[0].id));
    assert_eq!(spans[4].get("warren.job.id"), id);
}

#[tokio::test]
async fn a_trace_that_is_not_kept_is_told_to_nobody_and_to_everybody_further_on() {
    let (service, collector) = (Downstream::start(Reply::Status(200, vec![], "{}")).await, Collector::start().await);
    let stage = Stage::set(Keep::Sqlite).await;
    let mut hub = stage.hub(&(kind(PLACE, &service, "") + &traced(&collector.endpoint(), "sample = 0.0"))).await;
    let client = hub.client();
    let unwanted = submit(&client, "00", &json!(1)).await;
    client.wait_state(&unwanted, "succeeded", LONG).await;
    let nobodys = client.accepted(PLACE, &json!(2)).await;
    client.wait_state(&nobodys, "succeeded", LONG).await;
    // The client's word counts, whatever `sample` says of traces that begin here.
    let wanted = submit(&client, "01", &json!(3)).await;
    client.wait_state(&wanted, "succeeded", LONG).await;
    assert!(hub.terminate(Duration::from_secs(40)).await.success());

    let parents: Vec<String> = service.asked().iter().map(|asked| asked.header("traceparent").to_owned()).collect();
    assert_eq!(parents[0], format!("00-{TRACE}-{CLIENT}-00"));
    assert!(parents[1].ends_with("-00") && !parents[1].contains(TRACE), "{}", parents[1]);
    let spans = collector.spans();
    assert_eq!(spans.len(), 4, "{spans:?}");
    assert!(spans.iter().all(|span| span.trace == TRACE));
    assert_eq!(spans[0].get("warren.job.id"), wanted);
}

#[tokio::test]
async fn a_collector_that_is_away_or_refuses_costs_spans_and_nothing_else() {
    let (service, collector) = (Downstream::start(Reply::Status(200, vec![], "{}")).await, Collector::start().await);
    collector.refuse(Some(400));
    let stage = Stage::set(Keep::Sqlite).await;
    let mut hub = stage.hub(&(kind(PLACE, &service, "") + &traced(&collector.endpoint(), ""))).await;
    let client = hub.client();
    let id = client.accepted(PLACE, &json!(1)).await;
    client.wait_state(&id, "succeeded", LONG).await;
    let dropped = "warren_spans_dropped_total{reason=\"not-taken\"}";
    until_true(LONG, "spans to be dropped", async || metric(&hub, dropped).await >= 4.0).await;
    assert!(hub.log().contains("spans are dropped"));
    // What it cannot take now it is offered again.
    collector.refuse(Some(503));
    let seen = collector.asked().len();
    let id = client.accepted(PLACE, &json!(2)).await;
    until_true(LONG, "an export to be refused", async || collector.asked().len() > seen).await;
    collector.refuse(None);
    client.wait_state(&id, "succeeded", LONG).await;
    until_true(LONG, "the spans", async || collector.spans().len() == 4).await;
    assert!(metric(&hub, "warren_spans_exported_total").await >= 4.0);
    // Nothing answers any more: leaving takes no longer than the last offer may.
    collector.refuse(Some(503));
    client.accepted(PLACE, &json!(3)).await;
    assert!(hub.terminate(Duration::from_secs(40)).await.success());
}

#[tokio::test]
async fn a_job_that_comes_by_message_or_in_a_batch_is_traced_as_well() {
    let collector = Collector::start().await;
    let world = World::new(Keep::Sqlite).await;
    let extra_toml = format!("{}{}", world.options().extra_toml, traced(&collector.endpoint(), ""));
    let mut hub = HubProcess::start(&HubOptions { extra_toml, ..world.options() }).await;
    settled(&hub).await;
    let client = hub.client();
    let headers = json!({"cloudEvents_source": "tester", "warren-tenant": "acme"});
    let properties = json!({"type": "demo.noop", "message_id": "m-1", "delivery_mode": 2, "headers": headers});
    assert!(world.vhost.publish("warren.submit", "warren.submit", properties, b"{}").await);
    let ended = async |count: usize| {
        until_true(LONG, "the jobs to end", async || {
            let jobs = client.get("/v1/jobs?kind=demo.noop&state=succeeded").await;
            jobs.is_ok_and(|jobs| jobs.body["items"].as_array().is_some_and(|jobs| jobs.len() == count))
        })
        .await;
    };
    ended(1).await;
    let batch = json!([{"kind": "demo.noop", "data": 1}, {"kind": "demo.noop", "data": 2}]);
    let request = client.request(Method::POST, "/v1/jobs").json(&batch);
    assert_eq!(client.send(request).await.unwrap().body["accepted"], 2);
    ended(3).await;
    assert!(hub.terminate(Duration::from_secs(40)).await.success());

    let spans = collector.spans();
    let of = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let (by_message, by_batch) = (of("accept demo.noop"), of("POST /v1/jobs"));
    assert_eq!((by_message.len(), by_batch.len(), spans.len()), (1, 1, 8), "{spans:?}");
    for (door, jobs) in [(by_message[0], 1), (by_batch[0], 2)] {
        let children: Vec<&Span> = spans.iter().filter(|span| span.parent == door.id).collect();
        assert!(door.parent.is_empty() && children.iter().all(|span| span.trace == door.trace));
        assert_eq!(children.iter().filter(|span| span.name == "publish warren.jobs:demo.noop").count(), jobs);
        assert_eq!(children.iter().filter(|span| span.name == "process jobs.demo.noop").count(), jobs);
    }
}
