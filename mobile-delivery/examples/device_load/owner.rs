//! Who owns devices: registers them, and sends to them.

use bytes::Bytes;
use serde_json::{Value, json};

/// The group that all devices are in.
pub const GROUP: &str = "load";

/// A client of the hub's API.
#[derive(Clone)]
pub struct Owner {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl Owner {
    pub fn new(url: &str, token: String) -> Self {
        Self { client: reqwest::Client::new(), url: url.trim_end_matches('/').to_owned(), token }
    }

    /// Host and port.
    pub fn address(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    /// Registers a device, or what is registered already again; answers its token.
    pub async fn register(&self, id: &str, user: usize) -> String {
        let put = self.client.put(format!("{}/v1/devices/{id}", self.url)).bearer_auth(&self.token);
        let answer = put
            .json(&json!({"user": format!("user-{user}"), "groups": [GROUP]}))
            .send()
            .await
            .expect("an answer to a registration");
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        assert!(status.is_success(), "{id} was not registered: {status} {body}");
        body["token"].as_str().expect("a device's token").to_owned()
    }

    /// Sends a message to a device; all but 202 is told.
    pub async fn send(&self, id: &str, body: Bytes) -> Result<(), String> {
        self.post(&format!("devices/{id}/messages"), body).await.map(drop)
    }

    /// Opens the group of all of them, so that they may publish to it.
    pub async fn open_room(&self) {
        let put = self.client.put(format!("{}/v1/groups/{GROUP}", self.url)).bearer_auth(&self.token);
        let answer = put.json(&json!({"publish": "members"})).send().await.expect("an answer");
        assert!(answer.status().is_success(), "the room was not opened: {}", answer.status());
    }

    /// Sends a message to all devices; answers the message's id.
    pub async fn broadcast(&self, body: Bytes) -> String {
        let answer = self.post("broadcasts", body).await.expect("an answer to a broadcast");
        answer["id"].as_str().expect("an id").to_owned()
    }

    /// How many devices have acked a message.
    pub async fn delivered(&self, id: &str) -> usize {
        let get = self.client.get(format!("{}/v1/messages/{id}", self.url)).bearer_auth(&self.token);
        let message: Value = get.send().await.expect("an answer").json().await.expect("a message");
        message["counts"]["delivered"].as_u64().unwrap_or_default().try_into().expect("a count")
    }

    async fn post(&self, path: &str, body: Bytes) -> Result<Value, String> {
        let post = self.client.post(format!("{}/v1/{path}", self.url)).bearer_auth(&self.token);
        let sent = post.header("content-type", "application/json").body(body).send().await;
        let answer = sent.map_err(|error| error.to_string())?;
        match answer.status().as_u16() {
            202 => answer.json().await.map_err(|error| error.to_string()),
            other => Err(format!("{other}: {}", answer.text().await.unwrap_or_default())),
        }
    }
}
