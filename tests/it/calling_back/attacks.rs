//! Callbacks that lead where they may not, and receivers that mean harm.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use warren_tests::downstream::{Downstream, Reply};
use warren_tests::wait::until_true;

use super::{accepted, hub, settings, stands, submit};
use crate::http_worker::Stage;
use crate::world::{KINDS, Keep, LONG};

#[tokio::test]
async fn an_address_that_is_not_the_internet_is_refused_at_the_door() {
    let stage = Stage::set(Keep::Sqlite).await;
    // As an operator would have it who has set nothing but a secret.
    let toml = format!("{KINDS}\n[[callback_secret]]\ntenant = \"acme\"\nsecret = \"{}\"\n", super::SECRET);
    let hub = hub(&stage, &toml).await;
    let client = hub.client();
    for url in [
        "http://127.0.0.1",
        "https://127.0.0.1/",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://100.64.1.1/",
        "https://[fd00::8]/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://0x7f.0.0.1/",
        "https://localhost./",
        "file:///etc/passwd",
        "gopher://example.com/",
        "https://example.com:22/",
        "https://example.com:25/",
        "https://example.com:5672/",
        "https://example.com:15672/",
        "https://example.com@10.0.0.1/",
        &hub.public_url(),
        &hub.admin_url(),
    ] {
        let refused = submit(&client, "demo.echo", url).await;
        assert_eq!((refused.status, refused.code()), (422, Some("invalid-callback")), "{url}: {}", refused.body);
    }
    let listed = client.get("/v1/jobs").await.unwrap().body;
    assert_eq!(listed["items"], json!([]), "nothing half done");
}

#[tokio::test]
async fn the_rules_hold_for_each_call_and_the_hub_itself_is_never_called() {
    let receiver = Downstream::start(Downstream::status(200)).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let away = "[[kind]]\nname = \"test.away\"\nworker = \"amqp\"\n";
    let mut hub = hub(&stage, &(settings(&[&receiver], "") + away)).await;
    let client = hub.client();
    // Taken while this network was open; called when it is no more.
    let id = accepted(&client, "test.away", &receiver.origin()).await;
    let path = hub.folder().join("warren.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let own: Vec<String> = [hub.public_url(), hub.admin_url(), hub.internal_url()].to_vec();
    let ports: Vec<&str> = own.iter().map(|url| url.rsplit(':').next().unwrap()).collect();
    let opened = text.replace("ports = [", &format!("ports = [{}, ", ports.join(", ")));
    let closed = text.replace("\"127.0.0.1/32\"", "").replace("\"1s\", \"1s\", \"1s\"", "");
    for (at, file) in [opened, closed].into_iter().enumerate() {
        assert_ne!(file, text);
        std::fs::write(&path, file).unwrap();
        hub.process().signal(Signal::SIGHUP);
        until_true(LONG, "the reload", async || hub.log().matches("the configuration was read again").count() == at + 1).await;
        for url in own.iter().filter(|_| at == 0) {
            let refused = submit(&client, "test.away", url).await;
            assert_eq!((refused.status, refused.code()), (422, Some("invalid-callback")), "{url}: {}", refused.body);
            assert!(refused.body["detail"].as_str().unwrap().contains("this hub itself"), "{}", refused.body);
        }
    }
    client.send(client.request(Method::POST, &format!("/v1/jobs/{id}/cancel"))).await.unwrap();
    let job = stands(&client, &id, "failed").await;
    let call = &job["callback"]["calls"][0];
    let why = "refused: leads to 127.0.0.1, which is loopback: only addresses of the Internet are called";
    assert_eq!((&call["status"], &call["error"]), (&json!(null), &json!(why)), "{job}");
    assert!(receiver.asked().is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_harmful_answers_have_their_bounds() {
    let inside = Downstream::start(Downstream::status(200)).await;
    let redirects = Downstream::start(Reply::Status(302, vec![("location", format!("{}/secret", inside.origin()))], "")).await;
    let slow = Downstream::start(Reply::Late(Duration::from_secs(60))).await;
    let large = Downstream::start(Reply::Large(64 << 20, false)).await;
    // A head without an end.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endless = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 4096]).await;
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n").await;
                while socket.write_all(b"x-more: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n").await.is_ok() {}
            });
        }
    });
    let stage = Stage::set(Keep::Sqlite).await;
    let toml = settings(&[&inside, &redirects, &slow, &large], "timeout = \"2s\"\n").replace("\"1s\", \"1s\", \"1s\"", "");
    let toml = toml.replace("ports = [", &format!("ports = [{}, ", endless.port()));
    let hub = hub(&stage, &toml).await;
    let client = hub.client();
    for (url, state, status, error) in [
        (redirects.origin(), "failed", Some(302), "a redirect, which is not followed"),
        (slow.origin(), "failed", None, "timed-out: no answer within 2s"),
        (format!("http://{endless}"), "failed", None, "request-failed"),
        (large.origin(), "delivered", Some(200), ""),
    ] {
        let begun = Instant::now();
        let id = accepted(&client, "demo.echo", &url).await;
        let call = &stands(&client, &id, state).await["callback"]["calls"][0];
        assert_eq!(call["status"].as_u64(), status, "{url}: {call}");
        assert!(call["error"].as_str().unwrap_or_default().contains(error), "{url}: {call}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{url}");
    }
    assert!(inside.asked().is_empty(), "nobody was sent there");
}
