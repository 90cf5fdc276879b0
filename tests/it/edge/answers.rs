//! What the edge adds to answers: ids, compression, leave for other origins; and what it writes to the log.

use std::io::Write as _;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::hub::{Answer, HubClient, HubProcess};
use warren_tests::wait::until;

use super::{ECHO, PATIENCE, ask, get, hub_with};

/// The line of the access log about the request with this id.
async fn line(hub: &HubProcess, id: &str) -> Value {
    until(PATIENCE, &format!("the line about {id}"), async || {
        hub.log()
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["target"] == "access" && line["request.id"] == id)
    })
    .await
}

fn id(answer: &Answer) -> String {
    answer.header("x-request-id").expect("every answer has an id").to_owned()
}

fn is_uuid7(text: &str) -> bool {
    uuid::Uuid::try_parse(text).is_ok_and(|id| id.get_version_num() == 7 && id.to_string() == text)
}

#[tokio::test]
async fn a_request_keeps_its_id_or_is_given_one() {
    let hub = hub_with(&[("LOG__LEVEL", "info,access=debug,door=debug")]).await;
    let (client, admin) = (hub.client(), hub.admin());
    let long = "x".repeat(128);
    for mine in ["a", "order-17/try:2", &long] {
        assert_eq!(id(&get(&client, "/v1/kinds", &[("x-request-id", mine)]).await), mine);
    }
    let too_long = "x".repeat(129);
    for bad in ["", "a b", "a\u{e4}b", &too_long] {
        let answer = get(&client, "/v1/kinds", &[("x-request-id", bad)]).await;
        assert!(is_uuid7(&id(&answer)), "{bad:?}: {}", id(&answer));
    }
    // On every answer, whatever it is and whoever gives it.
    for (client, path) in
        [(&client, "/live"), (&client, "/nothing"), (&client, "/openapi.json"), (&admin, "/admin/jobs"), (&admin, "/x")]
    {
        assert!(is_uuid7(&id(&get(client, path, &[]).await)), "{path}");
    }
    let accepted = client.submit("demo.echo", &json!({}), None).await.unwrap();
    assert!(accepted.status == 202 && is_uuid7(&id(&accepted)));

    // A problem names it, and so does the log.
    let refused = get(&client, "/nothing?secret=canary-query", &[("x-request-id", "mine-404")]).await;
    assert_eq!((refused.body["request_id"].as_str(), id(&refused).as_str()), (Some("mine-404"), "mine-404"));
    let instance = refused.body["instance"].as_str().unwrap();
    assert!(is_uuid7(instance.strip_prefix("urn:uuid:").unwrap()), "{instance}");
    let line = line(&hub, "mine-404").await;
    assert_eq!(
        (&line["http.status"], &line["http.path"], &line["client"]),
        (&json!(404), &json!("/nothing"), &json!("127.0.0.1"))
    );
    let log = hub.log();
    let told = log.lines().find(|line| line.contains("refused:") && line.contains("mine-404")).expect("a line about the refusal");
    assert!(told.contains(instance.strip_prefix("urn:uuid:").unwrap()), "{told}");
    assert!(!log.contains("canary-query"), "the query is not logged");
    // Made here, both are the same.
    let made = get(&client, "/nothing", &[]).await;
    assert_eq!(made.body["instance"], format!("urn:uuid:{}", id(&made)));
}

#[tokio::test]
async fn the_clients_address_is_the_peers_unless_a_listed_proxy_says_otherwise() {
    let forged = [("x-forwarded-for", "192.0.2.1"), ("x-request-id", "forged")];
    let alone = hub_with(&[("LOG__LEVEL", "info,access=debug")]).await;
    get(&alone.client(), "/live", &forged).await;
    assert_eq!(line(&alone, "forged").await["client"], "127.0.0.1");
    // The hub says nothing of it to anybody, and lets nobody in by it.
    let outside = ask(&alone.client_without_token(), Method::GET, "/v1/kinds", &[("x-forwarded-for", "127.0.0.1")]).await;
    assert_eq!(outside.status, 401);

    let behind = hub_with(&[("LOG__LEVEL", "info,access=debug"), ("LISTEN__TRUSTED_PROXIES", "['127.0.0.0/8']")]).await;
    for (id, name, value, client) in [
        ("one", "x-forwarded-for", "192.0.2.1", "192.0.2.1"),
        ("prefixed", "x-forwarded-for", "1.1.1.1, 192.0.2.1", "192.0.2.1"),
        ("two-proxies", "x-forwarded-for", "1.1.1.1, 192.0.2.1, 127.0.0.7", "192.0.2.1"),
        ("standard", "forwarded", "for=\"[2001:db8::7]:99\";proto=https", "2001:db8::7"),
        ("garbage", "x-forwarded-for", "<script>", "127.0.0.1"),
    ] {
        get(&behind.client(), "/live", &[(name, value), ("x-request-id", id)]).await;
        assert_eq!(line(&behind, id).await["client"], client, "{id}");
    }
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = gzip.stdin.take().unwrap();
    input.write_all(bytes).unwrap();
    drop(input);
    let output = gzip.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[tokio::test]
async fn a_large_answer_is_compressed_for_who_asks_and_an_acceptance_never_is() {
    let hub = hub_with(&[]).await;
    let client = hub.client();
    let gzip = [("accept-encoding", "gzip")];
    let plain = get(&client, "/openapi.json", &[]).await;
    let packed = get(&client, "/openapi.json", &gzip).await;
    assert_eq!((plain.header("content-encoding"), packed.header("content-encoding")), (None, Some("gzip")));
    assert!(packed.bytes.len() * 2 < plain.bytes.len(), "{} of {}", packed.bytes.len(), plain.bytes.len());
    assert_eq!(unpacked(&packed.bytes), plain.bytes);
    assert!(packed.header("vary").is_some_and(|vary| vary.to_ascii_lowercase().contains("accept-encoding")));

    let small = get(&client, "/live", &gzip).await;
    assert_eq!((small.header("content-encoding"), small.bytes.as_slice()), (None, b"ok\n".as_slice()));
    let body = json!({"padding": "x".repeat(5000)});
    let accepted = client.send(client.request(Method::POST, ECHO).header("accept-encoding", "gzip").json(&body)).await.unwrap();
    assert_eq!((accepted.status, accepted.header("content-encoding")), (202, None));
    assert!(accepted.header("content-length").is_some());
    // Nor what refuses it.
    assert_eq!(get(&client, "/openapi.json", &[("accept-encoding", "gzip;q=0")]).await.bytes, plain.bytes);
}

const ORIGIN: &str = "https://app.example.com";

async fn preflight(client: &HubClient, origin: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,idempotency-key"),
    ];
    ask(client, Method::OPTIONS, ECHO, &headers).await
}

#[tokio::test]
async fn a_listed_origin_may_call_and_read() {
    let listed = format!("['{ORIGIN}']");
    let hub = hub_with(&[("CORS__ORIGINS", &listed), ("CORS__CREDENTIALS", "true"), ("CORS__MAX_AGE", "5m")]).await;
    let stranger = hub.client_without_token();
    let leave = preflight(&stranger, ORIGIN).await;
    assert_eq!(leave.status, 200);
    assert_eq!(leave.header("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(leave.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(leave.header("access-control-max-age"), Some("300"));
    assert!(leave.header("access-control-allow-methods").unwrap().contains("POST"));
    assert_eq!(leave.header("access-control-allow-headers"), Some("authorization,content-type,idempotency-key"));

    let submit = hub.client().request(Method::POST, ECHO).header("origin", ORIGIN).json(&json!({}));
    let accepted = hub.client().send(submit).await.unwrap();
    assert_eq!((accepted.status, accepted.header("access-control-allow-origin")), (202, Some(ORIGIN)));
    let exposed = accepted.header("access-control-expose-headers").unwrap();
    for name in ["location", "retry-after", "ratelimit", "ratelimit-policy", "idempotency-replayed", "x-request-id"] {
        assert!(exposed.split(',').any(|one| one == name), "{name} in {exposed}");
    }
    // A refusal is read like any answer; another origin reads nothing.
    let refused = get(&stranger, "/v1/kinds", &[("origin", ORIGIN)]).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some(ORIGIN)));
    let other = preflight(&stranger, "https://evil.example.com").await;
    assert_eq!(other.header("access-control-allow-origin"), None);
    // The listener for operators is for nobody's pages.
    assert_eq!(get(&hub.admin(), "/admin/jobs", &[("origin", ORIGIN)]).await.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn without_an_origin_no_page_may_call() {
    let hub = hub_with(&[]).await;
    let answer = preflight(&hub.client(), ORIGIN).await;
    assert_eq!((answer.status, answer.code()), (405, Some("method-not-allowed")));
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
