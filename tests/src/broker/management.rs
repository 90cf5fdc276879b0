//! RabbitMQ's HTTP API, as the tests use it.

use std::net::Ipv4Addr;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::runtime;

/// A client of the management API of one node.
///
/// Its counters lag by up to five seconds: for the depth of a queue use
/// [`Vhost::queue_depth`](super::Vhost::queue_depth), which is exact.
#[derive(Clone, Debug)]
pub struct Management {
    base: String,
    user: String,
    password: String,
    client: reqwest::Client,
}

impl Management {
    pub(super) fn new(address: Ipv4Addr, port: u16, user: &str, password: &str) -> Self {
        // A node under SIGSTOP accepts connections and answers none.
        let client = reqwest::Client::builder().timeout(Duration::from_secs(60));
        Self {
            base: format!("http://{address}:{port}"),
            user: user.to_owned(),
            password: password.to_owned(),
            client: client.build().expect("an HTTP client without TLS can be built"),
        }
    }

    /// The base URL, such as `http://127.0.0.1:20001`.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// The administrator's name and password.
    pub fn credentials(&self) -> (&str, &str) {
        (&self.user, &self.password)
    }

    /// One call: the status, and the body (`Null` when it is empty or not JSON).
    ///
    /// # Errors
    /// When no answer came.
    pub async fn try_call(&self, method: &str, path: &str, body: Option<Value>) -> Result<(u16, Value), String> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method of HTTP");
        let mut request =
            self.client.request(method, format!("{}{path}", self.base)).basic_auth(&self.user, Some(&self.password));
        if let Some(body) = body {
            request = request.json(&body);
        }
        // On the harness's runtime: pooled connections must outlive the runtime of one test.
        runtime::run(async move {
            let response = request.send().await.map_err(|error| format!("{error:?}"))?;
            let status = response.status().as_u16();
            let bytes = response.bytes().await.map_err(|error| format!("{error:?}"))?;
            Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
        })
        .await
    }

    /// One call that has to succeed.
    ///
    /// # Panics
    /// When no answer comes, or one that is not 2xx.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        match self.try_call(method, path, body).await {
            Ok((200..=299, answer)) => answer,
            Ok((status, answer)) => panic!("RabbitMQ answered {method} {path}: {status} {answer}"),
            Err(error) => panic!("RabbitMQ did not answer {method} {path}: {error}"),
        }
    }

    /// `GET` that has to succeed.
    ///
    /// # Panics
    /// As [`Management::call`].
    pub async fn get(&self, path: &str) -> Value {
        self.call("GET", path, None).await
    }
}
