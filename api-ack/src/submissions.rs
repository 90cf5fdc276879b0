//! Jobs that are submitted by message: what comes to `warren.submit` becomes rows, as if it had come by HTTP. What others take ([`Submit`]) goes to them, and is
//! kept as jobs are when they refuse it.
//!
//! AMQP `type` is the kind, the body the payload, `message_id` the idempotency key, CloudEvents `source` the subject, the header
//! `warren-tenant` the tenant; `warren-run-at`, `warren-delay`, `warren-deadline`, `warren-priority`, `warren-tags`,
//! `warren-callback` and `traceparent` mean what they mean in HTTP.
//! Whoever may publish to the exchange may submit in any name: the broker's permissions are the door.
//!
//! Guarantees: acked after the commit; a message that comes again finds its job. What can never become a job is a dead letter of
//! this queue, its reason a problem code. While the store is away, or too much waits in all, messages stay in the queue. Those of
//! a tenant for which too much waits go round through a rung until there is room, so that nobody else's wait behind them.

use std::sync::Arc;

use async_trait::async_trait;
use broker_topology::{Names, Rung};
use futures::future::join_all;
use messaging::consumer::{Batch, BatchHandler, Delivered, Later};
use messaging::submission::{Refused, Submit};

use crate::accept::{AcceptError, Acceptor, PRIORITY_HEADER, Submission, TIMING_HEADERS, Timing, parse_priority};
use crate::callbacks::CALLBACK_HEADER;
use crate::http::{check_payload, no_tags, store};
use crate::letter::letter_of;
use crate::store::Stores;
use crate::tags::{TAGS_HEADER, Tags};
use door::auth::well_formed;
use door::media;
use door::problem::{Code, Problem};

/// The route that keys of messages are scoped by.
const ROUTE: &str = "warren.submit";

/// What a message without a content type has, and what many programs write who have nothing to say.
const BYTES: &str = "application/octet-stream";

/// Accepts what is submitted by message.
pub struct Submissions {
    acceptor: Acceptor,
    stores: Stores,
    queue: String,
    return_exchange: String,
    body_limit: usize,
    others: Vec<Arc<dyn Submit>>,
}

/// What becomes of a message that is no job now.
struct NoJob(Refused);

impl From<Problem> for NoJob {
    fn from(problem: Problem) -> Self {
        Self(Refused::ForEver { code: problem.code.as_str(), detail: problem.detail.into_owned() })
    }
}

impl From<AcceptError> for NoJob {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::TenantBacklog { .. } => Self(Refused::Apart),
            AcceptError::Backlog { .. } | AcceptError::Unavailable(_) | AcceptError::Undecided => {
                Self(Refused::ForNow(error.to_string()))
            }
            error => Problem::from(error).into(),
        }
    }
}

impl Submissions {
    /// Into `acceptor`, bodies of `body_limit` bytes at most; what is of no use goes to `stores` as a dead letter.
    pub fn new(acceptor: Acceptor, stores: Stores, names: &Names, body_limit: usize) -> Self {
        let (queue, return_exchange) = (names.submit(), names.return_exchange());
        Self { acceptor, stores, queue, return_exchange, body_limit, others: Vec::new() }
    }

    /// With others, who are asked first whether a message is theirs.
    pub fn with(self, others: Vec<Arc<dyn Submit>>) -> Self {
        Self { others, ..self }
    }

    async fn accept(&self, delivered: &Delivered) -> Result<(), Refused> {
        match self.others.iter().find(|other| other.is_for(delivered)) {
            Some(other) => other.submit(delivered).await,
            None => self.job(delivered).await.map_err(|NoJob(refused)| refused),
        }
    }

    async fn job(&self, delivered: &Delivered) -> Result<(), NoJob> {
        let (submission, checked) = self.submission(delivered)?;
        match checked {
            Ok(()) => self.acceptor.accept_traced(submission).await.map_err(NoJob::from)?,
            checked => store(&self.acceptor, submission, checked, NoJob::from).await?,
        };
        Ok(())
    }

    /// Where a message of a full tenant waits: what has been round before waits longer, so that a great heap of them does not keep
    /// the queue busy.
    fn rung(&self, delivered: &Delivered) -> Rung {
        if delivered.exchange == self.return_exchange { Rung::M2 } else { Rung::S30 }
    }

    /// What it submits, and whether the payload is what the kind takes now: of a message that comes again the job may be there.
    fn submission(&self, delivered: &Delivered) -> Result<(Submission, Result<(), Problem>), Problem> {
        let message = &delivered.message;
        if message.id.is_empty() {
            let why = "the message has no message_id: it is the idempotency key, and without one a repetition makes a second job";
            return Err(Problem::new(Code::IdempotencyKeyRequired, why));
        }
        for (header, name) in [("warren-tenant", &message.tenant), ("cloudEvents_source", &message.source)] {
            if !name.is_empty() && !well_formed(name) {
                let why = format!("`{header}` must have 200 bytes at most and no control characters");
                return Err(Problem::new(Code::InvalidParameter, why));
            }
        }
        let spec = self.acceptor.kinds().get(&message.kind).ok_or_else(|| AcceptError::UnknownKind(message.kind.clone()))?;
        // What is only bytes, said or unsaid, is taken for what the kind takes: the checks below tell.
        let said = Some(message.content_type.as_str())
            .filter(|said| *said != BYTES || spec.content_types.iter().any(|one| one == BYTES));
        let content_type = media::takes(&spec.content_types, said)?;
        if message.body.len() > self.body_limit {
            let why = format!("the body has {} bytes, {} at most are taken", message.body.len(), self.body_limit);
            return Err(Problem::new(Code::BodyTooLarge, why));
        }
        let checked = check_payload(&spec, &content_type, &message.body, "");
        let [run_at, delay, deadline] = TIMING_HEADERS.map(|name| message.headers.get(name).cloned());
        let priority = message.headers.get(PRIORITY_HEADER).map(|text| parse_priority(text)).transpose();
        let priority = priority.map_err(AcceptError::from)?;
        let tags = message.headers.get(TAGS_HEADER).map(String::as_str).unwrap_or_default();
        let tags = Tags::listed(tags).map_err(|error| no_tags(error.to_string()))?;
        let callback = message.headers.get(CALLBACK_HEADER).cloned();
        let submission = Submission {
            kind: message.kind.clone(),
            tenant: message.tenant.clone(),
            subject: message.source.clone(),
            route: ROUTE.to_owned(),
            content_type,
            body: message.body.clone(),
            traceparent: message.traceparent.clone(),
            key: Some(message.id.clone()),
            timing: Timing { run_at, delay, deadline },
            priority,
            tags,
            callback,
            patient: true,
        };
        Ok((submission, checked))
    }
}

#[async_trait]
impl BatchHandler for Submissions {
    async fn handle(&self, batch: &Batch) -> Result<Vec<Later>, String> {
        let became = join_all(batch.iter().map(|delivered| self.accept(delivered))).await;
        let (mut letters, mut later, mut stopped) = (Vec::new(), Vec::new(), None);
        for (at, (delivered, became)) in batch.iter().zip(became).enumerate() {
            match became {
                Ok(()) => {}
                Err(Refused::ForNow(why)) => stopped = Some(why),
                Err(Refused::Apart) => later.push(Later { at, rung: self.rung(delivered) }),
                Err(Refused::ForEver { code, detail }) => {
                    tracing::warn!(kind = delivered.message.kind, problem.code = code, "nothing became of a message: {detail}");
                    letters.push(letter_of(delivered, &self.queue, code, &detail));
                }
            }
        }
        if !letters.is_empty() {
            self.stores.dead.keep(&letters).await.map_err(|error| error.to_string())?;
        }
        // The whole batch comes again: what was accepted finds its job, what was kept is kept once, and nothing was put apart.
        stopped.map_or(Ok(later), Err)
    }
}
