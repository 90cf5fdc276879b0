//! Users with the patterns of `docs/permissions.md`, read from there, and each role at work under its own.

use std::collections::BTreeMap;
use std::process::Command;

use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use reqwest::Url;
use serde_json::json;
use sqlx::PgPool;
use warren_tests::broker::{Broker, Vhost};
use warren_tests::hub::{ALL_SCOPES, HubClient, HubOptions, HubProcess, Until, token};
use warren_tests::postgres::Postgres;
use warren_tests::process::{Process, binary, workspace};
use warren_tests::wait::{until, until_true};

use crate::doctor::Patient;
use crate::world::{LONG, settled};

pub(crate) const KINDS: &str = r#"
[[kind]]
name = "inventory.reserve"
worker = "amqp"

[[kind]]
name = "reports.build"
worker = "amqp"

[[kind]]
name = "demo.echo"

[[kind]]
name = "demo.flaky"
"#;

/// The commands of the page after `mark`.
fn block(mark: &str) -> String {
    let page = std::fs::read_to_string(workspace().join("docs/permissions.md")).unwrap();
    let (_, block) = page.split_once(mark).expect("the page marks its patterns");
    block.split("```").nth(1).unwrap().to_owned()
}

/// `set_permissions` of the page after `mark`: user -> configure, write, read.
fn documented(mark: &str) -> BTreeMap<String, [String; 3]> {
    let block = block(mark);
    let lines = block.lines().filter_map(|line| line.strip_prefix("rabbitmqctl set_permissions -p / "));
    let users = lines.map(|line| {
        let (user, patterns) = line.split_once(' ').unwrap();
        let patterns: Vec<String> = patterns.split('\'').skip(1).step_by(2).map(str::to_owned).collect();
        (user.to_owned(), patterns.try_into().expect("three patterns"))
    });
    users.collect()
}

/// Before what each role needs, and before what it needs beside queues of a team's own.
const MARK: &str = "<!-- permissions -->";
const OWN_MARK: &str = "<!-- own permissions -->";

/// The users of the page on one virtual host.
pub(crate) struct Users<'a> {
    vhost: &'a Vhost,
}

impl<'a> Users<'a> {
    /// With the patterns as they are, or as the page says for a prefix.
    pub(crate) async fn create(vhost: &'a Vhost, prefix: &str) -> Self {
        let users = Self { vhost };
        let management = Broker::shared().await.management();
        let block = block(MARK);
        let tags: BTreeMap<&str, &str> =
            block.lines().filter_map(|line| line.strip_prefix("rabbitmqctl set_user_tags ")?.split_once(' ')).collect();
        for user in documented(MARK).keys() {
            let body = json!({"password": "canary", "tags": tags.get(user.as_str()).unwrap_or(&"")});
            management.call("PUT", &format!("/api/users/{}", users.name(prefix, user)), Some(body)).await;
        }
        users.permit(prefix, MARK).await;
        users
    }

    /// Gives the users the patterns of the page after `mark`.
    async fn permit(&self, prefix: &str, mark: &str) {
        let management = Broker::shared().await.management();
        let begin = format!("^{}", prefix.replace('.', r"\."));
        for (user, patterns) in documented(mark) {
            let [configure, write, read] = patterns.map(|pattern| match pattern.as_str() {
                "^$" => pattern,
                _ => pattern.replacen('^', &begin, 1),
            });
            let path = format!("/api/permissions/{}/{}", self.vhost.name().replace('/', "%2F"), self.name(prefix, &user));
            management.call("PUT", &path, Some(json!({"configure": configure, "write": write, "read": read}))).await;
        }
    }

    /// Users are those of a whole broker, which tests share.
    fn name(&self, prefix: &str, user: &str) -> String {
        format!("{}-{prefix}{user}", self.vhost.user())
    }

    pub(crate) fn url(&self, prefix: &str, user: &str) -> String {
        let mut url = Url::parse(&self.vhost.url()).unwrap();
        url.set_username(&self.name(prefix, user)).unwrap();
        url.set_password(Some("canary")).unwrap();
        url.into()
    }
}

/// `warren topology apply` as this user.
pub(crate) async fn apply(url: &str, env: &[(&str, &str)]) -> (Option<i32>, String) {
    apply_file(KINDS, url, env).await
}

async fn apply_file(toml: &str, url: &str, env: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("warren.toml"), toml).unwrap();
    let mut command = Command::new(binary("warren"));
    command.args(["topology", "apply", "--json"]).env_clear().current_dir(folder.path());
    command.env("AMQP_URL", url).envs(env.iter().copied());
    let mut process = Process::start("warren", command);
    let code = process.wait(LONG).await.code();
    (code, process.stderr())
}

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// What a user tries beyond its role.
#[derive(Debug)]
pub(crate) enum Deed {
    Declare(&'static str),
    DeclareExchange(&'static str),
    Delete(&'static str),
    Get(&'static str),
    Bind(&'static str, &'static str),
    Publish(&'static str, &'static str),
}

impl Deed {
    async fn tried(&self, channel: &Channel) -> Result<(), lapin::Error> {
        let name = |text: &'static str| ShortString::from(text);
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        match *self {
            Self::Declare(queue) => channel.queue_declare(name(queue), durable, FieldTable::default()).await.map(drop),
            Self::DeclareExchange(exchange) => {
                let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
                channel.exchange_declare(name(exchange), ExchangeKind::Direct, options, FieldTable::default()).await
            }
            Self::Delete(queue) => channel.queue_delete(name(queue), Default::default()).await.map(drop),
            Self::Get(queue) => channel.basic_get(name(queue), BasicGetOptions { no_ack: false }).await.map(drop),
            Self::Bind(queue, exchange) => {
                let options = QueueBindOptions::default();
                channel.queue_bind(name(queue), name(exchange), "x".into(), options, FieldTable::default()).await
            }
            Self::Publish(exchange, key) => {
                channel.confirm_select(ConfirmSelectOptions::default()).await?;
                let options = BasicPublishOptions::default();
                let sent = channel.basic_publish(name(exchange), name(key), options, b"{}", BasicProperties::default()).await?;
                sent.await.map(drop)
            }
        }
    }

    pub(crate) async fn is_refused(&self, url: &str) {
        let (_connection, channel) = channel(url).await;
        let error = self.tried(&channel).await.expect_err(&format!("{self:?} was let through"));
        assert!(error.to_string().contains("ACCESS_REFUSED"), "{self:?}: {error}");
    }

    pub(crate) async fn is_allowed(&self, url: &str) {
        let (_connection, channel) = channel(url).await;
        self.tried(&channel).await.unwrap_or_else(|error| panic!("{self:?}: {error}"));
    }
}

/// The hub split by roles, a service and a worker of another language, each as its own user that may do no more than the page says.
#[tokio::test]
async fn every_role_works_as_a_user_that_may_do_no_more_than_the_page_says() {
    let vhost = Broker::shared().await.vhost().await;
    let users = Users::create(&vhost, "").await;
    let url = |user: &str| users.url("", user);
    let store_url = Postgres::shared().await.database().await;

    // Who may not configure says so instead of declaring, and goes on once somebody else has declared it.
    let options = |role: &str, until| HubOptions {
        broker_url: url(&format!("warren-{role}")),
        store_url: store_url.clone(),
        roles: vec![role.to_owned()],
        extra_toml: KINDS.to_owned(),
        env: vec![("WARREN__TOPOLOGY__MANAGE".to_owned(), "check".to_owned())],
        until,
        ..HubOptions::default()
    };
    let api = HubProcess::start(&options("api", Until::Live)).await;
    until_true(LONG, "what is missing to be said", async || api.log().contains("queue `jobs.demo.echo`")).await;
    assert!(api.log().contains("let Warren declare it (topology.manage"), "with the remedy: {}", api.log());
    let (code, err) = apply(&url("warren-api"), &[]).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("ACCESS_REFUSED") && err.contains("exchange `warren."), "{err}");
    let (code, err) = apply(&url("warren-operator"), &[]).await;
    assert_eq!(code, Some(0), "{err}");
    let worker = HubProcess::start(&options("worker", Until::Ready)).await;
    let keeper = HubProcess::start(&options("keeper", Until::Ready)).await;
    for hub in [&api, &worker, &keeper] {
        settled(hub).await;
    }

    // The main job: through a handler of the hub, over a rung, and in a service.
    let client = api.client();
    let echo = client.accepted("demo.echo", &json!({"a": 1})).await;
    client.wait_state(&echo, "succeeded", LONG).await;
    let flaky = client.accepted("demo.flaky", &json!({"fails": "twice"})).await;
    client.wait_state(&flaky, "succeeded", LONG).await;
    let shop_url = Postgres::shared().await.database().await;
    let pool = PgPool::connect(&shop_url).await.unwrap();
    messaging::migrate(&pool).await.unwrap();
    inventory::migrate(&pool).await.unwrap();
    inventory::stock::set(&pool, "tea", 10).await.unwrap();
    let mut command = Command::new(binary("shop"));
    command.args(["inventory", "--manage", "check"]).env("AMQP_URL", url("inventory")).env("DATABASE_URL", &shop_url);
    let _shop = Process::start("shop", command);
    let order = json!({"order_id": "o1", "sku": "tea", "quantity": 1});
    let reserve = client.accepted("inventory.reserve", &order).await;
    client.wait_state(&reserve, "succeeded", LONG).await;

    // A worker of another language takes its job and reports it.
    let report = client.accepted("reports.build", &json!({"pages": 1})).await;
    let (_connection, hand) = channel(&url("reports")).await;
    let got = until(LONG, "the job", async || {
        hand.basic_get("jobs.reports.build".into(), BasicGetOptions { no_ack: true }).await.unwrap()
    })
    .await;
    let message = messaging::wire::read(&got.delivery.properties, got.delivery.data.clone().into());
    let run = message.run.unwrap();
    let result = json!({"job": message.id, "epoch": run.epoch, "attempt": run.attempt, "token": message.token().unwrap(),
        "outcome": "succeeded", "result": {"built": 1}});
    let properties = BasicProperties::default()
        .with_type("warren.result".into())
        .with_message_id(uuid::Uuid::now_v7().to_string().into())
        .with_delivery_mode(2);
    let results = || "warren.results".into();
    hand.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let sent = hand.basic_publish(results(), results(), Default::default(), result.to_string().as_bytes(), properties).await;
    sent.unwrap().await.unwrap();
    client.wait_state(&report, "succeeded", LONG).await;

    // A job by message, and a dead letter that the keeper takes.
    Deed::Publish("warren.submit", "warren.submit").is_allowed(&url("shopfront")).await;
    let dead = "jobs.demo.echo.dead";
    until_true(LONG, "the keeper to consume", async || vhost.consumers(dead).await == Some(1)).await;
    Deed::Publish("warren.dead", "jobs.demo.echo").is_allowed(&url("inventory")).await;
    until_true(LONG, "the keeper to have the letter", async || {
        let operator = HubClient::new(keeper.admin_url(), Some(token("*", "operator", ALL_SCOPES)));
        let list = operator.get("/admin/dead-letters?queue=jobs.demo.echo&limit=10").await;
        list.is_ok_and(|list| list.body["items"].as_array().is_some_and(|items| !items.is_empty()))
    })
    .await;

    // And no further.
    let beyond = [
        ("warren-api", Deed::Get("jobs.demo.echo")),
        ("warren-api", Deed::Get("jobs.demo.echo.dead")),
        ("warren-api", Deed::Delete("jobs.demo.echo")),
        ("warren-api", Deed::Declare("jobs.other")),
        ("warren-worker", Deed::Get("jobs.demo.echo.dead")),
        ("warren-worker", Deed::Get("warren.submit")),
        ("warren-worker", Deed::Declare("other")),
        ("warren-keeper", Deed::Get("jobs.demo.echo")),
        ("warren-keeper", Deed::Get("warren.results")),
        ("inventory", Deed::Get("jobs.demo.echo")),
        ("inventory", Deed::Get("warren.results")),
        ("inventory", Deed::Publish("warren.jobs", "demo.echo")),
        ("inventory", Deed::Declare("inventory.more")),
        ("reports", Deed::Get("jobs.demo.echo")),
        ("reports", Deed::Declare("jobs.reports.build.mine")),
        ("reports", Deed::DeclareExchange("mine")),
        ("reports", Deed::Delete("jobs.reports.build")),
        ("reports", Deed::Bind("jobs.reports.build", "warren.events")),
        ("reports", Deed::Publish("warren.jobs", "demo.echo")),
        ("shopfront", Deed::Get("warren.submit")),
        ("shopfront", Deed::Publish("warren.results", "warren.results")),
        ("monitor", Deed::Get("jobs.demo.echo")),
        ("warren-operator", Deed::Declare("somebody.elses")),
    ];
    for (user, deed) in beyond {
        deed.is_refused(&url(user)).await;
    }

    // The doctor sees as the page says, and touches nothing.
    let said = Patient::new(&url("monitor"), Broker::shared().await.management().url()).seen().await;
    said.has_not(&["broker-away", "management-away"]);
    said.has("unseen-admin", "info", &["users", "set_user_tags", &users.name("", "monitor"), "administrator"]);
    if let Some([_, _, found, _]) = said.finding("unseen") {
        assert!(found.contains("figures are not there yet"), "`monitoring` shows all but what takes an administrator: {found}");
    }

    // Topic permissions, as the page has them.
    let permission = json!({"exchange": "warren.events", "write": r"^inventory\.", "read": ".*"});
    let path = format!("/api/topic-permissions/{}/{}", vhost.name().replace('/', "%2F"), users.name("", "inventory"));
    Broker::shared().await.management().call("PUT", &path, Some(permission)).await;
    Deed::Publish("warren.events", "inventory.reserved").is_allowed(&url("inventory")).await;
    Deed::Publish("warren.events", "orders.placed").is_refused(&url("inventory")).await;
}

/// The example of docs/topology.md beside the kinds: declared, looked for and kept by users that may do no more than the page says.
#[tokio::test]
async fn queues_of_a_teams_own_need_the_patterns_that_the_page_has_for_them() {
    let vhost = Broker::shared().await.vhost().await;
    let users = Users::create(&vhost, "").await;
    let url = |user: &str| users.url("", user);
    let page = std::fs::read_to_string(workspace().join("docs/topology.md")).unwrap();
    let own = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let toml = format!("{KINDS}{own}");

    let (code, err) = apply_file(&toml, &url("warren-operator"), &[]).await;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("ACCESS_REFUSED"), "{err}");
    users.permit("", OWN_MARK).await;
    // AMQP sets no policies: the one of the example is left for who may.
    let (code, err) = apply_file(&toml, &url("warren-operator"), &[]).await;
    assert_eq!(code, Some(1), "{err}");
    let left: Vec<&str> = err.lines().filter(|line| line.starts_with("left: ")).collect();
    assert!(left.len() == 1 && left[0].contains("policy audit-length is not set"), "{err}");

    let store_url = Postgres::shared().await.database().await;
    let options = |role: &str| HubOptions {
        broker_url: url(&format!("warren-{role}")),
        store_url: store_url.clone(),
        roles: if role == "hub" { Vec::new() } else { vec![role.to_owned()] },
        extra_toml: toml.clone(),
        env: vec![("WARREN__TOPOLOGY__MANAGE".to_owned(), "check".to_owned())],
        until: Until::Ready,
        ..HubOptions::default()
    };
    let dead = "billing.invoices.dead";
    let keeper = HubProcess::start(&options("keeper")).await;
    until_true(LONG, "the keeper to consume", async || vhost.consumers(dead).await == Some(1)).await;
    Deed::Publish("warren.dead", "billing.invoices").is_allowed(&url("inventory")).await;
    until_true(LONG, "the keeper to have the letter", async || {
        let operator = HubClient::new(keeper.admin_url(), Some(token("*", "operator", ALL_SCOPES)));
        let list = operator.get("/admin/dead-letters?queue=billing.invoices&limit=10").await;
        list.is_ok_and(|list| list.body["items"].as_array().is_some_and(|items| !items.is_empty()))
    })
    .await;
    let hub = HubProcess::start(&options("hub")).await;
    settled(&hub).await;
    until_true(LONG, "the hub to consume", async || vhost.consumers(dead).await == Some(2)).await;
    for (user, deed) in [
        ("warren-keeper", Deed::Get("billing.invoices")),
        ("warren-hub", Deed::Get("billing.invoices")),
        ("warren-hub", Deed::Get("orders.audit")),
        ("warren-api", Deed::Get(dead)),
        ("warren-worker", Deed::Get(dead)),
        ("warren-hub", Deed::Declare("orders.more")),
        ("warren-hub", Deed::Delete("orders.audit")),
    ] {
        deed.is_refused(&url(user)).await;
    }
}

/// Two hubs with the same kinds in one virtual host, each with a prefix and a user that sees no further.
#[tokio::test]
async fn two_hubs_with_prefixes_share_a_virtual_host_and_nothing_else() {
    let vhost = Broker::shared().await.vhost().await;
    let mut hubs = Vec::new();
    for prefix in ["one.", "two."] {
        let users = Users::create(&vhost, prefix).await;
        let operator = users.url(prefix, "warren-operator");
        let (code, err) = apply(&operator, &[("WARREN__BROKER__PREFIX", prefix)]).await;
        assert_eq!(code, Some(0), "{err}");
        // Neither looks: what is there is trusted to be right.
        let env = [("WARREN__BROKER__PREFIX", prefix), ("WARREN__TOPOLOGY__MANAGE", "off")];
        let options = HubOptions {
            broker_url: users.url(prefix, "warren-hub"),
            // The second one does no work at first.
            roles: if prefix == "one." { Vec::new() } else { vec!["api".to_owned()] },
            store_url: Postgres::shared().await.database().await,
            extra_toml: KINDS.to_owned(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            ..HubOptions::default()
        };
        let hub = HubProcess::start(&options).await;
        settled(&hub).await;
        hubs.push((hub, options));
        Deed::Get("warren.results").is_refused(&users.url(prefix, "warren-hub")).await;
    }
    let [(one, _), (two, options)] = hubs.as_slice() else { panic!("two hubs") };
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(two.client().accepted("demo.echo", &json!({"of": "two", "n": n})).await);
        let id = one.client().accepted("demo.flaky", &json!({"fails": "twice"})).await;
        one.client().wait_state(&id, "succeeded", LONG).await;
    }
    // While the first worked, nobody touched what is the other's.
    until_true(LONG, "the second hub's jobs to wait", async || vhost.queue_depth("two.jobs.demo.echo").await == Some(5)).await;
    assert_eq!(vhost.queue_depth("one.jobs.demo.echo").await, Some(0));
    for id in &ids {
        assert_eq!(one.client().job(id).await.unwrap().status, 404, "it knows nothing of them");
    }
    let worker = HubProcess::start(&HubOptions { roles: vec!["worker".to_owned()], ..options.clone() }).await;
    for id in &ids {
        two.client().wait_state(id, "succeeded", LONG).await;
    }
    drop(worker);
    let users = Users { vhost: &vhost };
    Deed::Get("two.jobs.demo.echo").is_refused(&users.url("one.", "warren-hub")).await;
    Deed::Publish("two.warren.jobs", "demo.echo").is_refused(&users.url("one.", "warren-hub")).await;
    Deed::Declare("two.jobs.more").is_refused(&users.url("one.", "warren-operator")).await;
}
