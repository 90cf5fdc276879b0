//! The request of a call, and the client that sends it.

use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use messaging::handler::Context;
use messaging::message::Message;
use messaging::trace::{Span, Tracer};
use reqwest::{Certificate, Client, Response, Url, redirect};

use crate::config::{DestinationConfig, HttpCall};

/// How long a connection is kept for the next call.
const IDLE: Duration = Duration::from_secs(60);

/// Sends the calls of one kind.
pub(crate) struct Caller {
    client: Client,
    method: reqwest::Method,
    url: Url,
    /// What is sent with each call.
    headers: HeaderMap,
}

impl Caller {
    /// # Errors
    /// With what is wrong, for people.
    pub(crate) fn new(call: &HttpCall, destination: &DestinationConfig) -> Result<Self, String> {
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(call.connect_timeout)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(destination.concurrency.into())
            .user_agent(concat!("warren/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &destination.ca_file {
            let unreadable = |error: &dyn std::fmt::Display| format!("cannot use {}: {error}", path.display());
            let text = std::fs::read(path).map_err(|error| unreadable(&error))?;
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(&text).map_err(|error| unreadable(&error))?);
        }
        let client = builder.build().map_err(|error| format!("cannot make an HTTP client: {error}"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &call.headers {
            let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name), HeaderValue::try_from(value.expose())) else {
                return Err(format!("the header `{name}` cannot be sent"));
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let method = reqwest::Method::from_bytes(call.method.as_str().as_bytes()).map_err(|error| error.to_string())?;
        Ok(Self { client, method, url: call.url.clone(), headers })
    }

    /// The span of one attempt's call, if its trace is kept.
    pub(super) fn span(&self, tracer: &Tracer, cx: &Context) -> Option<Span> {
        tracer.call(self.method.as_str(), &self.url, cx.traceparent.as_deref())
    }

    /// Sends one attempt, caused by what `traceparent` names, with the token by which its end may be told later.
    ///
    /// # Errors
    /// When there is no answer.
    pub(crate) async fn send(
        &self,
        cx: &Context,
        message: Message,
        traceparent: Option<&str>,
        token: Option<String>,
    ) -> Result<Response, reqwest::Error> {
        let mut headers = self.headers.clone();
        describe(&mut headers, cx, &message, traceparent);
        if let Some(mut value) = token.and_then(|token| HeaderValue::try_from(token).ok()) {
            value.set_sensitive(true);
            headers.insert("warren-token", value);
        }
        self.client.request(self.method.clone(), self.url.clone()).headers(headers).body(message.body).send().await
    }
}

/// The job as a CloudEvent in binary mode, and what Warren adds.
fn describe(headers: &mut HeaderMap, cx: &Context, message: &Message, traceparent: Option<&str>) {
    let mut set = |name: &'static str, value: &str| {
        // What no header may hold is nothing a stranger could rely on either.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    set(CONTENT_TYPE.as_str(), &message.content_type);
    set("ce-specversion", "1.0");
    set("ce-id", &message.id);
    set("ce-type", &message.kind);
    set("ce-source", &message.source);
    set("ce-time", &message.time.to_string());
    set("idempotency-key", &format!("\"{}\"", message.id));
    set("warren-attempt", &cx.attempt.to_string());
    if let Some(deadline) = cx.deadline {
        set("warren-deadline", &deadline.to_string());
    }
    if let Some(traceparent) = traceparent {
        set("traceparent", traceparent);
    }
}
