//! Who may not.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::hub::{ALL_SCOPES, HubClient, ISSUER, SECRET, token};

use super::{Door, ECHO, check, submission};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Good claims, one of them replaced; `Null` takes it out.
fn claims(name: &str, value: Value) -> Value {
    let mut claims =
        json!({"iss": ISSUER, "aud": "warren", "sub": "ada", "tenant": "acme", "scope": ALL_SCOPES, "exp": now() + 600});
    claims[name] = value.clone();
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    }
    claims
}

fn signed(claims: &Value, kid: &str, secret: &str) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::default() };
    encode(&header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// The claims of a good token, under a header that says there is no signature.
fn unsigned(good: &str) -> String {
    let header = signed(&json!({"alg": "none", "typ": "JWT", "kid": "tests"}), "tests", SECRET);
    let part = |token: &str| token.split('.').nth(1).unwrap().to_owned();
    format!("{}.{}.", part(&header), part(good))
}

#[tokio::test]
async fn without_a_good_token_nobody_gets_in() {
    let mut door = Door::new().await;
    let before = door.counts().await;
    let good = signed(&claims("sub", json!("ada")), "tests", SECRET);
    let bad = |name: &str, value: Value| Some(signed(&claims(name, value), "tests", SECRET));
    let invalid = [
        bad("exp", json!(now() - 3600)),
        bad("exp", json!("never")),
        bad("nbf", json!(now() + 3600)),
        bad("iss", json!("somebody-else")),
        bad("aud", json!("another-service")),
        bad("tenant", Value::Null),
        bad("tenant", json!("")),
        bad("scope", Value::Null),
        bad("exp", Value::Null),
        Some(signed(&claims("sub", json!("ada")), "tests", "another-secret-of-the-same-length-0123456789")),
        Some(signed(&claims("sub", json!("ada")), "no-such-key", SECRET)),
        Some(signed(&claims("sub", json!("ada")), "../../etc/passwd", SECRET)),
        Some(unsigned(&good)),
        Some(good[..good.len() - 2].to_owned()),
        Some("nonsense".to_owned()),
        Some("x".repeat(9000)),
    ];
    let all = invalid.into_iter().map(|token| (token, "token-invalid")).chain([(None, "token-missing")]);
    for (number, (token, code)) in all.enumerate() {
        for (base, method, path) in [
            (door.hub.public_url(), Method::POST, ECHO),
            (door.hub.public_url(), Method::GET, "/v1/jobs/01890000-0000-7000-8000-000000000000"),
            (door.hub.public_url(), Method::GET, "/v1/kinds"),
            (door.hub.admin_url(), Method::GET, "/admin/jobs"),
        ] {
            let client = HubClient::new(base, token.clone());
            let answer = client.send(client.request(method, path).body("{}")).await.unwrap();
            check(&answer, 401, code, &format!("token {number} at {path}"));
            assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
            assert!(!answer.body.to_string().contains(&good[..20]), "no token in an answer");
        }
    }
    let client = HubClient::new(door.hub.public_url(), Some(good));
    assert_eq!(client.get("/v1/kinds").await.unwrap().status, 200, "the good one is good");
    assert!(!door.hub.log().contains(SECRET), "no secret in the log");
    door.is_up(before).await;
}

#[tokio::test]
async fn a_scope_that_is_missing_is_named() {
    let mut door = Door::new().await;
    let before = door.counts().await;
    let reader = door.hub.client_as("acme", "ada", "jobs:read jobs:admin jobs:submitter");
    let answer = reader.send(submission(&reader, ECHO, "{}")).await.unwrap();
    check(&answer, 403, "scope-missing", "submit");
    assert!(answer.body["detail"].as_str().unwrap().contains("`jobs:submit`"), "{}", answer.body);
    let writer = door.hub.client_as("acme", "ada", "jobs:submit");
    check(&writer.job("01890000-0000-7000-8000-000000000000").await.unwrap(), 403, "scope-missing", "read");
    let no_operator = HubClient::new(door.hub.admin_url(), Some(token("*", "ada", "jobs:submit jobs:read jobs:read:all")));
    for path in ["/admin/jobs", "/admin/dead-letters"] {
        check(&no_operator.get(path).await.unwrap(), 403, "scope-missing", path);
    }
    door.is_up(before).await;
}

/// The answer must not tell whether there is such a job.
#[tokio::test]
async fn another_subjects_job_looks_like_one_that_never_was() {
    let door = Door::new().await;
    let ada = door.hub.client_as("acme", "ada", "jobs:submit jobs:read");
    let id = ada.accepted("demo.echo", &json!({"secret": "canary-payload"})).await;
    assert_eq!(ada.job(&id).await.unwrap().status, 200);
    let overseer = door.hub.client_as("acme", "eve", "jobs:read:all");
    assert_eq!(overseer.job(&id).await.unwrap().status, 200, "within the tenant, with the scope");
    // As young as the other, and nobody's.
    let never = uuid::Uuid::now_v7().to_string();
    for (tenant, subject, scopes) in
        [("acme", "eve", "jobs:read"), ("rival", "ada", "jobs:read"), ("rival", "eve", "jobs:read jobs:read:all")]
    {
        let other = door.hub.client_as(tenant, subject, scopes);
        let [mine, none] = [other.job(&id).await.unwrap(), other.job(&never).await.unwrap()];
        check(&mine, 404, "job-not-found", &format!("{tenant}/{subject}"));
        check(&none, 404, "job-not-found", &format!("{tenant}/{subject}"));
        assert_eq!(mine.body["detail"], none.body["detail"]);
        assert!(!mine.body.to_string().contains("canary-payload"));
    }
}
