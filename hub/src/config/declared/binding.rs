//! Bindings of the team's own.

use broker_topology::{Arguments, Binding, Names, Topology};
use serde::Serialize;

use super::{Declared, arguments, key_at, on_broker};
use crate::config::section::Section;
use crate::config::value::words;

/// One `[[binding]]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BindingConfig {
    /// The exchange that routes, without `broker.prefix`: one of the team's, one of RabbitMQ's (`amq.topic`), or `warren.events`; required.
    pub source: String,
    /// The queue it leads to, or
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// the exchange; one of the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// The key, or the pattern of a topic exchange; empty by default.
    pub key: String,
    /// How many of `headers` a message must have; default `all`.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<HeaderMatch>,
    /// What a headers exchange matches; none by default.
    #[serde(skip_serializing_if = "Arguments::is_empty")]
    pub headers: Arguments,
}

words! {
    /// How many of the headers a message must have.
    HeaderMatch {
        /// All of them; those that begin with `x-` are not looked at.
        All = "all",
        /// One of them; those that begin with `x-` are not looked at.
        Any = "any",
        /// All of them, those with `x-` too.
        AllWithX = "all-with-x",
        /// One of them, those with `x-` too.
        AnyWithX = "any-with-x",
    }
}

impl Declared for BindingConfig {
    const KEY: &'static str = "binding";
    const MOST: usize = 10_000;

    fn read(section: &mut Section<'_>) -> Option<Self> {
        let source = section.required("source", "name the exchange that it begins at");
        let (queue, exchange): (Option<String>, Option<String>) = (section.opt("queue"), section.opt("exchange"));
        if queue.is_some() == exchange.is_some() {
            section.problem("queue", "or `exchange` is needed, and only one of them: say where it leads");
        }
        let key = section.get("key", String::new());
        let headers = arguments(section, "headers", |_| None);
        let matching: Option<HeaderMatch> = section.opt("match");
        if matching.is_some() && headers.is_empty() {
            section.problem("match", "is of no use without `headers`: name some, or remove it");
        }
        if headers.contains_key("x-match") {
            section.problem("headers.x-match", "has a key of its own: write `match`");
        }
        Some(Self { source: source?, queue, exchange, key, headers, matching })
    }

    fn own(&self, names: &Names) -> Topology {
        let source = on_broker(names, &self.source);
        let key = key_at(names, &source, &self.key);
        let binding = match (&self.queue, &self.exchange) {
            (Some(queue), _) => Binding::to_queue(source, on_broker(names, queue), key),
            (None, exchange) => Binding::to_exchange(source, on_broker(names, exchange.as_deref().unwrap_or_default()), key),
        };
        let mut arguments = self.headers.clone();
        if !arguments.is_empty() {
            arguments.insert("x-match".to_owned(), self.matching.unwrap_or(HeaderMatch::All).as_str().into());
        }
        Topology::default().binding(Binding { arguments, ..binding })
    }
}
