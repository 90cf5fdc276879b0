//! Submissions that come too fast.

use serde_json::json;
use warren_tests::hub::{ALL_SCOPES, HubProcess};

use super::{Answer, ECHO, connect, hub_with, metric, one, send};

async fn submit(hub: &HubProcess, tenant: &str, subject: &str) -> Answer {
    hub.client_as(tenant, subject, ALL_SCOPES).submit("demo.echo", &json!({}), None).await.unwrap()
}

#[tokio::test]
async fn beyond_its_rate_a_tenant_is_told_when_to_come_back() {
    let hub = hub_with(&[("LIMITS__RATE_PER_TENANT", "60/h"), ("LIMITS__BURST_PER_TENANT", "3")]).await;
    // Whatever subject it comes from.
    for (left, subject) in ["a", "b", "c"].into_iter().enumerate() {
        let answer = submit(&hub, "acme", subject).await;
        assert_eq!(answer.status, 202);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"tenant\";q=60;w=3600"));
        assert_eq!(answer.header("ratelimit"), Some(format!("\"tenant\";r={}", 2 - left).as_str()));
    }
    let refused = submit(&hub, "acme", "d").await;
    assert_eq!((refused.status, refused.code()), (429, Some("rate-limited")));
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert_eq!(refused.header("ratelimit-policy"), Some("\"tenant\";q=60;w=3600"));
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(refused.header("ratelimit"), Some(format!("\"tenant\";r=0;t={seconds}").as_str()));
    assert_eq!(metric(&hub, "warren_accept_refused_total{code=\"rate-limited\"}").await, 1.0);
    // Others have their own, and reading is free.
    assert_eq!(submit(&hub, "other", "a").await.status, 202);
    assert_eq!(hub.client().get("/v1/kinds").await.unwrap().status, 200);
    assert_eq!(hub.client().get("/problems/rate-limited").await.unwrap().status, 200);
}

#[tokio::test]
async fn one_subject_does_not_use_up_what_its_tenant_has() {
    let hub = hub_with(&[("LIMITS__RATE_PER_TENANT", "100/h"), ("LIMITS__RATE_PER_SUBJECT", "2/h")]).await;
    for _ in 0..2 {
        assert_eq!(submit(&hub, "acme", "loud").await.status, 202);
    }
    for _ in 0..200 {
        let refused = submit(&hub, "acme", "loud").await;
        assert_eq!((refused.status, refused.header("ratelimit-policy")), (429, Some("\"subject\";q=2;w=3600")));
    }
    assert_eq!(submit(&hub, "acme", "quiet").await.status, 202);
    // The same name in another tenant is another.
    assert_eq!(submit(&hub, "other", "loud").await.status, 202);
}

/// Without a good token nothing is counted; with one, the body is not waited for.
#[tokio::test]
async fn it_is_looked_at_between_the_token_and_the_body() {
    let hub = hub_with(&[("LIMITS__RATE_PER_TENANT", "1/h")]).await;
    for _ in 0..5 {
        let stranger = hub.client_without_token().submit("demo.echo", &json!({}), None).await.unwrap();
        assert_eq!((stranger.status, stranger.header("ratelimit")), (401, None));
        assert_eq!(hub.client_as("acme", "reader", "jobs:read").submit("demo.echo", &json!({}), None).await.unwrap().status, 403);
    }
    assert_eq!(submit(&hub, "acme", "tester").await.status, 202);
    let mut stream = connect(&hub).await;
    send(&mut stream, &format!("{}\r\n", super::head(1000))).await;
    let answer = one(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("rate-limited"), "{ECHO}: {answer}");
}

#[tokio::test]
async fn nothing_is_limited_unless_it_is_configured() {
    let hub = hub_with(&[]).await;
    for _ in 0..50 {
        let answer = submit(&hub, "acme", "tester").await;
        assert_eq!((answer.status, answer.header("ratelimit"), answer.header("ratelimit-policy")), (202, None, None));
    }
}
