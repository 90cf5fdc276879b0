//! The deployment without Docker: the same programs, files, environment and order, RabbitMQ and PostgreSQL of the harness in the place of
//! their images, nginx in front.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use warren_tests::broker::{Broker, BrokerOptions};
use warren_tests::free_port;
use warren_tests::postgres::Postgres;
use warren_tests::process::{Process, binary, folder, workspace};
use warren_tests::wait::until_true;

use super::model::{self, Variables, environment, mounts, seconds, texts};
use super::nginx::{Nginx, client_at};
use super::{observe, secrets};
use crate::world::LONG;

/// One process of a service: its environment here, its folder, and itself once it was started.
struct Running {
    environment: Variables,
    folder: TempDir,
    public: u16,
    process: Process,
}

struct Deployment {
    file: Value,
    broker: Broker,
    /// By service, each with all its replicas.
    running: BTreeMap<String, Vec<Running>>,
    nginx: Option<Nginx>,
    prometheus: u16,
}

impl Deployment {
    /// Brings everything up, as `make secrets` and `docker compose up` do.
    async fn up() -> Self {
        let folder = folder("env");
        secrets::copy(folder.path());
        let mut variables = secrets::make(folder.path());
        // The harness's own administrator is called `warren`.
        variables.insert("RABBITMQ_USER".to_owned(), "deployed".to_owned());
        let prometheus = free_port();
        let broker = broker(prometheus, &variables).await;
        let file = model::with(&variables).unwrap();
        let mut all = Self { file: file.clone(), broker, running: BTreeMap::new(), nginx: None, prometheus };
        for name in model::start_order(&file) {
            let service = &file["services"][name];
            match name {
                "rabbitmq" => {}
                "postgres" => databases(&variables).await,
                "topology" => all.topology(service).await,
                "nginx" => {
                    let ports = |name| all.running[name].iter().map(|one: &Running| one.public).collect::<Vec<_>>();
                    all.nginx = Some(Nginx::start(&ports("api"), &ports("devices")).await);
                }
                _ => all.start(name, service).await,
            }
        }
        all
    }

    /// The environment of a service, with the addresses that stand for its names here.
    async fn here(&self, service: &Value) -> (Variables, u16) {
        let (amqp, store) = (self.broker.amqp_addr().to_string(), Postgres::shared().await.addr().to_string());
        let public = free_port();
        let mut variables = environment(service);
        for value in variables.values_mut() {
            *value = value
                .replace("@rabbitmq:5672/", &format!("@{amqp}/"))
                .replace("@postgres:5432/", &format!("@{store}/"))
                .replace("0.0.0.0:8080", &format!("127.0.0.1:{public}"))
                .replace("0.0.0.0:808", "127.0.0.1:808")
                .replace("127.0.0.1:8081", &format!("127.0.0.1:{}", free_port()))
                .replace("127.0.0.1:8082", &format!("127.0.0.1:{}", free_port()))
                .replace("172.31.250.2", "127.0.0.1");
        }
        // The default is the port of the image, on the broker's host.
        if service["build"]["target"] == "warren" {
            let (host, user) = (self.broker.management().url(), &variables["WARREN__BROKER__URL"]["amqp://".len()..]);
            let user = user.split('@').next().unwrap();
            let url = host.replace("http://", &format!("http://{user}@"));
            variables.insert("WARREN__BROKER__MANAGEMENT_URL".to_owned(), url);
        }
        (variables, public)
    }

    fn command(service: &Value, variables: &Variables, folder: &TempDir, arguments: &[&str]) -> Command {
        let target = service["build"]["target"].as_str().unwrap();
        let mut command = Command::new(binary(target));
        command.args(arguments).env_clear().envs(variables).current_dir(folder.path());
        command
    }

    /// The one-shot service, in a folder that is its /etc/warren.
    async fn topology(&self, service: &Value) {
        let (variables, _) = self.here(service).await;
        let folder = etc(service);
        let arguments: Vec<&str> =
            texts(&service["command"]).into_iter().map(|word| word.trim_start_matches("/etc/warren/")).collect();
        let run = || Self::command(service, &variables, &folder, &arguments).output().unwrap();
        // Once more than Docker does: `up` runs it each time.
        for _ in 0..2 {
            let done = run();
            assert!(done.status.success(), "{}", said(&done));
        }
    }

    async fn start(&mut self, name: &str, service: &Value) {
        let replicas = service["deploy"]["replicas"].as_str().map_or(1, |count| count.parse().unwrap());
        let mut started = Vec::new();
        for _ in 0..replicas {
            let (environment, public) = self.here(service).await;
            let folder = etc(service);
            let command = Self::command(service, &environment, &folder, &texts(&service["command"]));
            started.push(Running { environment, public, process: Process::start_in(name, command, folder.path()), folder });
        }
        if service["build"]["target"] == "warren" {
            for one in &started {
                until_true(LONG, &format!("{name} to be healthy"), async || {
                    let asked = Self::command(service, &one.environment, &one.folder, &["health"]).output().unwrap();
                    asked.status.success() && asked.stdout == b"ready\n"
                })
                .await;
            }
        }
        self.running.insert(name.to_owned(), started);
    }

    /// As `docker compose exec`: a command in the place of one process.
    fn exec(&self, name: &str, arguments: &[&str]) -> Output {
        let one = &self.running[name][0];
        let done = Self::command(&self.file["services"][name], &one.environment, &one.folder, arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", said(&done));
        done
    }

    fn url(&self, path: &str) -> String {
        self.nginx.as_ref().unwrap().url(path)
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A folder with what the service finds in /etc/warren.
fn etc(service: &Value) -> TempDir {
    let folder = folder("etc");
    for (here, there) in mounts(service) {
        std::fs::copy(here, folder.path().join(there.strip_prefix("/etc/warren/").unwrap())).unwrap();
    }
    folder
}

/// With the plugins and the settings that are mounted, and the user that the image would make.
async fn broker(prometheus: u16, variables: &Variables) -> Broker {
    let read = |name: &str| std::fs::read_to_string(workspace().join("deploy/rabbitmq").join(name)).unwrap();
    let plugins = read("enabled_plugins");
    let plugins = plugins.trim().trim_start_matches('[').trim_end_matches("].").split(',').map(str::to_owned);
    let config = format!(
        "{}\nprometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {prometheus}\nmqtt.listeners.tcp.1 = 127.0.0.1:{}\n\
         web_mqtt.tcp.ip = 127.0.0.1\nweb_mqtt.tcp.port = {}\nvm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 50MB\n",
        read("rabbitmq.conf"),
        free_port(),
        free_port()
    );
    let plugins = plugins.filter(|plugin| plugin != "rabbitmq_management").collect();
    let broker = Broker::dedicated_with(BrokerOptions { plugins, config, ..BrokerOptions::default() }).await;
    let user = &variables["RABBITMQ_USER"];
    broker.ctl(&["add_user", user, &variables["RABBITMQ_PASSWORD"]]).await;
    broker.ctl(&["set_user_tags", user, "administrator"]).await;
    broker.ctl(&["set_permissions", user, ".*", ".*", ".*"]).await;
    broker
}

/// What the image does with an empty volume.
async fn databases(variables: &Variables) {
    let script = workspace().join("deploy/postgres/10-databases.sh");
    let mut command = Postgres::shared().await.client(script.to_str().unwrap());
    command.env("POSTGRES_USER", "warren");
    for name in ["HUB_DB_PASSWORD", "INVENTORY_DB_PASSWORD"] {
        command.env(name, &variables[name]);
    }
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
}

/// Orders through nginx, each again with the same key until it is accepted.
async fn order(client: &Client, url: &str, token: &str, id: &str) -> (String, u32) {
    let tries = std::cell::Cell::new(0);
    let found = std::cell::RefCell::new(String::new());
    until_true(LONG, "an order to be accepted", async || {
        tries.set(tries.get() + 1);
        let body = json!({"order_id": id, "sku": "tea", "quantity": 1});
        let request = client.post(url).bearer_auth(token).header("idempotency-key", id).json(&body);
        let Ok(answer) = request.send().await else { return false };
        if answer.status() != StatusCode::ACCEPTED {
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{id}");
            return false;
        }
        let Ok(job) = answer.json::<Value>().await else { return false };
        *found.borrow_mut() = job["id"].as_str().unwrap().to_owned();
        true
    })
    .await;
    (found.into_inner(), tries.get())
}

async fn read(client: &Client, url: &str, token: &str) -> Value {
    let answer = client.get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{url}");
    answer.json().await.unwrap()
}

#[tokio::test]
async fn the_deployment_does_its_main_job_through_nginx() {
    let mut all = Deployment::up().await;
    all.exec("shop", &["stock", "set", "tea", "1000"]);
    let mint = ["token", "mint", "--tenant", "acme", "--subject", "me", "--scope", "jobs:submit jobs:read jobs:cancel"];
    let token = String::from_utf8(all.exec("api", &mint).stdout).unwrap().trim().to_owned();
    let client = Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
    let orders = all.url("/v1/orders");

    // POST goes through the hub to the shop, GET shows what became of it.
    let (job, _) = order(&client, &orders, &token, "first").await;
    until_true(LONG, "the order to be done", async || {
        read(&client, &all.url(&format!("/v1/jobs/{job}")), &token).await["state"] == "succeeded"
    })
    .await;
    let listed = read(&client, &format!("{orders}?limit=5"), &token).await;
    assert_eq!((&listed["items"][0]["id"], &listed["items"][0]["kind"]), (&json!(job), &json!("inventory.reserve")), "{listed}");
    streams(&all, &client, &token).await;
    a_device(&all, &client).await;
    strangers(&all).await;
    broker_metrics(&all).await;
    document(&all).await;

    all.exec("shop", &["stock", "set", "tea", "1000"]);
    // One of two dies while orders come: the other goes on, and what was under way comes again under its key.
    let (client, token, orders) = (&client, token.as_str(), orders.as_str());
    let load = stream::iter(0..200).map(|number| async move { order(client, orders, token, &format!("load-{number}")).await });
    let mut load = load.buffer_unordered(8);
    let mut jobs = BTreeSet::new();
    let mut again = 0;
    while let Some((job, tries)) = load.next().await {
        jobs.insert(job);
        again += tries - 1;
        if jobs.len() == 50 {
            all.running.get_mut("api").unwrap()[0].process.kill9();
        }
    }
    assert_eq!(jobs.len(), 200, "each key made one job");
    // Those that were under way when it died, and no more: nginx asks the other one for the rest.
    assert!(again < 50, "{again} requests were answered with an error");
    let jobs = &jobs;
    let urls = |job: &String| all.url(&format!("/v1/jobs/{job}"));
    until_true(LONG, "every order to be done", async || {
        stream::iter(jobs).all(async |job| read(client, &urls(job), token).await["state"] == "succeeded").await
    })
    .await;
    let stock: Value = serde_json::from_slice(&all.exec("shop", &["stock", "list", "--json"]).stdout).unwrap();
    assert_eq!((&stock[0]["available"], &stock[0]["reserved"]), (&json!(800), &json!(203)), "each order was reserved once");
    let upstreams: BTreeSet<String> =
        all.nginx.as_ref().unwrap().log().iter().map(|entry| entry["upstream"].to_string()).collect();
    for api in &all.running["api"] {
        assert!(
            upstreams.iter().any(|upstream| upstream.contains(&format!(":{}", api.public))),
            "both were asked: {upstreams:?}"
        );
    }

    // `docker compose stop`, within the time it gives.
    all.nginx.take().unwrap().process.terminate(seconds(&all.file["services"]["nginx"]["stop_grace_period"])).await;
    for (name, running) in &mut all.running {
        for one in running {
            if one.process.was_killed() {
                continue;
            }
            let status = one.process.terminate(seconds(&all.file["services"][name]["stop_grace_period"])).await;
            assert!(status.success(), "{name}: {status}");
        }
    }
}

/// The changes of a job come while its stream goes on, not when it ends.
async fn streams(all: &Deployment, client: &Client, token: &str) {
    let body = json!({"order_id": "later", "sku": "tea", "quantity": 1});
    let later =
        client.post(all.url("/v1/orders")).bearer_auth(token).header("warren-delay", "1h").json(&body).send().await.unwrap();
    let job = later.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let mut stream = client.get(all.url(&format!("/v1/jobs/{job}/events"))).bearer_auth(token).send().await.unwrap();
    assert_eq!((stream.status(), &stream.headers()["content-type"]), (StatusCode::OK, &"text/event-stream".parse().unwrap()));
    let first = tokio::time::timeout(LONG, stream.chunk()).await.expect("the first event comes while the job waits for its hour");
    let mut told = String::from_utf8(first.unwrap().expect("an event").to_vec()).unwrap();
    assert!(told.contains("scheduled"), "{told}");
    let cancelled = client.post(all.url(&format!("/v1/jobs/{job}/cancel"))).bearer_auth(token).send().await.unwrap();
    assert!(cancelled.status().is_success(), "{}", cancelled.status());
    let rest = async {
        while let Some(part) = stream.chunk().await.unwrap() {
            told.push_str(&String::from_utf8_lossy(&part));
        }
    };
    tokio::time::timeout(LONG, rest).await.expect("the stream ends with the job");
    assert!(told.contains("cancelled"), "{told}");
}

/// It is registered, sent to, and has its message, all by processes that declare nothing.
async fn a_device(all: &Deployment, client: &Client) {
    let mint = ["token", "mint", "--tenant", "acme", "--subject", "app", "--scope", "devices:write messages:send"];
    let owner = String::from_utf8(all.exec("api", &mint).stdout).unwrap().trim().to_owned();
    let put = client.put(all.url("/v1/devices/phone-1")).bearer_auth(&owner).json(&json!({"user": "olga"}));
    let registered = put.send().await.unwrap();
    assert_eq!(registered.status(), StatusCode::CREATED);
    let token = registered.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    let sent = client.post(all.url("/v1/users/olga/messages")).bearer_auth(&owner).json(&json!("hello")).send().await.unwrap();
    assert_eq!(sent.status(), StatusCode::ACCEPTED);
    let got = read(client, &all.url("/v1/device/messages?wait=5"), &token).await;
    assert_eq!(got["messages"][0]["data"], "hello", "{got}");
}

/// A stranger with bad tokens is turned away under his own address, whatever he says it is; nobody else is.
async fn strangers(all: &Deployment) {
    let guess = async |client: &Client, number: u32| {
        let request = client.get(all.url("/v1/kinds")).bearer_auth("bad").header("x-forwarded-for", format!("10.0.0.{number}"));
        request.send().await.unwrap().status()
    };
    let (stranger, other) = (client_at(2), client_at(3));
    let mut answers = Vec::new();
    // Each process counts for itself.
    for number in 1..=60 {
        answers.push(guess(&stranger, number).await);
    }
    assert_eq!(answers[0], StatusCode::UNAUTHORIZED);
    assert!(answers.contains(&StatusCode::TOO_MANY_REQUESTS), "{answers:?}");
    assert_eq!(guess(&other, 1).await, StatusCode::UNAUTHORIZED);
}

/// What rules and dashboards name of RabbitMQ's metrics is what it has.
async fn broker_metrics(all: &Deployment) {
    let mut there = String::new();
    for path in ["/metrics", "/metrics/detailed?family=queue_coarse_metrics&family=queue_consumer_count"] {
        let url = format!("http://127.0.0.1:{}{path}", all.prometheus);
        there.push_str(&reqwest::get(url).await.unwrap().text().await.unwrap());
    }
    let names: BTreeSet<&str> = there.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for name in observe::metrics("rabbitmq_") {
        assert!(names.contains(name.as_str()), "RabbitMQ has no {name}: {names:?}");
    }
}

/// The main job as docs/deploy.md has it typed, with `docker compose exec` in the places of the containers that are here.
async fn document(all: &Deployment) {
    let document = std::fs::read_to_string(workspace().join("docs/deploy.md")).unwrap();
    let section = document.split_once("\n## The main job\n").expect("docs/deploy.md tells of the main job").1;
    let block = section.split_once("```sh\n").unwrap().1.split_once("```").unwrap().0;
    let block = block.replace("http://127.0.0.1:8080", &all.url(""));
    let folder = folder("typed");
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let mut docker = "#!/bin/sh\n[ \"$1 $2 $3\" = 'compose exec -T' ] || exit 64\nprogram=$5\ncase $4 in\n".to_owned();
    for (name, running) in &all.running {
        let environment = running[0].environment.iter().map(|(name, value)| format!("export {name}={}", quoted(value)));
        let environment: Vec<String> = environment.collect();
        let place = quoted(running[0].folder.path().to_str().unwrap());
        docker.push_str(&format!("{name})\ncd {place}\n{}\n;;\n", environment.join("\n")));
    }
    let programs = binary("warren");
    docker.push_str(&format!("*) exit 65 ;;\nesac\nshift 5\nexec {}/$program \"$@\"\n", programs.parent().unwrap().display()));
    let path = folder.path().join("docker");
    std::fs::write(&path, docker).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &block]).current_dir(folder.path()).env_clear();
    command.env("PATH", format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap()));
    let mut shell = Process::start("bash", command);
    let status = shell.wait(LONG).await;
    assert!(status.success(), "{}", shell.tail());
    let stock = shell.stdout();
    let tea = stock.lines().rev().find(|line| line.starts_with("tea ")).expect("the stock is shown last");
    assert_eq!(tea.split_whitespace().collect::<Vec<_>>(), ["tea", "98", "3"], "{stock}");
}
