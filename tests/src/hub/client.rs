//! A client of the hub's HTTP API, as a team would write one.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::wait;

/// An answer of the hub, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, exactly.
    pub bytes: Vec<u8>,
    /// The body as JSON, `Null` when it is not JSON.
    pub body: Value,
}

impl Answer {
    /// The `id` of the job in the body.
    pub fn job_id(&self) -> Option<&str> {
        self.body["id"].as_str()
    }

    /// The `state` of the job in the body.
    pub fn state(&self) -> Option<&str> {
        self.body["state"].as_str()
    }

    /// The `code` of a problem document.
    pub fn code(&self) -> Option<&str> {
        self.body["code"].as_str()
    }

    /// A header's value, if there is one and it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A client with one token, which outlives restarts of its hub.
#[derive(Clone, Debug)]
pub struct HubClient {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

impl HubClient {
    /// A client of the listener at `base`, with or without a token.
    ///
    /// # Panics
    /// When there can be no HTTP client.
    pub fn new(base: String, token: Option<String>) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).redirect(reqwest::redirect::Policy::none());
        Self { base, token, http: http.build().expect("an HTTP client can be built") }
    }

    /// A request with the token on it, to be filled and sent with [`HubClient::send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When no complete answer came: whether the hub did what was asked is unknown then.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, String> {
        let text = |error: reqwest::Error| format!("{error:?}");
        let response = request.send().await.map_err(text)?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = response.bytes().await.map_err(text)?.to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status, headers, bytes, body })
    }

    /// `GET` of a path.
    ///
    /// # Errors
    /// As [`HubClient::send`].
    pub async fn get(&self, path: &str) -> Result<Answer, String> {
        self.send(self.request(Method::GET, path)).await
    }

    /// Submits a job with a JSON payload and, if given, an `Idempotency-Key`.
    ///
    /// # Errors
    /// As [`HubClient::send`].
    pub async fn submit(&self, kind: &str, data: &Value, key: Option<&str>) -> Result<Answer, String> {
        let mut request = self.request(Method::POST, &format!("/v1/kinds/{kind}/jobs")).json(data);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.send(request).await
    }

    /// Submits a job that has to be accepted, and returns its id.
    ///
    /// # Panics
    /// When the answer is not 202 with an id.
    pub async fn accepted(&self, kind: &str, data: &Value) -> String {
        match self.submit(kind, data, None).await {
            Ok(answer) if answer.status == 202 => answer.job_id().expect("a 202 names the job").to_owned(),
            Ok(answer) => panic!("{kind} was not accepted: {} {}", answer.status, answer.body),
            Err(error) => panic!("the hub did not answer: {error}"),
        }
    }

    /// Reads a job.
    ///
    /// # Errors
    /// As [`HubClient::send`].
    pub async fn job(&self, id: &str) -> Result<Answer, String> {
        self.get(&format!("/v1/jobs/{id}")).await
    }

    /// Waits until a job is in a state, and returns the job; time without answers counts too.
    ///
    /// # Panics
    /// When the deadline passes; the message tells what was last seen.
    pub async fn wait_state(&self, id: &str, state: &str, deadline: Duration) -> Value {
        let last = std::sync::Mutex::new("nothing".to_owned());
        let found = wait::within(deadline, async || {
            let seen = match self.job(id).await {
                Ok(answer) if answer.status == 200 && answer.state() == Some(state) => return Some(answer.body),
                Ok(answer) => format!("{} {}", answer.status, answer.body),
                Err(error) => error,
            };
            *last.lock().unwrap() = seen;
            None
        });
        match found.await {
            Some(job) => job,
            None => panic!("waited {deadline:?} for job {id} to be {state}, in vain; last seen: {}", last.into_inner().unwrap()),
        }
    }
}
