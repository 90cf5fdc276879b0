//! Following all jobs of a kind.

use std::time::Duration;

use serde_json::{Value, json};

use crate::ground::{Ground, accepted, ada, problem, start, token};

const PATH: &str = "/v1/kinds/demo.echo/events";

/// A stream of a kind's changes.
struct Events(reqwest::Response, String);

impl Events {
    async fn open(ground: &Ground, token: &str, last: Option<&str>) -> Self {
        let mut request = ground.client.get(ground.url(PATH)).bearer_auth(token);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        let mut events = Self(response, String::new());
        assert_eq!(events.next().await.unwrap(), ("live".to_owned(), None, json!({"kind": "demo.echo"})));
        events
    }

    /// The next event: its name, its id and its data. `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, Option<String>, Value)> {
        loop {
            if let Some(at) = self.1.find("\n\n") {
                let text: String = self.1.drain(..at + 2).collect();
                let field = |name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
                let Some(data) = field("data:") else { continue };
                return Some((field("event:").unwrap(), field("id:"), serde_json::from_str(&data).unwrap()));
            }
            let chunk =
                tokio::time::timeout(Duration::from_secs(10), self.0.chunk()).await.expect("an event in time").unwrap()?;
            self.1.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next job that is told of, which must be no gap.
    async fn job(&mut self) -> Value {
        let (event, id, data) = self.next().await.unwrap();
        assert_eq!(event, "state", "{data}");
        assert_eq!(id.unwrap(), format!("{}/{}", data["id"].as_str().unwrap(), data["version"]));
        data
    }
}

async fn submit(ground: &Ground, kind: &str, token: &str) -> String {
    let request = ground.client.post(ground.url(&format!("/v1/kinds/{kind}/jobs"))).bearer_auth(token);
    accepted(request.header("content-type", "application/json").body("{}").send().await.unwrap()).await.to_string()
}

#[tokio::test]
async fn each_is_told_of_the_jobs_that_it_may_read() {
    let ground = start().await;
    let (bob, stranger) = (token("acme", "bob", "jobs:submit"), token("other", "ada", "jobs:submit"));
    submit(&ground, "demo.echo", &ada()).await;
    let mut own = Events::open(&ground, &ada(), None).await;
    let mut all = Events::open(&ground, &token("acme", "olga", "jobs:read:all"), None).await;
    submit(&ground, "demo.echo", &stranger).await;
    submit(&ground, "demo.flaky", &ada()).await;
    let bobs = submit(&ground, "demo.echo", &bob).await;
    // Told in turn, so that what is not told has had its time.
    let told = all.job().await;
    assert_eq!((&told["id"], &told["subject"], &told["state"]), (&json!(bobs), &json!("bob"), &json!("accepted")), "{told}");
    let adas = submit(&ground, "demo.echo", &ada()).await;
    for events in [&mut own, &mut all] {
        let told = events.job().await;
        assert_eq!((&told["id"], &told["kind"], &told["version"]), (&json!(adas), &json!("demo.echo"), &json!(1)), "{told}");
    }
    let cancelled = ground.client.post(ground.url(&format!("/v1/jobs/{adas}/cancel")));
    let cancelled = cancelled.bearer_auth(token("acme", "ada", "jobs:cancel")).send().await.unwrap();
    assert_eq!(cancelled.status(), 200);
    for events in [&mut own, &mut all] {
        let told = events.job().await;
        assert_eq!((&told["state"], &told["reason"], &told["version"]), (&json!("cancelled"), &json!("cancelled"), &json!(2)));
        assert!(told["ended_at"].is_string() && told["links"]["self"] == format!("/v1/jobs/{adas}"), "{told}");
    }
    ground.drain.cancel();
    assert!(own.next().await.is_none() && all.next().await.is_none(), "nobody holds up a drain");
}

#[tokio::test]
async fn who_comes_back_is_told_of_the_gap() {
    let ground = start().await;
    let mut events = Events::open(&ground, &ada(), Some("x/1")).await;
    assert_eq!(events.next().await.unwrap(), ("gap".to_owned(), None, json!({"reason": "reconnected"})));
    let id = submit(&ground, "demo.echo", &ada()).await;
    assert_eq!(events.job().await["id"], json!(id));
}

#[tokio::test]
async fn places_are_limited_and_only_readers_follow() {
    let ground = start().await;
    problem(ground.get("/v1/kinds/demo.eco/events", &ada()).await, 404, "unknown-kind").await;
    problem(ground.get(PATH, &token("acme", "ada", "jobs:submit")).await, 403, "scope-missing").await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(Events::open(&ground, &ada(), None).await);
    }
    let full = ground.get(PATH, &ada()).await;
    assert_eq!(full.headers()["retry-after"], "5");
    problem(full, 503, "too-many-watchers").await;
}
