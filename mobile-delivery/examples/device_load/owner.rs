//! Who owns devices: registers them, and sends to them.

use bytes::Bytes;
use serde_json::{Value, json};

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
        let answer = put.json(&json!({"user": format!("user-{user}")})).send().await.expect("an answer to a registration");
        let status = answer.status();
        let body: Value = answer.json().await.unwrap_or_default();
        assert!(status.is_success(), "{id} was not registered: {status} {body}");
        body["token"].as_str().expect("a device's token").to_owned()
    }

    /// Sends a message; all but 202 is told.
    pub async fn send(&self, id: &str, body: Bytes) -> Result<(), String> {
        let post = self.client.post(format!("{}/v1/devices/{id}/messages", self.url)).bearer_auth(&self.token);
        let sent = post.header("content-type", "application/json").body(body).send().await;
        let answer = sent.map_err(|error| error.to_string())?;
        match answer.status().as_u16() {
            202 => answer.bytes().await.map(drop).map_err(|error| error.to_string()),
            other => Err(format!("{other}: {}", answer.text().await.unwrap_or_default())),
        }
    }
}
