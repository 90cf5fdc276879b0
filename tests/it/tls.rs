//! `amqps` with a private authority and a client certificate, and what is said when one of them is wrong.

pub mod certificates;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use warren_tests::broker::{Broker, BrokerOptions, Vhost};
use warren_tests::hub::{HubOptions, HubProcess};
use warren_tests::postgres::Postgres;
use warren_tests::process::{Process, binary};
use warren_tests::wait::{until, until_true};

use self::certificates::{Authority, Signed};
use crate::doctor::Patient;
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

impl Stage {
    /// What a hub with these options would have looked at.
    fn patient(&self, options: &HubOptions) -> Patient {
        let patient = Patient::new(&options.broker_url, "http://unused");
        options.env.iter().fold(patient, |patient, (name, value)| patient.with(name, value))
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

/// The users of hosted brokers are given URLs like this one: a password of any characters, the virtual host in the path.
#[tokio::test]
async fn a_url_with_an_encoded_password_and_a_virtual_host_works_as_it_is_given() {
    let stage = Stage::set().await;
    let management = stage.broker.management();
    let user = json!({"password": "p@ss/wörd:%41?#", "tags": "monitoring"});
    management.call("PUT", &format!("/api/users/{}", stage.vhost.user()), Some(user)).await;
    let mut options = stage.options("localhost", &stage.authority, Some(stage.authority.client("hub")));
    let (before, after) = (options.broker_url.find(':').unwrap(), options.broker_url.rfind('@').unwrap());
    let scheme_and_user = &options.broker_url[..options.broker_url[before + 1..].find(':').unwrap() + before + 1];
    options.broker_url = format!("{scheme_and_user}:p%40ss%2Fw%C3%B6rd%3A%2541%3F%23{}", &options.broker_url[after..]);
    let hub = HubProcess::start(&options).await;
    works(&hub).await;
    // And the same user and password at the management API.
    let at = format!("https://localhost:{}", stage.broker.management_tls_port());
    let said = stage.patient(&options).with("WARREN__BROKER__MANAGEMENT_URL", &at).seen().await;
    said.has_not(&["broker-away", "management-away", "certificate-ends", "certificate-ended", "certificate-unread"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
}

#[tokio::test]
async fn the_doctor_tells_of_certificates_of_both_doors_before_and_after_they_end() {
    let stage = Stage::set().await;
    let client = || Some(stage.authority.client("hub"));
    let at = |host: &str| format!("https://{host}:{}", stage.broker.management_tls_port());
    let (user, password) = stage.broker.management().credentials();
    let of = |options: &HubOptions, host: &str| {
        let url = at(host).replacen("https://", &format!("https://{user}:{password}@"), 1);
        stage.patient(options).with("WARREN__BROKER__MANAGEMENT_URL", &url)
    };
    let good = stage.options("localhost", &stage.authority, client());
    let soon = stage.authority.ending("localhost", 20);
    stage.broker.change_certificates(&stage.authority.listener(soon)).await;
    let said = of(&good, "localhost").seen().await;
    said.has("certificate-ends", "warning", &["certificate of localhost:", "in 19 days"]);
    said.has_not(&["certificate-ended", "management-away", "broker-away"]);

    let stranger = Authority::new("another authority");
    let said = of(&stage.options("localhost", &stranger, client()), "localhost").seen().await;
    said.has("broker-away", "error", &["UnknownIssuer", "check the CA"]);
    said.has("management-away", "error", &["UnknownIssuer", "check broker.ca_file"]);

    // The files are the same ones.
    let good = stage.options("localhost", &stage.authority, client());
    let said = of(&good, "127.0.0.1").seen().await;
    said.has("management-away", "error", &["not valid for name", "the host name"]);
    said.has_not(&["broker-away"]);

    stage.broker.change_certificates(&stage.authority.listener(stage.authority.expired("localhost"))).await;
    let said = of(&good, "localhost").seen().await;
    said.has("certificate-ended", "error", &["certificate of localhost:", "ended on 2021-01-01", "renew it"]);
    said.has("broker-away", "error", &["expired", "dates"]);
    said.has("management-away", "error", &["expired", "the certificate's dates"]);
    assert_eq!(said.code, Some(1));
}

#[tokio::test]
async fn a_service_works_over_tls_and_says_what_is_wrong_with_a_certificate() {
    let stage = Stage::set().await;
    let options = stage.options("localhost", &stage.authority, Some(stage.authority.client("inventory")));
    let hub = HubProcess::start(&options).await;
    settled(&hub).await;
    let database = Postgres::shared().await.database().await;
    let shop = |url: &str| {
        let mut command = Command::new(binary("shop"));
        command.arg("inventory").env("AMQP_URL", url).env("DATABASE_URL", &database);
        for (name, file) in [("AMQP_CA", "ca.pem"), ("AMQP_CLIENT_CERT", "client.pem"), ("AMQP_CLIENT_KEY", "client.key")] {
            command.env(name, stage.folder.path().join(file));
        }
        Process::start("shop", command)
    };
    let service = shop(&options.broker_url);
    until_true(LONG, "the service to consume", async || stage.vhost.consumers("jobs.inventory.reserve").await == Some(1)).await;
    // Out of stock is an answer of the service.
    let order = json!({"order_id": "o1", "sku": "nothing", "quantity": 1});
    let id = hub.client().accepted("inventory.reserve", &order).await;
    hub.client().wait_state(&id, "dead", LONG).await;
    drop(service);

    let said = async |url: &str, reason: &str, remedy: &str| {
        let service = shop(url);
        let line = until(LONG, &format!("`{reason}` to be said"), async || {
            service.stderr().lines().find(|line| line.contains(reason)).map(str::to_owned)
        })
        .await;
        assert!(line.contains(remedy) && !line.contains("canary"), "{line}");
    };
    said(&options.broker_url.replacen("localhost", "127.0.0.1", 1), "not valid for name", "host name").await;
    stage.broker.change_certificates(&stage.authority.listener(stage.authority.expired("localhost"))).await;
    said(&options.broker_url, "expired", "dates").await;
}
