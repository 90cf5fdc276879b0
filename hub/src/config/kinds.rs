//! The kinds of jobs.

use std::time::Duration;

use api_ack::kinds::JSON;
use broker_topology::{Kind, Rung};
use messaging::retry::{Delay, RetryPolicy};
use serde::{Serialize, Serializer};

use super::section::Section;
use super::settings::Retention;
use super::units::{dump_duration, dump_optional, show_duration};
use super::value::words;
use super::{AmqpTarget, HttpCall};

mod door;

pub use door::{ContentType, Route, SchemaFile};

/// One `[[kind]]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindConfig {
    /// Its stable name, as in `orders.place`; required.
    pub name: Kind,
    /// Who does the work; default `rust`.
    pub worker: Worker,
    /// The class of a job that asks for none; absent, the kind has one queue and no job of it can be `high`. With it, `high` ones have
    /// a queue of their own, `jobs.<kind>.high`, and go first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Jobs published and not yet ended; what waits beyond it waits in the store. Default 10,000.
    pub window: u32,
    /// How long one attempt may take; default 30 s.
    #[serde(serialize_with = "dump_duration")]
    pub timeout: Duration,
    /// How long the whole job may take, retries included; default 24 h.
    #[serde(serialize_with = "dump_duration")]
    pub deadline: Duration,
    /// How long an ended job is kept, 1 min to 3650 d; absent: `retention.jobs`.
    #[serde(serialize_with = "dump_optional", skip_serializing_if = "Option::is_none")]
    pub retention: Option<Duration>,
    /// How long a job may wait for its start, 1 s to 366 d; absent: as long as it takes. One that would wait longer, because what it
    /// calls is held back or because too many are before it, is answered 503 `overloaded`.
    #[serde(serialize_with = "dump_optional", skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Duration>,
    /// Attempts that run at once in one process; 1 to 10,000, default 32.
    pub concurrency: u16,
    /// Deliveries one process holds, running and waiting; 1 to 65,535, default 256.
    pub prefetch: u16,
    /// Who is told of the end of a job that names nobody: a URL, by the rules of `[callbacks]`; absent: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
    /// Whether `Idempotency-Key` must be sent; default `optional`.
    pub idempotency: Idempotency,
    /// Addresses of its own, such as `/v1/orders`, beside `/v1/kinds/{kind}/jobs`; none by default.
    pub routes: Vec<Route>,
    /// Media types taken, without parameters; the first is meant when a request names none. Default `["application/json"]`.
    pub content_types: Vec<ContentType>,
    /// A file with the JSON Schema that JSON bodies must fit; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaFile>,
    /// What it is for, in a sentence for people; empty by default.
    pub description: String,
    /// When a failed attempt is tried again.
    #[serde(serialize_with = "dump_retry")]
    pub retry: RetryPolicy,
    /// What is called, exactly if the worker is `http`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCall>,
    /// Where its jobs go instead of `jobs.<kind>`, only if the worker is `amqp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amqp: Option<AmqpTarget>,
}

words! {
    /// Who does the work of a kind.
    Worker {
        /// A handler in this process or in a service.
        Rust = "rust",
        /// Any program that consumes `jobs.<kind>` and reports on `warren.results`.
        Amqp = "amqp",
        /// A call over HTTP, made by a process with the role `worker`.
        Http = "http",
    }
}

words! {
    /// A class of jobs.
    Priority {
        /// What jobs are unless somebody says otherwise.
        Normal = "normal",
        /// Before the normal jobs of its kind.
        High = "high",
    }
}

words! {
    /// Whether a request must carry an `Idempotency-Key`.
    Idempotency {
        /// It may.
        Optional = "optional",
        /// It must.
        Required = "required",
    }
}

impl KindConfig {
    /// A kind with every setting at its default.
    pub fn new(name: Kind) -> Self {
        let second = Duration::from_secs(1);
        Self {
            name,
            worker: Worker::Rust,
            priority: None,
            window: 10_000,
            timeout: second * 30,
            deadline: second * 86_400,
            retention: None,
            max_wait: None,
            concurrency: 32,
            prefetch: 256,
            callback: None,
            idempotency: Idempotency::Optional,
            routes: Vec::new(),
            content_types: vec![ContentType(JSON.to_owned())],
            schema: None,
            description: String::new(),
            retry: RetryPolicy::default(),
            http: None,
            amqp: None,
        }
    }

    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let name: Option<Kind> = section.required("name", "give the kind its stable name, such as \"orders.place\"");
        // Without a name the other keys are still read, so that what is wrong with them is told too.
        let default = Self::new(name.clone().or_else(|| Kind::parse("unnamed").ok())?);
        let (moment, year) = (Duration::from_millis(1), Duration::from_secs(366 * 86_400));
        let http = section.maybe("http");
        let amqp = section.maybe("amqp");
        let kind = Self {
            worker: section.get("worker", default.worker),
            priority: section.opt("priority"),
            window: section.within("window", default.window, 1..=u32::MAX, "at least 1"),
            timeout: section.within("timeout", default.timeout, moment..=year, "from 1ms to 366d"),
            deadline: section.within("deadline", default.deadline, moment..=year, "from 1ms to 366d"),
            retention: section.maybe_within("retention", Retention::RANGE, "from 1m to 3650d"),
            max_wait: section.maybe_within("max_wait", Duration::from_secs(1)..=year, "from 1s to 366d"),
            concurrency: count(section, "concurrency", default.concurrency, 10_000),
            prefetch: count(section, "prefetch", default.prefetch, u16::MAX),
            callback: section.opt("callback"),
            idempotency: section.get("idempotency", default.idempotency),
            routes: section.get("routes", default.routes),
            content_types: section.get("content_types", default.content_types),
            schema: section.opt("schema"),
            description: section.get("description", default.description),
            retry: read_retry(&mut section.section("retry")),
            http: http.and_then(|mut http| HttpCall::read(&mut http)),
            amqp: amqp.and_then(|mut amqp| AmqpTarget::read(&mut amqp)),
            name: default.name,
        };
        name.map(|_| kind)
    }
}

fn count(section: &mut Section<'_>, key: &'static str, default: u16, most: u16) -> u16 {
    let number = section.within(key, u32::from(default), 1..=u32::from(most), &format!("from 1 to {most}"));
    u16::try_from(number).unwrap_or(default)
}

fn read_retry(section: &mut Section<'_>) -> RetryPolicy {
    let default = RetryPolicy::default();
    let delays: Option<Vec<Duration>> = section.opt("delays");
    RetryPolicy {
        delays: delays.map_or(default.delays, |delays| delays.into_iter().map(delay).collect()),
        max_attempts: section.within("max_attempts", default.max_attempts, 1..=1000, "from 1 to 1000"),
    }
}

/// The longest wait that is served by a rung of that very length; longer ones can be listed and moved in the store.
const LONGEST_RUNG: Duration = Duration::from_secs(30);

fn delay(wait: Duration) -> Delay {
    match Rung::at_least(wait) {
        Some(rung) if rung.delay() == wait && wait <= LONGEST_RUNG => Delay::Rung(rung),
        _ => Delay::Store(wait),
    }
}

/// How long a step waits, jitter aside.
pub(super) fn wait(delay: &Delay) -> Duration {
    match delay {
        Delay::Rung(rung) => rung.delay(),
        Delay::Store(wait) => *wait,
    }
}

fn dump_retry<S: Serializer>(policy: &RetryPolicy, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Dump {
        delays: Vec<String>,
        max_attempts: u32,
    }
    let delays = policy.delays.iter().map(|delay| show_duration(wait(delay))).collect();
    Dump { delays, max_attempts: policy.max_attempts }.serialize(serializer)
}
