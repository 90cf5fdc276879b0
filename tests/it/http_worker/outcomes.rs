//! What each answer makes of a job.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use warren_tests::downstream::{Downstream, Reply};
use warren_tests::hub::{HubClient, HubProcess};
use warren_tests::wait::until_true;

use super::{Stage, kind};
use crate::world::{Keep, LONG};

const PLACE: &str = "orders.place";

fn outcomes(job: &Value) -> Vec<&str> {
    job["attempts"].as_array().unwrap().iter().map(|attempt| attempt["outcome"].as_str().unwrap_or("?")).collect()
}

/// Submits a job and waits until it has ended like this.
async fn ends(client: &HubClient, state: &str) -> Value {
    let id = client.accepted(PLACE, &json!({"order": 7})).await;
    client.wait_state(&id, state, LONG).await
}

#[tokio::test]
async fn a_call_says_all_about_its_job_and_any_2xx_is_the_result() {
    let service = Downstream::start(Reply::Status(201, vec![], "{\"placed\":true}")).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let folder = tempfile::tempdir().unwrap();
    let shop = folder.path().join("shop");
    std::fs::write(&shop, "north\n").unwrap();
    let headers = format!("headers = {{ authorization = \"Bearer canary\", x-shop = {{ file = \"{}\" }} }}\n", shop.display());
    let hub = HubProcess::start(&stage.options(&(kind(PLACE, &service, "") + &headers))).await;
    let client = hub.client();

    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = client.request(reqwest::Method::POST, "/v1/kinds/orders.place/jobs");
    let request = request.header("traceparent", parent).header("content-type", "application/json").body("{ \"order\" : 7 }");
    let answer = client.send(request).await.unwrap();
    let id = answer.job_id().unwrap().to_owned();
    let job = client.wait_state(&id, "succeeded", LONG).await;
    assert_eq!((&job["result"], outcomes(&job)), (&json!({"placed": true}), vec!["succeeded"]));
    assert_eq!(job["attempts"][0]["http_status"], 201, "{job}");

    let asked = &service.asked()[0];
    assert_eq!((asked.method.as_str(), asked.uri.to_string().as_str()), ("POST", "/work?for=orders.place"));
    assert_eq!(&asked.body[..], b"{ \"order\" : 7 }", "the payload as it came");
    for (name, value) in [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", &id),
        ("ce-type", PLACE),
        ("idempotency-key", &format!("\"{id}\"")),
        ("traceparent", parent),
        ("warren-attempt", "1"),
        ("authorization", "Bearer canary"),
        ("x-shop", "north"),
    ] {
        assert_eq!(asked.header(name), value, "{name}");
    }
    assert!(asked.header("ce-source").starts_with("/warren"), "{}", asked.header("ce-source"));
    let now = Timestamp::now();
    let time: Timestamp = asked.header("ce-time").parse().unwrap();
    let deadline: Timestamp = asked.header("warren-deadline").parse().unwrap();
    assert!(time <= now && deadline > now && deadline.duration_since(now).as_secs() <= 86_400);
    assert!(!hub.log().contains("canary"));

    // Without a body there is no result, and bytes that are no JSON are kept all the same.
    service.set(Downstream::status(204));
    assert_eq!(ends(&client, "succeeded").await["result"], Value::Null);
    service.set(Reply::Status(200, vec![], "plain"));
    assert_eq!(ends(&client, "succeeded").await["result_base64"], "cGxhaW4=");
    // What is too large is left where it is; the work is done all the same.
    for told in [true, false] {
        service.set(Reply::Large(300_000, told));
        let job = ends(&client, "succeeded").await;
        assert_eq!((&job["result"], &job["result_base64"]), (&Value::Null, &Value::Null));
    }
    service.set(Reply::Large(65_536, false));
    assert!(ends(&client, "succeeded").await["result_base64"].is_string(), "64 KiB are kept");
    let metrics = reqwest::get(format!("{}/metrics", hub.internal_url())).await.unwrap().text().await.unwrap();
    let series = format!("warren_destination_calls_total{{destination=\"{}\",result=\"2xx\"}} 6", service.origin());
    assert!(metrics.contains(&series), "{series}\n{metrics}");
}

#[tokio::test]
async fn what_may_pass_is_tried_again_with_the_same_key_and_what_will_not_is_a_dead_letter() {
    let service = Downstream::start(Downstream::status(503)).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let hub = stage.hub(&kind(PLACE, &service, "timeout = \"2s\"")).await;
    let client = hub.client();

    for status in [408, 425, 429, 500, 503] {
        service.set(Reply::Status(status, vec![], "not now"));
        let id = client.accepted(PLACE, &json!({})).await;
        until_true(LONG, "the first attempt", async || service.asked().iter().any(|asked| asked.header("ce-id") == id)).await;
        service.set(Reply::Status(200, vec![], "1"));
        let job = client.wait_state(&id, "succeeded", LONG).await;
        assert_eq!(outcomes(&job), ["failed", "succeeded"], "{status}");
        assert!(job["attempts"][0].to_string().contains(&format!("http-{status}")), "{job}");
        let met: Vec<_> = job["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["http_status"]).collect();
        assert_eq!(met, [&json!(status), &json!(200)], "{job}");
        let asked = service.asked();
        let of: Vec<_> = asked.iter().filter(|asked| asked.header("ce-id") == id).collect();
        assert_eq!(of.iter().map(|asked| asked.header("warren-attempt")).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(of[0].header("idempotency-key"), of[1].header("idempotency-key"));
    }

    let location = format!("{}/elsewhere", service.origin());
    for (status, headers, said) in [
        (400, vec![], "http-400: answered 400 Bad Request: no such order"),
        (404, vec![], "http-404"),
        (410, vec![], "http-410"),
        (302, vec![("location", location)], "http-302: answered with a redirect, which is not followed"),
    ] {
        service.set(Reply::Status(status, headers, "no such order"));
        let job = ends(&client, "dead").await;
        assert_eq!(outcomes(&job), ["rejected"], "{job}");
        assert!(job.to_string().contains(said), "{said} in {job}");
    }
    assert!(service.asked().iter().all(|asked| asked.uri.path() == "/work"), "a redirect was followed");

    for (reply, code, met) in [(Reply::Hang, "timed-out: ", Value::Null), (Reply::Broken, "answer-broken: ", json!(200))] {
        service.set(reply);
        let job = ends(&client, "dead").await;
        assert!(job["attempts"].as_array().unwrap().iter().all(|attempt| attempt["http_status"] == met), "{job}");
        assert_eq!(outcomes(&job), ["failed", "failed"], "{job}");
        assert!(job.to_string().contains(code), "{job}");
    }
}

#[tokio::test]
async fn a_service_that_is_away_or_hangs_up_is_tried_again() {
    // One that takes connections and drops them, and a port that nobody listens on.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rude = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut some = [0; 16];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut some).await;
        }
    });
    let nobody = warren_tests::free_port();
    let kind = |name: &str, url: String| {
        format!(
            "[[kind]]\nname = \"{name}\"\nworker = \"http\"\n[kind.retry]\ndelays = [\"1s\"]\nmax_attempts = 2\n\
             [kind.http]\nurl = \"{url}\"\n"
        )
    };
    let toml = kind("is.rude", format!("http://{rude}/")) + &kind("is.away", format!("http://127.0.0.1:{nobody}/?key=canary"));
    let stage = Stage::set(Keep::Sqlite).await;
    let hub = stage.hub(&toml).await;
    let client = hub.client();
    for (name, code) in [("is.rude", "request-failed: "), ("is.away", "connect-failed: cannot connect: ")] {
        let id = client.accepted(name, &json!({})).await;
        let job = client.wait_state(&id, "dead", LONG).await;
        assert_eq!(outcomes(&job), ["failed", "failed"], "{job}");
        assert!(job.to_string().contains(code) && !job.to_string().contains("canary"), "{job}");
    }
}

#[tokio::test]
async fn retry_after_is_obeyed_in_both_forms() {
    let service = Downstream::start(Downstream::status(503)).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let hub = stage.hub(&kind(PLACE, &service, "")).await;
    let client = hub.client();
    fn in_4_s() -> String {
        let at = Timestamp::now() + Duration::from_secs(4);
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap()
    }
    for form in [|| "4".to_owned(), in_4_s] {
        let after = form();
        service.set(Reply::Status(503, vec![("retry-after", after.clone())], ""));
        let begun = Instant::now();
        let id = client.accepted(PLACE, &json!({})).await;
        let calls = |id: &str| service.asked().iter().filter(|asked| asked.header("ce-id") == id).count();
        until_true(LONG, "the first attempt", async || calls(&id) == 1).await;
        service.set(Downstream::status(200));
        client.wait_state(&id, "succeeded", LONG).await;
        // A date has whole seconds. The policy alone would come back after one.
        assert!(begun.elapsed() >= Duration::from_millis(2900), "{after}: {:?}", begun.elapsed());
        assert_eq!(calls(&id), 2);
    }
}

#[tokio::test]
async fn a_destination_that_hangs_costs_other_kinds_nothing() {
    let (dead, well) = (Downstream::start(Reply::Hang).await, Downstream::start(Downstream::status(200)).await);
    let stage = Stage::set(Keep::Sqlite).await;
    let toml = kind("is.hanging", &dead, "timeout = \"5s\"\nconcurrency = 4") + &kind("is.well", &well, "");
    let hub = stage.hub(&toml).await;
    let client = hub.client();
    for n in 0..20 {
        client.accepted("is.hanging", &json!({"n": n})).await;
    }
    until_true(LONG, "all its room to be taken", async || dead.asked().len() == 4).await;
    let begun = Instant::now();
    for n in 0..50 {
        client.accepted("is.well", &json!({"n": n})).await;
    }
    until_true(LONG, "the other kind to be through", async || well.asked().len() == 50).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    // It is tried again, like everything that failed.
    let again = || dead.asked().iter().filter(|asked| asked.header("warren-attempt") == "2").count();
    until_true(LONG, "a second attempt", async || again() > 0).await;
    let (first, fifth) = (dead.asked()[0].at, dead.asked()[4].at);
    assert!(fifth.duration_since(first) >= Duration::from_millis(4500), "four at one time, no more");
}

#[tokio::test]
async fn a_call_that_the_drain_cuts_short_keeps_its_attempt() {
    let service = Downstream::start(Reply::Hang).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let mut hub = stage.hub(&(kind(PLACE, &service, "") + "[drain]\ngrace = \"500ms\"\n")).await;
    let client = hub.client();
    let id = client.accepted(PLACE, &json!({})).await;
    until_true(LONG, "the call", async || service.asked().len() == 1).await;
    let begun = Instant::now();
    assert!(hub.terminate(Duration::from_secs(20)).await.success());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    service.set(Downstream::status(200));
    hub.start_again().await;
    let job = client.wait_state(&id, "succeeded", LONG).await;
    assert_eq!(job["attempt"], 1, "{job}");
    let attempts: Vec<_> = service.asked().iter().map(|asked| asked.header("warren-attempt").to_owned()).collect();
    assert_eq!(attempts, ["1", "1"]);
}

#[tokio::test]
async fn a_job_that_is_cancelled_before_its_turn_is_never_called() {
    let service = Downstream::start(Reply::Late(Duration::from_secs(3))).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let one_at_a_time = format!("[[destination]]\nname = \"{}\"\nconcurrency = 1\n", service.origin());
    let hub = stage.hub(&(kind(PLACE, &service, "") + &kind("orders.count", &service, "") + &one_at_a_time)).await;
    let client = hub.client();
    let first = client.accepted(PLACE, &json!({})).await;
    until_true(LONG, "the first call", async || service.asked().len() == 1).await;
    let second = client.accepted("orders.count", &json!({})).await;
    client.wait_state(&second, "running", LONG).await;
    let cancel = client.request(reqwest::Method::POST, &format!("/v1/jobs/{second}/cancel"));
    assert_eq!(client.send(cancel).await.unwrap().status, 202);
    client.wait_state(&second, "cancelled", LONG).await;
    client.wait_state(&first, "succeeded", LONG).await;
    assert_eq!(service.asked().len(), 1, "only the first");
}
