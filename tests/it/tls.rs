//! `amqps` with a private authority and a client certificate, and what is said when one of them is wrong.

pub mod certificates;

use std::path::{Path, PathBuf};

use serde_json::json;
use warren_tests::broker::{Broker, BrokerOptions, Vhost};
use warren_tests::hub::{HubOptions, HubProcess};
use warren_tests::wait::{until, until_true};

use self::certificates::{Authority, Signed};
use crate::world::{KINDS, LONG, settled};

/// A broker whose `amqps` listener wants a client certificate.
struct Stage {
    authority: Authority,
    broker: Broker,
    vhost: Vhost,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn set() -> Self {
        let authority = Authority::new("the right authority");
        let tls = Some(authority.listener(authority.server("localhost")));
        let broker = Broker::dedicated_with(BrokerOptions { tls, ..BrokerOptions::default() }).await;
        let vhost = broker.vhost().await;
        Self { authority, broker, vhost, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A hub that reaches the broker as `host`, with these files.
    fn options(&self, host: &str, authority: &Authority, client: Option<Signed>) -> HubOptions {
        let plain = self.broker.amqp_addr().to_string();
        let secure = format!("{host}:{}", self.broker.amqps_addr().port());
        let url = self.vhost.url().replacen("amqp://", "amqps://", 1).replacen(&plain, &secure, 1);
        let set = |key: &str, path: &Path| (format!("WARREN__BROKER__{key}"), path.display().to_string());
        let mut env = vec![set("CA_FILE", &self.file("ca.pem", &authority.pem()))];
        if let Some(client) = client {
            env.push(set("CLIENT_CERT_FILE", &self.file("client.pem", &client.certificate)));
            env.push(set("CLIENT_KEY_FILE", &self.file("client.key", &client.key)));
        }
        HubOptions { broker_url: url, extra_toml: KINDS.to_owned(), env, ..HubOptions::default() }
    }
}

async fn works(hub: &HubProcess) {
    settled(hub).await;
    let client = hub.client();
    let payload = json!({"over": "tls"});
    let id = client.accepted("demo.echo", &payload).await;
    assert_eq!(client.wait_state(&id, "succeeded", LONG).await["result"], payload);
}

/// `/health` names `reason` and a remedy, so does the log; the hub lives, accepts and goes on trying.
async fn says(hub: &mut HubProcess, reason: &str, remedy: &str) {
    let client = hub.client();
    let sentence = until(LONG, &format!("`{reason}` to be said"), async || {
        let health = hub.admin().get("/health").await.ok()?.body;
        let said = health["dependencies"]["publish"]["reason"].as_str()?.to_owned();
        said.contains(reason).then_some(said)
    })
    .await;
    assert!(sentence.contains(remedy) && !sentence.contains('\n'), "{sentence}");
    assert!(!sentence.contains("canary"), "no password: {sentence}");
    let tried = || hub.log().lines().filter(|line| line.contains("cannot connect") && line.contains(reason)).count();
    let before = tried();
    until_true(LONG, "the hub to try again", async || tried() > before).await;
    assert!(!hub.log().contains("canary"), "no password in the log");
    client.accepted("demo.echo", &json!({})).await;
    assert!(hub.process().poll().is_none(), "{}", hub.process().tail());
}

#[tokio::test]
async fn a_job_runs_over_tls_with_a_client_certificate() {
    let stage = Stage::set().await;
    let hub = HubProcess::start(&stage.options("localhost", &stage.authority, Some(stage.authority.client("hub")))).await;
    works(&hub).await;
    // The API hears of connections a few seconds late.
    until_true(LONG, "all of the hub's connections to be shown as encrypted", async || {
        let connections = stage.broker.management().get("/api/connections").await;
        let of_hub = connections.as_array().unwrap().iter().filter(|connection| connection["vhost"] == stage.vhost.name());
        let encrypted: Vec<bool> = of_hub.map(|connection| connection["ssl"] == json!(true)).collect();
        encrypted.len() >= 3 && encrypted.iter().all(|ssl| *ssl)
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_named_and_the_hub_goes_on_trying() {
    let stage = Stage::set().await;
    let client = || Some(stage.authority.client("hub"));

    let stranger = Authority::new("another authority");
    let mut hub = HubProcess::start(&stage.options("localhost", &stranger, client())).await;
    says(&mut hub, "UnknownIssuer", "check the CA").await;
    drop(hub);

    let mut hub = HubProcess::start(&stage.options("127.0.0.1", &stage.authority, client())).await;
    says(&mut hub, "not valid for name", "host name").await;
    drop(hub);

    let mut hub = HubProcess::start(&stage.options("localhost", &stage.authority, None)).await;
    says(&mut hub, "CertificateRequired", "check the client certificate").await;
    drop(hub);

    let mut hub = HubProcess::start(&stage.options("localhost", &stage.authority, Some(stranger.client("hub")))).await;
    says(&mut hub, "UnknownCA", "check the client certificate").await;
    drop(hub);

    // Put right on the broker's side while the hub runs: it notices by itself.
    stage.broker.change_certificates(&stage.authority.listener(stage.authority.expired("localhost"))).await;
    let mut hub = HubProcess::start(&stage.options("localhost", &stage.authority, client())).await;
    says(&mut hub, "expired", "dates").await;
    stage.broker.change_certificates(&stage.authority.listener(stage.authority.server("localhost"))).await;
    works(&hub).await;
}
