//! A broker that asks a hub, the hub, and clients of the broker.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::broker::{Broker, BrokerOptions};
use warren_tests::hub::{HubClient, HubOptions, HubProcess};
use warren_tests::ports::free_port;
use warren_tests::postgres::Postgres;
use warren_tests::process::workspace;
use warren_tests::wait::until;

use super::super::fleet::{OWNER, options};
use crate::workers::examples::tool;
use crate::world::{Keep, LONG, World, settled};

/// How long a client may take for one step.
const STEP: Duration = Duration::from_secs(30);

pub(super) struct Ground {
    pub(super) broker: Broker,
    pub(super) world: World,
    pub(super) hub: HubProcess,
    pub(super) owner: HubClient,
    pub(super) mqtt_port: u16,
    /// Whether RabbitMQ shows how much is in whose queue.
    pub(super) is_old: bool,
    has_mqtt_5: bool,
}

impl Ground {
    /// A broker that is too old is trusted.
    pub(super) async fn lay() -> Self {
        Self::lay_on(true, None).await
    }

    /// `trusted`: whatever the broker shows; `cached`: for how long it keeps each answer.
    pub(super) async fn lay_on(trusted: bool, cached: Option<Duration>) -> Self {
        let mqtt_port = free_port();
        let mut plugins = ["rabbitmq_mqtt", "rabbitmq_auth_backend_http"].map(str::to_owned).to_vec();
        let mut config = format!(
            "auth_backends.1 = internal\nauth_http.http_method = post\n\
             mqtt.allow_anonymous = false\nmqtt.listeners.tcp.1 = 127.0.0.1:{mqtt_port}\n"
        );
        config += &match cached {
            None => "auth_backends.2 = http\n".to_owned(),
            Some(ttl) => {
                plugins.push("rabbitmq_auth_backend_cache".to_owned());
                let ttl = ttl.as_millis();
                format!("auth_backends.2 = cache\nauth_cache.cached_backend = http\nauth_cache.cache_ttl = {ttl}\n")
            }
        };
        let broker = Broker::dedicated_with(BrokerOptions { plugins, config, ..BrokerOptions::default() }).await;
        let version = broker.version().await;
        let is_old = version.starts_with("3.") || version.starts_with("4.0.");
        let world = World::on(&broker, Postgres::shared().await, Keep::Sqlite).await;
        // Beside what a hub with all roles needs that declares its topology, it is the write to `amq.topic` that MQTT takes.
        let own = r"^(warren|jobs|device)\.";
        world.vhost.set_permissions(own, r"^((warren|jobs|device)\.|amq\.topic$)", own).await;
        let more = format!(
            "broker_auth = true\ntrusted_network = {}\n[log]\nlevel = \"info,mobile_delivery::broker_auth=debug\"",
            trusted && is_old
        );
        // Nobody but an administrator closes connections of others.
        let (user, password) = broker.management().credentials();
        let management = broker.management().url().replace("://", &format!("://{user}:{password}@"));
        let env = vec![("WARREN__BROKER__MANAGEMENT_URL".to_owned(), management)];
        let hub = HubProcess::start(&HubOptions { env, ..options(&world, &more) }).await;
        settled(&hub).await;
        let ground = Self {
            owner: hub.client_as("acme", "app", OWNER),
            broker,
            world,
            hub,
            mqtt_port,
            is_old,
            has_mqtt_5: !version.starts_with("3."),
        };
        ground.point().await;
        ground
    }

    /// Tells the broker whom to ask, which it knows only now; again after each of its starts.
    pub(super) async fn point(&self) {
        let url = self.hub.internal_url();
        let paths = ["user", "vhost", "resource", "topic"];
        let sets =
            paths.map(|path| format!("application:set_env(rabbitmq_auth_backend_http, {path}_path, \"{url}/auth/{path}\")"));
        let vhost = self.world.vhost.name();
        let vhost = format!(
            "application:set_env(rabbitmq_mqtt, vhost, <<\"{vhost}\">>), persistent_term:put({{rabbit_mqtt, vhost}}, <<\"{vhost}\">>)"
        );
        self.broker.ctl(&["eval", &format!("{}, {vhost}.", sets.join(", "))]).await;
    }

    /// What the broker asked, for whoever looks into a failure.
    pub(super) fn asked(&self) -> String {
        let log = self.hub.log();
        log.lines().filter(|line| line.contains("broker_auth")).collect::<Vec<_>>().join("\n")
    }

    pub(super) async fn register(&self, id: &str, via: &str) -> Value {
        let request = self.owner.request(Method::PUT, &format!("/v1/devices/{id}"));
        let answer = self.owner.send(request.json(&json!({"user": "olga", "via": via}))).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body
    }

    /// Sends message `number`; its id.
    pub(super) async fn send(&self, id: &str, number: usize) -> String {
        let request = self.owner.request(Method::POST, &format!("/v1/devices/{id}/messages"));
        let answer = self.owner.send(request.header("warren-receipt", "true").json(&json!(number))).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// What became of a message for its one device.
    pub(super) async fn fate(&self, id: &str) -> Value {
        self.owner.get(&format!("/v1/messages/{id}")).await.unwrap().body["devices"][0].clone()
    }

    pub(super) async fn handed(&self, id: &str) -> Value {
        until(LONG, "a message to be with the broker", async || {
            let fate = self.fate(id).await;
            (fate["state"] == "delivered").then_some(fate)
        })
        .await
    }

    /// How often the broker was answered so.
    pub(super) async fn answered(&self, ask: &str, answer: &str) -> u64 {
        let text = reqwest::get(format!("{}/metrics", self.hub.internal_url())).await.unwrap().text().await.unwrap();
        let name = format!("warren_broker_auth_total{{answer=\"{answer}\",ask=\"{ask}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
    }

    /// The versions of MQTT that it speaks.
    pub(super) fn mqtt_versions(&self) -> &'static [&'static str] {
        if self.has_mqtt_5 { &["3", "5"] } else { &["3"] }
    }

    pub(super) fn amqp(&self, user: &str, token: &str) -> Client {
        let port = self.broker.amqp_addr().port().to_string();
        Client::start(&["amqp", &port, self.world.vhost.name(), user], token, &[])
    }

    pub(super) fn mqtt(&self, user: &str, client: &str, token: &str, env: &[(&str, &str)]) -> Client {
        Client::start(&["mqtt", &self.mqtt_port.to_string(), user, client], token, env)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // It writes its log in its own time.
            std::thread::sleep(Duration::from_secs(1));
            let said = self.broker.log();
            let said: Vec<&str> = said.lines().rev().take(30).collect();
            let said: Vec<&str> = said.into_iter().rev().collect();
            eprintln!("--- what the broker asked\n{}\n--- what it said last\n{}", self.asked(), said.join("\n"));
        }
    }
}

/// A client of the broker in Python, told what to do line by line. It ends with whoever holds it.
pub(super) struct Client {
    child: Child,
    steps: Option<ChildStdin>,
    said: Receiver<Value>,
    /// Messages that came while something else was waited for.
    early: VecDeque<Value>,
}

impl Client {
    fn start(arguments: &[&str], token: &str, env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(tool("broker-python/bin/python"));
        command.arg(workspace().join("tests/broker-clients/client.py")).args(arguments);
        command.env_clear().env("WARREN_DEVICE_TOKEN", token).envs(env.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python starts");
        let (steps, out) = (child.stdin.take(), child.stdout.take().expect("piped"));
        let (tell, said) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("a line of JSON");
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, steps, said, early: VecDeque::new() }
    }

    /// The next thing it says.
    fn hear(&self) -> Value {
        tokio::task::block_in_place(|| self.said.recv_timeout(STEP)).expect("the client says something")
    }

    /// The next message.
    pub(super) fn message(&mut self) -> Value {
        self.early.pop_front().unwrap_or_else(|| self.until(|said| said.get("data").is_some()))
    }

    /// Tells it to do something, and what it says of that.
    pub(super) fn does(&mut self, step: Value) -> Value {
        let steps = self.steps.as_mut().expect("it takes steps");
        writeln!(steps, "{step}").expect("the client listens");
        self.until(|said| said["step"] == step[0])
    }

    /// Whether it is connected.
    pub(super) fn connects(&mut self) -> bool {
        let said = self.until(|said| said.get("connected").is_some());
        eprintln!("{said}");
        said["connected"] == true
    }

    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let said = self.hear();
            if wanted(&said) {
                return said;
            }
            if said.get("data").is_some() {
                self.early.push_back(said);
            }
        }
    }

    /// The code by which a step is refused; `None`: it is not.
    pub(super) fn refused(&mut self, step: Value) -> Option<i64> {
        self.does(step)["refused"].as_i64()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.steps.take());
        // What it was told to do may take long, and nobody waits for it any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
