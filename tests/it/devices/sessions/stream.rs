//! A device that reads a stream of events and acks by requests, as a program of a team would.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use mobile_delivery::protocol::stream::{Closed, Event, Reader};
use mobile_delivery::protocol::{Message, ServerFrame};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

use super::SOON;
use super::socket::Said;

/// A device without a connection.
#[derive(Clone)]
pub(crate) struct Listener {
    http: Client,
    token: String,
}

impl Listener {
    pub(crate) fn new(token: String) -> Self {
        Self { http: Client::new(), token }
    }

    pub(crate) fn asks(&self, to: SocketAddr, query: &str) -> RequestBuilder {
        self.http.get(format!("http://{to}/v1/device/stream?{query}")).bearer_auth(&self.token)
    }

    /// The answer, whatever it is.
    pub(crate) async fn answer(&self, to: SocketAddr, query: &str) -> Response {
        self.asks(to, query).send().await.unwrap()
    }

    /// A stream that is open.
    pub(crate) async fn open(&self, to: SocketAddr, query: &str) -> Stream {
        Stream::of(self.answer(to, query).await)
    }

    /// The same of one that had this event last.
    pub(crate) async fn resume(&self, to: SocketAddr, query: &str, last: &str) -> Stream {
        Stream::of(self.asks(to, query).header("last-event-id", last).send().await.unwrap())
    }

    /// Open and welcome.
    pub(crate) async fn welcome(&self, to: SocketAddr, query: &str) -> Stream {
        let mut stream = self.open(to, query).await;
        match stream.next().await {
            Said::Frame(ServerFrame::Welcome(_)) => stream,
            other => panic!("{other:?} came instead of a welcome"),
        }
    }

    pub(crate) async fn ack(&self, to: SocketAddr, body: Value) -> u16 {
        self.acks(to, body).await.expect("an answer")
    }

    /// The status; `None` if nobody answers.
    pub(crate) async fn acks(&self, to: SocketAddr, body: Value) -> Option<u16> {
        let url = format!("http://{to}/v1/device/acks");
        let acking = self.http.post(url).bearer_auth(&self.token).body(body.to_string()).send();
        Some(tokio::time::timeout(SOON, acking).await.ok()?.ok()?.status().as_u16())
    }
}

pub(crate) struct Stream {
    pub(crate) response: Response,
    pub(crate) reader: Reader,
    ready: VecDeque<Event>,
    /// The `id` that came last.
    pub(crate) last: String,
    pub(crate) closed: Option<Closed>,
}

impl Stream {
    pub(crate) fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        Self { response, reader: Reader::default(), ready: VecDeque::new(), last: String::new(), closed: None }
    }

    /// What comes next, soon.
    pub(in crate::devices) async fn next(&mut self) -> Said {
        tokio::time::timeout(SOON, self.next_ever()).await.expect("an event")
    }

    /// What comes next. After a `close` there is nothing but the end.
    pub(in crate::devices) async fn next_ever(&mut self) -> Said {
        loop {
            if let Some(event) = self.ready.pop_front() {
                assert!(self.closed.is_none(), "{event:?} after the close");
                self.last.clone_from(&event.last_id);
                match event.closed() {
                    Some(closed) => self.closed = Some(closed),
                    None => return Said::Frame(event.frame().unwrap().unwrap_or_else(|| panic!("{event:?}"))),
                }
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.ready.extend(self.reader.read(&chunk)),
                Ok(None) => return Said::Closed(self.closed.as_ref().map(|closed| closed.code)),
                Err(_) => return Said::Closed(None),
            }
        }
    }

    pub(crate) async fn message(&mut self) -> Message {
        match self.next().await {
            Said::Frame(ServerFrame::Deliver(message)) => {
                assert_eq!(self.last, message.seq.to_string());
                *message
            }
            other => panic!("{other:?} came instead of a message"),
        }
    }

    pub(crate) async fn seqs(&mut self, count: usize) -> Vec<u64> {
        let mut seqs = Vec::with_capacity(count);
        while seqs.len() < count {
            seqs.push(self.message().await.seq);
        }
        seqs
    }

    pub(crate) async fn is_idle(&mut self) {
        match self.next().await {
            Said::Frame(ServerFrame::Idle) => {}
            other => panic!("{other:?} came instead of idle"),
        }
    }

    /// Nothing comes for a while.
    pub(crate) async fn is_quiet(&mut self) {
        if let Ok(said) = tokio::time::timeout(Duration::from_millis(400), self.next_ever()).await {
            panic!("{said:?} came");
        }
    }

    /// Reads to the end.
    pub(crate) async fn closes(&mut self) -> Option<u16> {
        loop {
            if let Said::Closed(code) = self.next().await {
                return code;
            }
        }
    }
}
