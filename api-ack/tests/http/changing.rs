//! Cancelling, moving, listing and following jobs.

use std::time::Duration;

use api_ack::store::{Job, JobStore, NewJob, Outlet, Payload, ProcessId, State, Status};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ground::{Ground, accepted, ada, problem, start, token};

fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

const HOUR: i64 = 3_600_000_000;

fn canceller() -> String {
    token("acme", "ada", "jobs:submit jobs:read jobs:cancel")
}

/// A job that waits for its time, as a submission with a delay stores it.
async fn scheduled(ground: &Ground, due_at: i64) -> Uuid {
    let status = Status { state: State::Scheduled, due_at, ..Status::accepted(now(), now() + 24 * HOUR) };
    let id = Uuid::now_v7();
    let job = Job { id, kind: "demo.echo".into(), tenant: "acme".into(), version: 1, priority: Default::default(), status };
    let payload =
        Payload { subject: "ada".into(), content_type: "application/json".into(), body: "{}".into(), traceparent: None };
    ground.store.insert(&[NewJob { job, payload, key: None, tags: Default::default(), callback: None }]).await.unwrap();
    id
}

fn running(status: &Status) -> Status {
    Status {
        state: State::Running,
        owner: Some(ProcessId(1)),
        outlet: None,
        starts: 1,
        lease: 1,
        started_at: Some(now()),
        ..status.clone()
    }
}

fn succeeded(status: &Status) -> Status {
    Status { state: State::Succeeded, owner: None, outlet: None, ended_at: Some(now()), starts: 0, ..status.clone() }
}

async fn cancel(ground: &Ground, id: Uuid, token: &str) -> reqwest::Response {
    ground.client.post(ground.url(&format!("/v1/jobs/{id}/cancel"))).bearer_auth(token).send().await.unwrap()
}

async fn patch(ground: &Ground, id: Uuid, body: &str) -> reqwest::Response {
    let request = ground.client.patch(ground.url(&format!("/v1/jobs/{id}"))).bearer_auth(ada());
    request.header("content-type", "application/json").body(body.to_owned()).send().await.unwrap()
}

#[tokio::test]
async fn what_waits_is_cancelled_at_once_and_again_with_the_same_answer() {
    let ground = start().await;
    let waiting = [accepted(ground.submission().send().await.unwrap()).await, scheduled(&ground, now() + HOUR).await];
    for id in waiting {
        for _ in 0..2 {
            let response = cancel(&ground, id, &canceller()).await;
            assert_eq!(response.status(), 200);
            let job: Value = response.json().await.unwrap();
            assert_eq!((&job["state"], &job["reason"]), (&json!("cancelled"), &json!("cancelled")), "{job}");
            assert!(job["ended_at"].is_string() && job["attempts"].as_array().unwrap().is_empty(), "{job}");
        }
        assert_eq!(ground.store.load(&[id]).await.unwrap()[0].version, 2, "the second changed nothing");
    }
}

#[tokio::test]
async fn what_runs_is_asked_and_ends_as_it_ends() {
    let ground = start().await;
    let id = accepted(ground.submission().send().await.unwrap()).await;
    ground.change(id, None, running).await;
    for _ in 0..2 {
        let response = cancel(&ground, id, &canceller()).await;
        assert_eq!(response.status(), 202);
        let job: Value = response.json().await.unwrap();
        assert_eq!((&job["state"], &job["cancel_requested"]), (&json!("running"), &json!(true)), "{job}");
    }
    ground.change(id, None, succeeded).await;
    problem(cancel(&ground, id, &canceller()).await, 409, "job-ended").await;
    let job: Value = ground.get(&format!("/v1/jobs/{id}"), &ada()).await.json().await.unwrap();
    assert_eq!(job["state"], "succeeded");
}

#[tokio::test]
async fn only_who_may_cancels_and_moves() {
    let ground = start().await;
    let id = accepted(ground.submission().send().await.unwrap()).await;
    for (tenant, subject, scopes, status) in [
        ("acme", "ada", "jobs:submit jobs:read:all", 403),
        ("acme", "bob", "jobs:cancel", 404),
        ("other", "ada", "jobs:cancel jobs:read:all", 404),
    ] {
        let response = cancel(&ground, id, &token(tenant, subject, scopes)).await;
        assert_eq!(response.status(), status, "{tenant} {subject} {scopes}");
    }
    assert_eq!(ground.store.load(&[id]).await.unwrap()[0].version, 1, "nothing was changed");
    assert_eq!(cancel(&ground, id, &token("acme", "bob", "jobs:cancel jobs:read:all")).await.status(), 200);
    problem(cancel(&ground, Uuid::now_v7(), &canceller()).await, 404, "job-not-found").await;
    let moved = ground.client.patch(ground.url(&format!("/v1/jobs/{id}"))).bearer_auth(token("acme", "bob", "jobs:submit"));
    let soon = jiff::Timestamp::from_microsecond(now() + HOUR).unwrap();
    problem(moved.body(json!({"run_at": soon.to_string()}).to_string()).send().await.unwrap(), 404, "job-not-found").await;
}

#[tokio::test]
async fn a_job_in_the_store_is_moved_to_and_fro() {
    let ground = start().await;
    let id = scheduled(&ground, now() + HOUR).await;
    for hours in [3, 2] {
        let at = jiff::Timestamp::from_microsecond(now() + hours * HOUR).unwrap();
        let response = patch(&ground, id, &json!({"run_at": at.to_string()}).to_string()).await;
        assert_eq!(response.status(), 200);
        let job: Value = response.json().await.unwrap();
        assert_eq!((&job["state"], &job["run_at"]), (&json!("scheduled"), &json!(at.to_string())), "{job}");
    }
    // A time that has just passed means now.
    let just = jiff::Timestamp::from_microsecond(now() - 30_000_000).unwrap();
    assert_eq!(patch(&ground, id, &json!({"run_at": just.to_string()}).to_string()).await.status(), 200);
    let due = ground.store.load(&[id]).await.unwrap()[0].status.due_at;
    assert!((now() - 5_000_000..=now()).contains(&due), "due now");
}

#[tokio::test]
async fn a_bad_move_says_why_and_changes_nothing() {
    let ground = start().await;
    let id = scheduled(&ground, now() + HOUR).await;
    // Within reach, and after the job is given up.
    let beyond = jiff::Timestamp::from_microsecond(now() + 300 * 24 * HOUR).unwrap();
    for (body, code) in [
        ("{\"run_at\":\"tomorrow\"}", "invalid-timing"),
        ("{\"run_at\":\"2030-01-01\"}", "invalid-timing"),
        ("{\"run_at\":\"2001-01-01T00:00:00Z\"}", "invalid-timing"),
        ("{\"run_at\":\"2100-01-01T00:00:00Z\"}", "invalid-timing"),
        (&format!("{{\"run_at\":\"{beyond}\"}}"), "invalid-timing"),
        ("{\"run_at\":5}", "invalid-parameter"),
        ("{\"run_at\":\"2030-01-01T00:00:00Z\",\"kind\":\"x\"}", "invalid-parameter"),
        ("{}", "invalid-parameter"),
        ("[]", "invalid-parameter"),
        ("[\"2030-01-01T00:00:00Z\"]", "invalid-parameter"),
        ("{\"run_at\"", "malformed-json"),
        ("", "empty-body"),
    ] {
        let document = problem(patch(&ground, id, body).await, 400, code).await;
        if code == "invalid-timing" {
            assert_eq!(document["errors"][0]["pointer"], "#/run_at", "{document}");
        }
    }
    assert_eq!(ground.store.load(&[id]).await.unwrap()[0].version, 1, "nothing was changed");

    let body = json!({"run_at": jiff::Timestamp::from_microsecond(now() + HOUR).unwrap().to_string()}).to_string();
    // The relay's memory has it; it runs; it is over.
    let under_way = accepted(ground.submission().send().await.unwrap()).await;
    problem(patch(&ground, under_way, &body).await, 409, "job-under-way").await;
    ground.change(under_way, None, running).await;
    problem(patch(&ground, under_way, &body).await, 409, "job-under-way").await;
    ground.change(under_way, None, succeeded).await;
    problem(patch(&ground, under_way, &body).await, 409, "job-ended").await;
    ground.change(id, None, |status| Status { outlet: Some(Outlet::Return), ..status.clone() }).await;
    problem(patch(&ground, id, &body).await, 409, "job-under-way").await;
}

#[tokio::test]
async fn a_list_is_paged_filtered_and_ones_own() {
    let ground = start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(accepted(ground.submission().send().await.unwrap()).await.to_string());
    }
    let bob = token("acme", "bob", "jobs:submit");
    let bobs = ground.client.post(ground.url("/v1/kinds/demo.echo/jobs")).bearer_auth(bob).body("{}").send().await;
    let bobs = accepted(bobs.unwrap()).await.to_string();
    ground.change(ids[1].parse().unwrap(), None, succeeded).await;
    ids.reverse();

    let page = async |query: &str, token: &str| -> Value {
        let response = ground.get(&format!("/v1/jobs?{query}"), token).await;
        assert_eq!(response.status(), 200, "{query}");
        response.json().await.unwrap()
    };
    let listed = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let one = page(&format!("limit=2{cursor}"), &ada()).await;
        found.extend(listed(&one));
        match one["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(found, ids, "her own, newest first");
    let all = token("acme", "boss", "jobs:read:all");
    assert_eq!(listed(&page("", &all).await).len(), 6);
    assert_eq!(listed(&page("subject=bob", &all).await), [bobs]);
    assert_eq!(listed(&page("state=succeeded&kind=demo.echo", &all).await), [ids[3].clone()]);
    assert!(listed(&page("kind=demo.flaky", &all).await).is_empty());
    assert!(listed(&page("until=2020-01-01T00:00:00Z", &all).await).is_empty());
    assert_eq!(listed(&page("since=2020-01-01T00:00:00Z&until=2100-01-01T00:00:00%2B02:00", &all).await).len(), 6);
    assert!(listed(&page("", &token("other", "boss", "jobs:read:all")).await).is_empty());

    for query in [
        "limit=0",
        "limit=201",
        "limit=x",
        "state=done",
        "cursor=1",
        "since=yesterday",
        "until=2020-01-01",
        "since=2020-01-02T00:00:00Z&until=2020-01-01T00:00:00Z",
        "colour=red",
    ] {
        problem(ground.get(&format!("/v1/jobs?{query}"), &ada()).await, 400, "invalid-parameter").await;
    }
    problem(ground.get("/v1/jobs?subject=bob", &ada()).await, 403, "scope-missing").await;
}

/// What an event stream brings, event by event.
struct Events(reqwest::Response, String);

impl Events {
    async fn open(ground: &Ground, id: Uuid, last: Option<&str>) -> Self {
        let mut request = ground.client.get(ground.url(&format!("/v1/jobs/{id}/events"))).bearer_auth(ada());
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self(response, String::new())
    }

    /// The next event: its `id` and its data. `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        let soon = Duration::from_secs(20);
        loop {
            if let Some((event, rest)) = self.1.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.1 = rest;
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim().to_owned());
                let Some(data) = field("data:") else { continue };
                assert_eq!(field("event:").as_deref(), Some("state"), "{event}");
                return Some((field("id:").unwrap(), serde_json::from_str(&data).unwrap()));
            }
            let chunk = tokio::time::timeout(soon, self.0.chunk()).await.expect("an event in time").unwrap()?;
            self.1.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn a_stream_tells_each_change_resumes_and_ends_with_the_job() {
    let ground = start().await;
    let id = accepted(ground.submission().send().await.unwrap()).await;
    let mut events = Events::open(&ground, id, None).await;
    let (version, job) = events.next().await.unwrap();
    assert_eq!((version.as_str(), &job["state"]), ("1", &json!("accepted")));
    // Past this process: only the look into the store finds it.
    ground.change(id, None, running).await;
    let (version, job) = events.next().await.unwrap();
    assert_eq!((version.as_str(), &job["state"]), ("2", &json!("running")));

    // One that saw this is told only what is newer.
    let mut resumed = Events::open(&ground, id, Some("2")).await;
    // What nobody sees is told to nobody.
    ground.change(id, None, |status| Status { updated_at: now(), ..status.clone() }).await;
    ground.change(id, Some(b"{\"sum\":3}"), succeeded).await;
    for events in [&mut events, &mut resumed] {
        let (version, job) = events.next().await.unwrap();
        assert_eq!((version.as_str(), &job["state"], &job["result"]), ("4", &json!("succeeded"), &json!({"sum": 3})));
        assert!(events.next().await.is_none(), "the end of the job is the end of the stream");
    }
    // A late one sees the end, and one that saw it is told to stop.
    let mut late = Events::open(&ground, id, Some("rubbish")).await;
    assert_eq!(late.next().await.unwrap().0, "4");
    assert!(late.next().await.is_none());
    let request = ground.client.get(ground.url(&format!("/v1/jobs/{id}/events"))).bearer_auth(ada());
    assert_eq!(request.header("last-event-id", "4").send().await.unwrap().status(), 204);
}

#[tokio::test]
async fn a_stream_hears_at_once_what_this_process_does_and_ends_with_the_drain() {
    let ground = start().await;
    let id = accepted(ground.submission().send().await.unwrap()).await;
    let other = accepted(ground.submission().send().await.unwrap()).await;
    let (mut events, mut idle) = (Events::open(&ground, id, None).await, Events::open(&ground, other, None).await);
    assert!(events.next().await.is_some() && idle.next().await.is_some());
    assert_eq!(cancel(&ground, id, &canceller()).await.status(), 200);
    assert_eq!(events.next().await.unwrap().1["state"], "cancelled");
    ground.drain.cancel();
    assert!(idle.next().await.is_none(), "nobody holds up a drain");
}

#[tokio::test]
async fn a_stream_is_for_those_who_may_read() {
    let ground = start().await;
    let id = accepted(ground.submission().send().await.unwrap()).await;
    let path = format!("/v1/jobs/{id}/events");
    problem(ground.get(&path, &token("acme", "bob", "jobs:read")).await, 404, "job-not-found").await;
    problem(ground.get(&path, &token("acme", "ada", "jobs:submit")).await, 403, "scope-missing").await;
    problem(ground.get("/v1/jobs/1/events", &ada()).await, 400, "invalid-job-id").await;
}

#[tokio::test]
async fn a_paused_kind_says_so_and_accepts_as_ever() {
    let ground = start().await;
    ground.pauses.put("demo.echo", true, "ann", "").await.unwrap();
    let kind: Value = ground.get("/v1/kinds/demo.echo", &ada()).await.json().await.unwrap();
    assert_eq!(kind["paused"], true);
    let id = accepted(ground.submission().send().await.unwrap()).await;
    assert_eq!(ground.store.load(&[id]).await.unwrap()[0].status.owner, None, "it waits in the store, not in memory");
    ground.pauses.put("demo.echo", false, "ann", "").await.unwrap();
    let id = accepted(ground.submission().send().await.unwrap()).await;
    assert!(ground.store.load(&[id]).await.unwrap()[0].status.owner.is_some());
}
