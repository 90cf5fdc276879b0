//! Messages for devices that are submitted by message: what comes to `warren.submit` with the header `warren-device` or `warren-user` is sent as
//! if it had come by HTTP.
//!
//! `warren-device` is the device's id, or several separated by commas, `warren-user` the user; the body is the payload, `message_id` the
//! idempotency key, AMQP `type` what the message is, CloudEvents `source` the sender, `warren-tenant` the tenant. `warren-ttl`, `warren-collapse-key`,
//! `warren-priority`, `warren-run-at`, `warren-delay`, `warren-receipt`, `warren-except` and `traceparent` mean what they mean in HTTP. Headers are texts.
//! Whoever may publish to the exchange may send in any name: the broker's permissions are the door.
//!
//! Guarantees: taken once it is committed; a message that comes again finds what it sent. Limits: bodies as over HTTP.

use async_trait::async_trait;
use door::auth::well_formed;
use door::problem::{Code, Problem};
use messaging::consumer::Delivered;
use messaging::submission::{Refused, Submit};
use messaging::trace::TraceContext;

use crate::http::items;
use crate::http::refusals::Place;
use crate::sending::{SendError, Sender, Sending};
use crate::store::Target;

/// Names the devices that a message is for.
pub const DEVICE_HEADER: &str = "warren-device";

/// Names the user whose devices it is for.
pub const USER_HEADER: &str = "warren-user";

/// Sends what is submitted.
pub struct Submissions {
    sender: Sender,
    body_limit: usize,
}

impl Submissions {
    /// By `sender`, bodies of `body_limit` bytes at most.
    pub fn new(sender: Sender, body_limit: usize) -> Self {
        Self { sender, body_limit }
    }

    fn sending(&self, delivered: &Delivered) -> Result<Sending, Problem> {
        let message = &delivered.message;
        if message.id.is_empty() {
            let why = "the message has no message_id: it is the idempotency key, and without one a repetition is another message";
            return Err(Problem::new(Code::IdempotencyKeyRequired, why));
        }
        for (header, name) in [("warren-tenant", &message.tenant), ("cloudEvents_source", &message.source)] {
            if !well_formed(name) && !name.is_empty() {
                let why = format!("`{header}` must have 200 bytes at most and no control characters");
                return Err(Problem::new(Code::InvalidParameter, why));
            }
        }
        // What is no text was not read, and would be taken for unsaid.
        let once = |name: &'static str| match (message.headers.get(name), header(delivered, name)) {
            (Some(text), _) => Ok(Some(text.clone())),
            (None, None) => Ok(None),
            (None, Some(_)) => Err("must be a text"),
        };
        let mut options = items::options_of(once)?;
        options.kind = Some(message.kind.clone()).filter(|kind| !kind.is_empty()).or(options.kind);
        let target = target(once, options.except.clone())?;
        let content_type =
            items::typed(&message.content_type).map_err(|why| Place::Header.wrong(Code::InvalidMessage, "content_type", why))?;
        if message.body.len() > self.body_limit {
            let why = format!("the body has {} bytes, {} at most are taken", message.body.len(), self.body_limit);
            return Err(Problem::new(Code::BodyTooLarge, why));
        }
        items::check_body(&content_type, &message.body)?;
        Ok(Sending {
            tenant: message.tenant.clone(),
            sender: message.source.clone(),
            publisher: None,
            target,
            content_type,
            body: message.body.clone(),
            options,
            traceparent: message.traceparent.clone().filter(|text| TraceContext::parse(text).is_some()),
            key: Some(message.id.clone()),
        })
    }
}

/// To whom.
fn target(
    once: impl Fn(&'static str) -> Result<Option<String>, &'static str>,
    except: Option<String>,
) -> Result<Target, Problem> {
    let wrong = |name: &str, why: &str| Problem::new(Code::InvalidMessage, format!("`{name}` {why}"));
    let devices = once(DEVICE_HEADER).map_err(|why| wrong(DEVICE_HEADER, why))?;
    let user = once(USER_HEADER).map_err(|why| wrong(USER_HEADER, why))?;
    match (devices, user) {
        (Some(_), None) if except.is_some() => Err(wrong("warren-except", "goes with `warren-user` alone")),
        (Some(devices), None) => {
            let ids: Vec<String> = devices.split(',').map(|id| id.trim().to_owned()).collect();
            ids.iter().try_for_each(|id| items::named(&Place::Header, DEVICE_HEADER, id))?;
            Ok(Target::Devices(ids))
        }
        (None, Some(user)) if items::is_user(&user) => Ok(Target::User { user, except }),
        (None, Some(_)) => Err(wrong(USER_HEADER, "must have 1 to 128 bytes and no control characters")),
        _ => Err(wrong(DEVICE_HEADER, "and `warren-user` go not together: say one of them")),
    }
}

/// A header as it came.
fn header<'a>(delivered: &'a Delivered, name: &str) -> Option<&'a serde_json::Value> {
    delivered.properties.get("headers")?.get(name)
}

fn is_addressed(delivered: &Delivered) -> bool {
    [DEVICE_HEADER, USER_HEADER].into_iter().any(|name| header(delivered, name).is_some())
}

fn for_ever(problem: Problem) -> Refused {
    Refused::ForEver { code: problem.code.as_str(), detail: problem.detail.into_owned() }
}

fn refused(error: SendError) -> Refused {
    match error {
        SendError::TenantFull => Refused::Apart,
        SendError::Full | SendError::Undecided | SendError::Unavailable(_) => Refused::ForNow(error.to_string()),
        error => for_ever(Place::Header.refused(error)),
    }
}

#[async_trait]
impl Submit for Submissions {
    fn is_for(&self, delivered: &Delivered) -> bool {
        is_addressed(delivered)
    }

    async fn submit(&self, delivered: &Delivered) -> Result<(), Refused> {
        let sending = self.sending(delivered).map_err(for_ever)?;
        self.sender.send(sending).await.map_err(refused)?;
        Ok(())
    }
}

/// On a hub that serves no devices: refuses what is for them, so that it becomes no job.
pub struct NotServed;

#[async_trait]
impl Submit for NotServed {
    fn is_for(&self, delivered: &Delivered) -> bool {
        is_addressed(delivered)
    }

    async fn submit(&self, _: &Delivered) -> Result<(), Refused> {
        let why = "this hub serves no devices: set `devices.enabled` for all of its processes";
        Err(for_ever(Problem::new(Code::NotSupportedYet, why)))
    }
}
