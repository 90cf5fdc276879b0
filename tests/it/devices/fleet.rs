//! Hubs that serve devices, the devices that a team registers with them, and the team's back end.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::broker::Broker;
use warren_tests::hub::{Answer, HubClient, HubOptions, HubProcess, token};
use warren_tests::wait::until;

use crate::world::{LONG, World, settled};

pub(crate) const OWNER: &str = "devices:write devices:read messages:send messages:read";

/// With `more` in the section of devices.
pub(crate) fn options(world: &World, more: &str) -> HubOptions {
    let options = world.options();
    HubOptions { extra_toml: format!("[devices]\nenabled = true\n{more}\n{}", options.extra_toml), ..options }
}

/// A hub that sees the policies of its virtual host, and sets those of devices itself.
pub(super) async fn hub_on(broker: &Broker, world: &World, more: &str) -> HubProcess {
    let management = broker.management().url().to_owned();
    let env = vec![("WARREN__BROKER__MANAGEMENT_URL".to_owned(), management)];
    let hub = HubProcess::start(&HubOptions { env, ..options(world, more) }).await;
    settled(&hub).await;
    hub
}

pub(super) async fn hub(world: &World, more: &str) -> HubProcess {
    hub_on(Broker::shared().await, world, more).await
}

/// Where devices connect to.
pub(super) fn address(hub: &HubProcess) -> SocketAddr {
    hub.public_url().trim_start_matches("http://").parse().expect("an address")
}

/// What a device is given when it is registered.
#[derive(Clone, Debug)]
pub(super) struct Registered {
    pub(super) tenant: String,
    pub(super) id: String,
    pub(super) token: String,
    pub(super) refresh: String,
}

pub(crate) async fn put(owner: &HubClient, id: &str, user: &str) -> Answer {
    owner.send(owner.request(Method::PUT, &format!("/v1/devices/{id}")).json(&json!({"user": user}))).await.unwrap()
}

pub(super) async fn register(hub: &HubProcess, tenant: &str, id: &str) -> Registered {
    let owner = hub.client_as(tenant, "app", OWNER);
    let answer = put(&owner, id, &format!("{tenant}-{id}")).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let text = |name: &str| answer.body[name].as_str().expect("a text").to_owned();
    Registered { tenant: tenant.to_owned(), id: id.to_owned(), token: text("token"), refresh: text("refresh_token") }
}

/// A team's back end, which sends by whichever hub answers until one has accepted.
pub(super) struct Owner(Vec<HubClient>);

impl Owner {
    pub(super) fn of(tenant: &str, urls: &[String]) -> Self {
        Self(urls.iter().map(|url| HubClient::new(url.clone(), Some(token(tenant, "app", OWNER)))).collect())
    }

    /// Sends message `number` to a device, with a receipt; its id. The same again is the same message.
    pub(super) async fn send(&self, id: &str, number: usize) -> String {
        let key = format!("{id}-{number}");
        let body = json!({"device": id, "number": number});
        let tries = std::cell::Cell::new(number);
        until(LONG, "a message to be accepted", async || {
            let client = &self.0[tries.get() % self.0.len()];
            tries.set(tries.get() + 1);
            let request = client.request(Method::POST, &format!("/v1/devices/{id}/messages")).timeout(Duration::from_secs(10));
            let request = request.header("idempotency-key", &key).header("warren-receipt", "true").json(&body);
            let answer = client.send(request).await.ok()?;
            assert!(answer.status == 202 || answer.status >= 500, "{} {}", answer.status, answer.body);
            (answer.status == 202).then(|| answer.body["id"].as_str().expect("an id").to_owned())
        })
        .await
    }

    /// What a path answers, as soon as one hub does.
    pub(super) async fn get(&self, path: &str) -> Value {
        until(LONG, path, async || {
            for client in &self.0 {
                if let Ok(answer) = client.get(path).await
                    && answer.status == 200
                {
                    return Some(answer.body);
                }
            }
            None
        })
        .await
    }
}
