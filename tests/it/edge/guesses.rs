//! Tokens that no key here signed: how much is told of them, and how often.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::hub::{ALL_SCOPES, Answer, HubClient, HubProcess, ISSUER, SECRET, token};

use super::{ECHO, ask, hub_with};

const LIMIT: (&str, &str) = ("LIMITS__BAD_TOKENS_PER_CLIENT", "10/h");
const PROXIED: (&str, &str) = ("LISTEN__TRUSTED_PROXIES", "['127.0.0.0/8']");

fn signed(kid: &str, algorithm: Algorithm, secret: &str, exp: u64) -> String {
    let claims = json!({"iss": ISSUER, "aud": "warren", "exp": exp, "sub": "eve", "tenant": "acme", "scope": ALL_SCOPES});
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
    encode(&header, &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

const FAR: u64 = 4_000_000_000;

/// Another guess each time.
fn guess(number: usize) -> String {
    signed("tests", Algorithm::HS256, &format!("{number:064}"), FAR)
}

async fn with(base: String, token: &str, via: &str) -> Answer {
    ask(&HubClient::new(base, Some(token.to_owned())), Method::GET, "/v1/kinds", &[("x-forwarded-for", via)]).await
}

async fn exhaust(hub: &HubProcess, from: impl Fn(usize) -> String) {
    for number in 0..10 {
        let answer = with(hub.public_url(), &guess(number), &from(number)).await;
        assert_eq!((answer.status, answer.code()), (401, Some("token-invalid")), "{number}: {}", answer.body);
    }
}

fn is_limited(answer: &Answer) {
    assert_eq!((answer.status, answer.code()), (429, Some("too-many-bad-tokens")), "{}", answer.body);
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=360).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn who_guesses_is_soon_told_to_wait_and_nobody_else_is() {
    let hub = hub_with(&[LIMIT, PROXIED]).await;
    let good = token("acme", "ada", ALL_SCOPES);
    exhaust(&hub, |_| "192.0.2.1".to_owned()).await;
    is_limited(&with(hub.public_url(), &guess(10), "192.0.2.1").await);
    // Nor on the other listener, nor by writing in front of what the proxy says.
    let operator = HubClient::new(hub.admin_url(), Some(guess(11)));
    is_limited(&ask(&operator, Method::GET, "/admin/jobs", &[("x-forwarded-for", "192.0.2.1")]).await);
    is_limited(&with(hub.public_url(), &guess(12), "198.51.100.77, 192.0.2.1").await);
    let submit = HubClient::new(hub.public_url(), Some(guess(13)));
    is_limited(&ask(&submit, Method::POST, ECHO, &[("x-forwarded-for", "192.0.2.1")]).await);
    assert_eq!(hub.client().get("/problems/too-many-bad-tokens").await.unwrap().status, 200);

    // Others share the address.
    assert_eq!(with(hub.public_url(), &good, "192.0.2.1").await.status, 200);
    let expired = with(hub.public_url(), &signed("tests", Algorithm::HS256, SECRET, 1_000_000_000), "192.0.2.1").await;
    assert_eq!((expired.status, expired.code()), (401, Some("token-invalid")));
    assert!(expired.body["detail"].as_str().unwrap().contains("expired"), "{}", expired.body);
    assert_eq!(with(hub.public_url(), &guess(14), "192.0.2.2").await.status, 401, "another address");
}

#[tokio::test]
async fn a_64_is_one_client() {
    let hub = hub_with(&[LIMIT, PROXIED]).await;
    exhaust(&hub, |number| format!("2001:db8:7:7:{number:x}::{number:x}")).await;
    for host in ["2001:db8:7:7::1", "2001:db8:7:7:ffff:ffff:ffff:ffff", "[2001:db8:7:7::99]:4711"] {
        is_limited(&with(hub.public_url(), &guess(11), host).await);
    }
    assert_eq!(with(hub.public_url(), &guess(12), "2001:db8:7:8::1").await.status, 401);
}

#[tokio::test]
async fn without_a_listed_proxy_what_a_client_says_of_itself_changes_nothing() {
    let hub = hub_with(&[LIMIT]).await;
    exhaust(&hub, |number| format!("192.0.2.{number}")).await;
    is_limited(&with(hub.public_url(), &guess(10), "192.0.2.200").await);
    assert_eq!(hub.client().get("/v1/kinds").await.unwrap().status, 200);
}

/// Which keys there are, and for which algorithm, cannot be found out one after the other.
#[tokio::test]
async fn what_was_wrong_with_a_guess_is_in_the_log_alone() {
    let hub = hub_with(&[]).await;
    let good = token("acme", "ada", ALL_SCOPES);
    let guesses = [
        guess(0),
        signed("no-such-key", Algorithm::HS256, SECRET, FAR),
        signed("tests", Algorithm::HS512, SECRET, FAR),
        good[..good.len() - 4].to_owned(),
        good.rsplit_once('.').unwrap().0.to_owned() + ".",
        "nonsense".to_owned(),
        "x".repeat(9000),
    ];
    let mut told = Vec::new();
    for (number, guess) in guesses.iter().enumerate() {
        let client = HubClient::new(hub.public_url(), Some(guess.clone()));
        let answer = ask(&client, Method::GET, "/v1/kinds", &[("x-request-id", &format!("guess-{number}"))]).await;
        let mut body = answer.body;
        for own in ["instance", "request_id"] {
            assert_ne!(body.as_object_mut().unwrap().remove(own), None);
        }
        told.push((answer.status, answer.headers["www-authenticate"].clone(), body));
    }
    assert_eq!(told[0].0, 401);
    assert!(told.iter().all(|one| *one == told[0]), "{told:#?}");
    let log: Vec<Value> = hub.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for (number, why) in [(0, "signature"), (1, "`kid`"), (2, "`alg`")] {
        let id = format!("guess-{number}");
        let line = log.iter().find(|line| line["request.id"] == *id && line.to_string().contains("not accepted"));
        assert!(line.unwrap_or_else(|| panic!("{id}: {log:#?}")).to_string().contains(why), "{line:?}");
    }
}
