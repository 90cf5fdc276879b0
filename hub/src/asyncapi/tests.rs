#![allow(clippy::unwrap_used, clippy::panic)]
use std::collections::BTreeSet;
use std::time::Duration;

use api_ack::kinds::Worker;
use api_ack::schema::Schema;
use broker_topology::{Kind, TierLimits, core, subscriber, work_queue};
use messaging::consumer::Word;
use messaging::handler::{Failure, Outcome};
use messaging::message::Run;
use messaging::progress_report::{self, ProgressReport};
use messaging::results::JobResult;
use messaging::said::Progress;
use messaging::started_report::{self, StartedReport};
use mobile_delivery::receipts::{DELIVERY, OFFLINE, ONLINE, Presence, of_presence, of_receipt};
use mobile_delivery::store::{Reason, Receipt, State, Transport};
use uuid::Uuid;

use super::*;
use crate::config::{Config, Sources};

fn ground(flags: &[(&str, &str)], servers: bool) -> Ground {
    let flags: Vec<(String, String)> = flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let config = Config::load(&Sources { flags: &flags, ..Sources::default() }).unwrap().config;
    let names = Names::new(&config.broker.prefix);
    let parts = [
        core(&names),
        work_queue(&names, &Kind::parse("orders.place").unwrap(), HUB),
        subscriber(&names, "billing.invoices", &["order.*"], "billing"),
    ];
    Ground::new(&config.broker, Topology::merge(parts).unwrap(), servers)
}

fn kinds(schema: Option<Value>) -> Kinds {
    let schema = schema.map(|schema| Arc::new(Schema::compile(schema).unwrap()));
    Kinds::new([KindSpec { schema, ..KindSpec::new(Kind::parse("orders.place").unwrap(), Worker::Amqp) }])
}

#[test]
fn where_the_broker_is_is_told_without_user_and_password() {
    let flags = [("broker.url", "[\"amqp://canary:secret@a:1\", \"amqps://canary:secret@b\"]"), ("broker.vhost", "a/b")];
    let document = ground(&flags, true).document(&kinds(None));
    assert_eq!(
        document["servers"]["broker"],
        json!({"host": "a:1", "pathname": "/a%2fb", "protocol": "amqp", "protocolVersion": "0-9-1"})
    );
    assert_eq!(document["servers"]["broker2"]["host"], "b:5671");
    assert!(!document.to_string().contains("secret") && !document.to_string().contains("canary"));
    assert!(ground(&flags, false).document(&kinds(None)).get("servers").is_none());
}

#[test]
fn every_object_is_called_as_on_the_broker() {
    let document = ground(&[("broker.prefix", "acme.")], false).document(&kinds(None));
    let channels: Vec<&String> = document["channels"].as_object().unwrap().keys().collect();
    let expected = [
        "acme.billing.invoices",
        "acme.billing.invoices.dead",
        "acme.jobs.orders.place",
        "acme.jobs.orders.place.dead",
        "acme.warren.events",
        "acme.warren.lost",
        "acme.warren.results",
        "acme.warren.submit",
    ];
    let mut sorted = channels.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
}

/// That a body is as `schema` says, and has no field that it does not tell of.
fn fits(document: &Value, name: &str, body: &Value) {
    let stated = &document["components"]["schemas"][name];
    let schema = Schema::compile(stated.clone()).unwrap();
    assert_eq!(schema.violations(body), [], "{name}: {body}");
    let known = stated["properties"].as_object().unwrap();
    assert!(body.as_object().unwrap().keys().all(|field| known.contains_key(field)), "{name}: {body}");
    for field in stated["required"].as_array().unwrap() {
        let mut less = body.clone();
        less.as_object_mut().unwrap().remove(field.as_str().unwrap());
        assert_ne!(schema.violations(&less), [], "{name} without {field}");
    }
}

/// What the hub's own code writes is what the document says, and what it reads needs no more.
#[test]
fn reports_are_as_described() {
    let document = ground(&[], false).document(&kinds(None));
    let failure = || Failure::new("out-of-stock", "none left");
    let ends = [
        Outcome::done(),
        Outcome::Done(Some(b"{\"a\":1}".as_slice().into())),
        Outcome::Retry(failure()),
        Outcome::RetryAfter(Duration::from_secs(3), failure()),
        Outcome::Reject(failure()),
        Outcome::Snooze(Duration::from_secs(3)),
    ];
    for outcome in ends {
        let result = JobResult::from_outcome("id", Run::default(), &outcome, "w").with_token(Some("t"));
        let body: Value = serde_json::from_slice(&result.encode().unwrap()).unwrap();
        fits(&document, "warren.result", &body);
    }
    let result = Schema::compile(document["components"]["schemas"]["warren.result"].clone()).unwrap();
    assert_ne!(result.violations(&json!({"job": "id", "epoch": 1, "attempt": 1, "outcome": "done"})), []);

    let progress = Progress::now(50, "half of it");
    let word = Word { id: "id".to_owned(), run: Run::default(), token: Some("t".to_owned()), lease: 2, progress };
    fits(&document, progress_report::KIND, &serde_json::to_value(ProgressReport::of(&word)).unwrap());
    let (job, token, worker) = ("id".to_owned(), Some("t".to_owned()), "w".to_owned());
    let started = StartedReport { job, epoch: 1, attempt: 1, token, started_at: Some(jiff::Timestamp::now()), worker };
    fits(&document, started_report::KIND, &serde_json::to_value(started).unwrap());

    let of_run = json!({"job": "id", "epoch": 1, "attempt": 1});
    fits(&document, started_report::KIND, &of_run);
    StartedReport::decode(of_run.to_string().as_bytes()).unwrap();
    let mut least = of_run;
    (least["percent"], least["at"]) = (json!(0), json!("2026-01-01T00:00:00Z"));
    fits(&document, progress_report::KIND, &least);
    ProgressReport::decode(least.to_string().as_bytes()).unwrap();
}

/// As [`ground`], where devices are served.
fn with_devices() -> Ground {
    let ground = ground(&[], false);
    let devices = mobile_delivery::topology(&ground.names, &TierLimits::default());
    Ground { topology: ground.topology.clone().and(devices), ..ground }
}

/// What is published is what the document says, whatever became of a message and however a device is connected.
#[test]
fn events_of_devices_are_as_described() {
    let (without, document) = (ground(&[], false).document(&kinds(None)), with_devices().document(&kinds(None)));
    assert!(without["components"]["messages"].get("devices.online").is_none() && without["operations"].get("tell").is_none());
    let receipt = |state: State, reason| Receipt {
        number: 1,
        tenant: "acme".to_owned(),
        message: Uuid::now_v7(),
        device: "phone".to_owned(),
        user: "ann".to_owned(),
        state,
        reason,
        detail: (reason == Some(Reason::Rejected)).then(|| "no such screen".to_owned()),
        at: 1_700_000_000_123_456,
    };
    let ends = [State::Delivered, State::Read, State::Expired].map(|state| receipt(state, None));
    let state = |reason| if reason == Reason::Inferred { State::Delivered } else { State::Dropped };
    let others = Reason::ALL.map(|reason| receipt(state(reason), Some(reason)));
    let deliveries = ends.iter().chain(&others).map(|receipt| ("delivery", of_receipt(receipt)));
    let presence = |(online, transport)| Presence {
        online,
        tenant: "acme".to_owned(),
        device: "phone".to_owned(),
        user: "ann".to_owned(),
        session: Uuid::now_v7(),
        transport,
        at: 0,
    };
    let both = [true, false].into_iter().flat_map(|online| Transport::ALL.map(|transport| (online, transport)));
    let presences = both.map(|how| ("device-presence", of_presence(&presence(how))));
    let mut told = BTreeSet::new();
    for (schema, event) in deliveries.chain(presences) {
        fits(&document, schema, &serde_json::from_slice(&event.body).unwrap());
        let message = &document["components"]["messages"][&event.kind];
        assert_eq!(message["payload"]["$ref"], format!("#/components/schemas/{schema}"), "{}", event.kind);
        let (example, of) = (&message["examples"][0]["payload"], &message["name"]);
        fits(&document, schema, example);
        assert_eq!((of, &message["contentType"]), (&json!(event.kind), &json!(event.content_type)));
        let there = &document["channels"]["warren.events"]["messages"][&event.kind]["$ref"];
        assert_eq!(there, &json!(format!("#/components/messages/{}", event.kind)));
        told.insert(event.kind);
    }
    let all = DELIVERY.into_iter().chain([ONLINE, OFFLINE]).map(str::to_owned).collect();
    assert_eq!(told, all);
    let unknown = Schema::compile(document["components"]["schemas"]["delivery"].clone()).unwrap();
    let mut body: Value = serde_json::from_slice(&of_receipt(&ends[0]).body).unwrap();
    body["state"] = json!("sent");
    assert_ne!(unknown.violations(&body), []);
}

#[test]
fn the_schema_of_a_kind_is_there_with_its_pointers_bent() {
    let schema = json!({
        "$defs": { "sku": { "type": "string" } },
        "type": "object",
        "properties": { "sku": { "$ref": "#/$defs/sku" }, "parts": { "items": { "$ref": "#" } } },
    });
    let document = ground(&[], false).document(&kinds(Some(schema)));
    for message in ["job.orders.place", "submit.orders.place"] {
        let payload = &document["components"]["messages"][message]["payload"];
        assert_eq!(payload["$ref"], "#/components/schemas/payload.orders.place");
    }
    let hosted = &document["components"]["schemas"]["payload.orders.place"];
    assert_eq!(hosted["properties"]["sku"]["$ref"], "#/components/schemas/payload.orders.place/$defs/sku");
    assert_eq!(hosted["properties"]["parts"]["items"]["$ref"], "#/components/schemas/payload.orders.place");
}

#[test]
fn what_is_submitted_for_devices_is_told_of_where_they_are_served() {
    let submitted = |flags: &[(&str, &str)]| {
        let config_of = |flags: &[(&str, &str)]| -> Vec<(String, String)> {
            flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let config = Config::load(&Sources { flags: &config_of(flags), ..Sources::default() }).unwrap().config;
        let ground = Ground::new(&config.broker, config.topology().unwrap(), false);
        ground.document(&kinds(None))["channels"]["warren.submit"]["messages"].clone()
    };
    let served = [("devices.enabled", "true")];
    assert_eq!(submitted(&served)["device-message"]["$ref"], "#/components/messages/device-message");
    assert!(submitted(&[]).get("device-message").is_none());
}

#[test]
fn a_schema_that_cannot_be_held_is_pointed_to() {
    let old = json!({ "$schema": "http://json-schema.org/draft-04/schema#", "type": "object" });
    let anchored = json!({ "$defs": { "sku": { "$anchor": "sku", "type": "string" } }, "$ref": "#sku" });
    for schema in [old, anchored] {
        let document = ground(&[], false).document(&kinds(Some(schema)));
        let message = &document["components"]["messages"]["job.orders.place"];
        assert!(message.get("payload").is_none(), "{message}");
        assert!(message["description"].as_str().unwrap().contains("/v1/kinds/{kind}"), "{message}");
    }
}
