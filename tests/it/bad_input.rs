//! Bad requests to a live hub: each is refused with a problem document, nothing of it is stored, and the hub stays up.

mod addresses;
mod framing;
mod refusals;
mod tokens;
mod wildcards;

use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::broker::{Broker, Vhost};
use warren_tests::hub::{ALL_SCOPES, Answer, HubClient, HubOptions, HubProcess, token};

use crate::world::{KINDS, LONG, settled};

const ECHO: &str = "/v1/kinds/demo.echo/jobs";

/// A hub that accepts, and its job counts before the test.
struct Door {
    hub: HubProcess,
    client: HubClient,
    admin: HubClient,
    vhost: Vhost,
}

impl Door {
    async fn new() -> Self {
        let broker = Broker::shared().await;
        let vhost = broker.vhost().await;
        let needs_key = "[[kind]]\nname = \"test.careful\"\nidempotency = \"required\"\nroutes = [\"/v1/orders\"]\n";
        // All come from one address, and each is to be told what is wrong.
        let env = vec![
            ("WARREN__LIMITS__BAD_TOKENS_PER_CLIENT".to_owned(), "1000/s".to_owned()),
            ("WARREN__BROKER__MANAGEMENT_URL".to_owned(), broker.management().url().to_owned()),
        ];
        let extra_toml = format!("{KINDS}{needs_key}[devices]\nenabled = true\n");
        let options = HubOptions { broker_url: vhost.url(), extra_toml, env, ..HubOptions::default() };
        let hub = HubProcess::start(&options).await;
        settled(&hub).await;
        let admin = HubClient::new(hub.admin_url(), Some(token("*", "operator", ALL_SCOPES)));
        Self { client: hub.client(), admin, hub, vhost }
    }

    /// Jobs in the store, of every tenant and kind.
    async fn jobs(&self) -> usize {
        let page = self.admin.get("/admin/jobs?limit=500").await.unwrap().body;
        assert!(page["next"].is_null(), "more than a page");
        page["items"].as_array().unwrap().len()
    }

    /// Jobs accepted, as the metric has it.
    async fn accepted(&self) -> f64 {
        let metrics = HubClient::new(self.hub.internal_url(), None).get("/metrics").await.unwrap();
        let text = String::from_utf8(metrics.bytes).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("warren_jobs_accepted_total{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    async fn counts(&self) -> (usize, f64) {
        (self.jobs().await, self.accepted().await)
    }

    /// The hub lives and works: a good job is accepted, counted once, and ends.
    async fn is_up(&mut self, before: (usize, f64)) {
        assert_eq!(self.counts().await, before, "nothing was stored");
        let id = self.client.accepted("demo.echo", &json!({"good": true})).await;
        self.client.wait_state(&id, "succeeded", LONG).await;
        assert_eq!(self.counts().await, (before.0 + 1, before.1 + 1.0), "the counts do count");
        assert!(self.hub.process().poll().is_none(), "{}", self.hub.process().tail());
    }

    /// The page that a problem's `type` names is there.
    async fn explains(&self, code: &str) {
        let page = self.client.get(&format!("/problems/{code}")).await.unwrap();
        let text = String::from_utf8(page.bytes).unwrap();
        assert!(page.status == 200 && text.starts_with(&format!("# {code}\n")), "{text}");
    }
}

/// Whether an answer is the RFC 9457 document of this code.
fn check(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!((answer.status, answer.code()), (status, Some(code)), "{what}: {}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    document(&answer.body, status, code, what);
}

fn document(body: &Value, status: u16, code: &str, what: &str) {
    assert_eq!((&body["type"], &body["status"]), (&json!(format!("/problems/{code}")), &json!(status)), "{what}: {body}");
    assert_eq!(body["code"], code, "{what}: {body}");
    for text in ["title", "detail"] {
        assert!(body[text].as_str().is_some_and(|text| !text.is_empty()), "{what}: {body}");
    }
    assert!(body["instance"].as_str().is_some_and(|instance| instance.starts_with("urn:uuid:")), "{what}: {body}");
}

/// A submission of `body` as JSON, to be spoiled.
fn submission(client: &HubClient, path: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
    client.request(Method::POST, path).header("content-type", "application/json").body(body)
}
