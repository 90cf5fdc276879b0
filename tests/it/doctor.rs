//! `warren doctor` on real brokers: what is wrong is found with its remedy, and no longer once it is mended.

use std::process::Command;

use messaging::connection::BrokerOptions;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use warren_tests::broker::{self, Broker, Vhost};
use warren_tests::free_port;
use warren_tests::postgres::Postgres;
use warren_tests::process::{Process, binary};
use warren_tests::wait::until;

use crate::declared::OWN;
use crate::world::{KINDS, LONG};

/// A folder with a configuration, and what the doctor says of it.
pub(crate) struct Patient {
    folder: tempfile::TempDir,
    env: Vec<(String, String)>,
}

pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) err: String,
    findings: Vec<Value>,
    out: String,
}

impl Said {
    /// The finding of this code, as severity, object, found and remedy.
    pub(crate) fn finding(&self, code: &str) -> Option<[&str; 4]> {
        let finding = self.findings.iter().find(|finding| finding["code"] == code)?;
        Some(["severity", "object", "found", "remedy"].map(|field| finding[field].as_str().unwrap()))
    }

    #[track_caller]
    pub(crate) fn has(&self, code: &str, severity: &str, says: &[&str]) {
        let found = self.finding(code).unwrap_or_else(|| panic!("no {code}: {}", self.out));
        assert_eq!(found[0], severity, "{found:?}");
        let text = found.join(" ");
        for word in says {
            assert!(text.contains(word), "`{word}` is not in {found:?}");
        }
        assert!(!text.contains("canary"), "no password: {text}");
    }

    #[track_caller]
    pub(crate) fn has_not(&self, codes: &[&str]) {
        for code in codes {
            assert_eq!(self.finding(code), None);
        }
    }
}

impl Patient {
    pub(crate) fn new(broker_url: &str, management_url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("warren.toml"), KINDS).unwrap();
        let patient = Self { folder, env: Vec::new() };
        patient.with("WARREN__BROKER__URL", broker_url).with("WARREN__BROKER__MANAGEMENT_URL", management_url)
    }

    /// With the harness's administrator at the management API.
    pub(crate) fn of(broker: &Broker, vhost: &Vhost) -> Self {
        let (user, password) = broker.management().credentials();
        let management = broker.management().url().replacen("http://", &format!("http://{user}:{password}@"), 1);
        Self::new(&vhost.url(), &management)
    }

    /// With this configuration instead.
    fn declaring(self, own: &str) -> Self {
        std::fs::write(self.folder.path().join("warren.toml"), own).unwrap();
        self
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    async fn warren(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(binary("warren"));
        command.args(arguments).env_clear().current_dir(self.folder.path()).envs(self.env.iter().cloned());
        let mut process = Process::start("warren", command);
        let code = process.wait(LONG).await.code();
        (code, process.stdout(), process.stderr())
    }

    pub(crate) async fn seen(&self) -> Said {
        let (code, out, err) = self.warren(&["doctor", "--json"]).await;
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
        Said { code, err, findings: report["findings"].as_array().unwrap().clone(), out }
    }

    /// Once it is as asked: what the API tells of policies and counters lags by seconds.
    async fn once(&self, what: &str, is: impl Fn(&Said) -> bool) -> Said {
        until(LONG, what, async || Some(self.seen().await).filter(|said| is(said))).await
    }
}

fn segment(vhost: &Vhost) -> String {
    vhost.name().replace('/', "%2F")
}

#[tokio::test]
async fn a_healthy_broker_is_without_errors_and_an_operator_policy_is_found_until_it_is_gone() {
    let broker = Broker::shared().await;
    let vhost = broker.vhost().await;
    let patient = Patient::of(broker, &vhost);
    let said = patient.seen().await;
    said.has("queue-missing", "error", &["16 of 16 queues", "not there: `jobs.demo.echo`", "warren topology apply"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    let (code, _, err) = patient.warren(&["topology", "apply"]).await;
    assert_eq!(code, Some(0), "{err}");
    // A node that has just started has not told its figures yet.
    let said = patient.once("no error, and all figures", |said| said.code == Some(0) && said.finding("unseen").is_none()).await;
    said.has_not(&["broker-away", "management-away", "unseen-admin", "queue-missing", "clock-skew", "plain-network"]);
    said.has("cluster-single", "info", &["rabbitmqctl join_cluster"]);
    said.has("plugin-prometheus", "info", &["rabbitmq-plugins enable rabbitmq_prometheus"]);
    said.has("store-new", "info", &["warren.db"]);
    said.has("consumer-timeout-unseen", "info", &["30 min", "rabbitmqctl eval"]);
    assert!(said.err.contains("0 errors"), "{}", said.err);
    let (code, out, err) = patient.warren(&["doctor", "--strict", "--severity", "warning"]).await;
    assert_eq!(code, Some(1), "a disk limit of 50 MB is a warning: {err}");
    assert!(out.contains("warning  disk-limit  node `") && !out.contains("\ninfo"), "{out}");

    let path = format!("/api/operator-policies/{}/cap", segment(&vhost));
    let policy = json!({"pattern": r"^jobs\.demo\.echo$", "apply-to": "queues", "definition": {"max-length": 500}});
    broker.management().call("PUT", &path, Some(policy)).await;
    let said = patient.once("the policy to be found", |said| said.finding("policy-length").is_some()).await;
    assert_eq!(said.code, Some(1));
    let remedy = format!("rabbitmqctl clear_operator_policy -p {} cap", vhost.name());
    said.has("policy-length", "error", &["operator policy `cap`", "max-length to 500", "`jobs.demo.echo`", &remedy]);
    broker.management().call("DELETE", &path, None).await;
    patient.once("the policy to be gone", |said| said.code == Some(0) && said.finding("policy-length").is_none()).await;
}

#[tokio::test]
async fn what_devices_stand_on_is_found_until_it_is_mended() {
    let broker = Broker::shared().await;
    let vhost = broker.vhost().await;
    let patient = Patient::of(broker, &vhost).with("WARREN__DEVICES__ENABLED", "true");
    vhost.declare_queue("device.standard.1", json!({"x-queue-type": "classic"})).await;
    let said = patient.seen().await;
    said.has("device-policy-missing", "error", &["queues device.standard.*", "nothing bounds them", "warren topology apply"]);
    let queues = ["1 of 1 queues of devices", "without a single active consumer", "`device.standard.1`"];
    said.has("device-queues", "error", &queues);
    let (code, _, err) = patient.warren(&["topology", "apply"]).await;
    assert_eq!(code, Some(0), "{err}");
    vhost.delete_queue("device.standard.1").await;
    vhost.declare_queue("device.standard.1", json!({"x-queue-type": "classic", "x-single-active-consumer": true})).await;
    let said = patient.once("no error", |said| said.code == Some(0)).await;
    said.has_not(&["device-policy-missing", "device-policy-wrong", "device-queues", "queue-missing", "unseen"]);
}

/// A stream, classic queues, and a policy that limits one of them.
#[tokio::test]
async fn what_a_team_declares_of_its_own_is_no_fault() {
    let broker = Broker::shared().await;
    let vhost = broker.vhost().await;
    let patient = Patient::of(broker, &vhost).declaring(OWN);
    let (code, _, err) = patient.warren(&["topology", "apply"]).await;
    assert_eq!(code, Some(0), "{err}");
    for queue in ["orders.eu", "orders.log", "mail.ends"] {
        assert!(vhost.publish("", queue, json!({"delivery_mode": 2}), b"x").await, "{queue}");
    }
    until(LONG, "the policy to hold", async || (vhost.queue("orders.eu").await["policy"] == "eu-length").then_some(())).await;
    let waits = |said: &Said| said.finding("queue-unattended").is_some();
    let said = patient.once("what waits to be seen", waits).await;
    said.has("queue-unattended", "warning", &["queue `mail.ends`", "start the program of `mail`"]);
    said.has_not(&["queue-missing", "queue-type", "policy-length", "queue-leaderless", "queue-minority"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
}

/// As `guest` is, who may not enter the virtual host of the hub.
#[tokio::test]
async fn a_password_is_right_although_the_virtual_host_is_refused() {
    let broker = Broker::shared().await;
    let (vhost, other) = (broker.vhost().await, broker.vhost().await);
    let knows = async |url: &str| BrokerOptions::new(url, "test").knows(url, "test").await;
    assert_eq!(knows(&vhost.url()).await, Some(true));
    let foreign = format!("{}@{}", vhost.url().rsplit_once('@').unwrap().0, other.url().rsplit_once('@').unwrap().1);
    assert!(BrokerOptions::new(&foreign, "test").try_out(&foreign, "test").await.is_err(), "it has no permission there");
    assert_eq!(knows(&foreign).await, Some(true));
    let (before, host) = foreign.rsplit_once('@').unwrap();
    let wrong = format!("{}:wrong@{host}", before.rsplit_once(':').unwrap().0);
    assert_eq!(knows(&wrong).await, Some(false));
    assert_eq!(knows(&format!("amqp://127.0.0.1:{}", free_port())).await, None, "nobody was asked");
}

#[tokio::test]
async fn alarms_and_guest_are_found_and_a_plugin_that_is_there_is_not_missed() {
    let config = format!("prometheus.tcp.port = {}\nprometheus.tcp.ip = 127.0.0.1", free_port());
    let plugins = vec!["rabbitmq_prometheus".to_owned()];
    let broker = Broker::dedicated_with(broker::BrokerOptions { plugins, config, ..broker::BrokerOptions::default() }).await;
    let vhost = broker.vhost().await;
    let patient = Patient::of(&broker, &vhost);
    let said = patient.once("all figures", |said| said.finding("unseen").is_none()).await;
    said.has_not(&["alarm-memory", "guest-password", "guest-open", "plugin-prometheus"]);
    let guest = json!({"password": "guest", "tags": "administrator"});
    broker.management().call("PUT", "/api/users/guest", Some(guest)).await;
    broker.raise_memory_alarm().await;
    let said = patient.once("the alarm to be found", |said| said.finding("alarm-memory").is_some()).await;
    said.has("alarm-memory", "error", &["memory alarm", "vm_memory_high_watermark"]);
    said.has("guest-password", "warning", &["rabbitmqctl delete_user guest"]);
    broker.clear_memory_alarm().await;
    let guest = json!({"password": "something else", "tags": "administrator"});
    broker.management().call("PUT", "/api/users/guest", Some(guest)).await;
    let gone = |said: &Said| said.finding("alarm-memory").is_none() && said.finding("guest-password").is_none();
    patient.once("both to be gone", gone).await;
}

#[tokio::test]
async fn without_the_management_api_the_rest_is_looked_at_and_what_was_not_seen_is_said() {
    let broker = Broker::shared().await;
    let vhost = broker.vhost().await;
    let patient = Patient::new(&vhost.url(), &format!("http://127.0.0.1:{}", free_port()));
    let (code, _, err) = patient.warren(&["topology", "apply"]).await;
    assert_eq!(code, Some(0), "{err}");
    let properties = json!({"message_id": "m", "delivery_mode": 2});
    assert!(vhost.publish("warren.lost", "", properties, b"{}").await);
    let said = patient.seen().await;
    assert_eq!(said.code, Some(1));
    said.has("management-away", "error", &["refused", "rabbitmq-plugins enable rabbitmq_management", "alarms"]);
    said.has("lost-messages", "warning", &["1 messages", "warren dead list"]);
    said.has_not(&["broker-away", "queue-missing", "unseen"]);
    let version = broker.version().await;
    if ["3.", "4.0", "4.1"].iter().any(|ended| version.starts_with(ended)) {
        said.has("version-ended", "warning", &[&format!("RabbitMQ {version}"), "upgrade"]);
    }
    let glance = BrokerOptions::new(vhost.url(), "test").glance(&vhost.url()).await;
    let greeting = glance.greeting.unwrap().unwrap();
    assert_eq!((greeting.product.as_str(), greeting.version), ("RabbitMQ", version));
    assert!(greeting.platform.starts_with("Erlang/OTP "), "{}", greeting.platform);

    // A user without a tag is not let in; one with the least sees a part.
    let url = broker.management().url();
    let path = format!("/api/users/{}", vhost.user());
    let password = vhost.url().split('@').next().unwrap().rsplit(':').next().unwrap().to_owned();
    let tagged = async |tags: &str| {
        broker.management().call("PUT", &path, Some(json!({"password": password, "tags": tags}))).await;
    };
    tagged("").await;
    let said = Patient::new(&vhost.url(), url).seen().await;
    said.has("management-away", "error", &["does not let the user", vhost.user(), "rabbitmqctl set_user_tags"]);
    tagged("management").await;
    let said = Patient::new(&vhost.url(), url).seen().await;
    said.has("unseen", "warning", &["nodes", "monitoring"]);
    said.has("unseen-admin", "info", &["users", "administrator"]);
    tagged("monitoring").await;
    let said = Patient::new(&vhost.url(), url).once("all that it may see", |said| said.finding("unseen").is_none()).await;
    said.has_not(&["management-away"]);

    let nobody = format!("amqp://127.0.0.1:{}", free_port());
    let said = Patient::new(&nobody, url).seen().await;
    assert_eq!(said.code, Some(1));
    said.has("broker-away", "error", &["refused", "broker.url"]);
    let (code, _, err) = Patient::new("http://x", url).warren(&["doctor"]).await;
    assert_eq!(code, Some(2), "{err}");
}

#[tokio::test]
async fn a_store_that_may_lose_what_it_has_is_found() {
    let (broker, postgres) = (Broker::shared().await, Postgres::dedicated().await);
    let vhost = broker.vhost().await;
    let url = postgres.database().await;
    let patient = Patient::of(broker, &vhost).with("WARREN__STORE__URL", &url);
    let said = patient.seen().await;
    said.has("store-schema", "error", &["lacks step 1", "warren migrate"]);
    said.has_not(&["store-unsafe", "store-commit"]);
    let (code, _, err) = patient.warren(&["migrate"]).await;
    assert_eq!(code, Some(0), "{err}");
    let database = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection.execute("ALTER SYSTEM SET full_page_writes = off").await.unwrap();
    connection.execute("SELECT pg_reload_conf()").await.unwrap();
    let off = format!("ALTER DATABASE \"{database}\" SET synchronous_commit = off");
    connection.execute(AssertSqlSafe(off)).await.unwrap();
    let said = patient.once("the setting to be found", |said| said.finding("store-unsafe").is_some()).await;
    said.has("store-unsafe", "error", &["full_page_writes is off", "full_page_writes = on in postgresql.conf"]);
    said.has("store-commit", "warning", &["synchronous_commit"]);
    said.has_not(&["store-schema", "store-away"]);
    postgres.kill9().await;
    let said = patient.seen().await;
    said.has("store-away", "error", &["start the database"]);
}
