//! Callbacks, as the admin API answers them. Addresses are whole here: who operates the hub has to know where it calls.

use api_ack::store::{Callback, CallbackState, Deed, Stop};
use database::clock::timestamp;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A callback in a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallbackLine {
    /// The job it is of.
    pub job: Uuid,
    /// Whose it is.
    pub tenant: String,
    /// Where it goes.
    pub url: String,
    /// How it stands.
    pub state: CallbackState,
    /// Calls begun since it is owed, or was redriven.
    pub calls: i32,
    /// While it is owed: when it is called next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_at: Option<Timestamp>,
    /// Why the latest call was no success.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// All about a callback.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallbackDetail {
    /// What a list shows.
    #[serde(flatten)]
    pub line: CallbackLine,
    /// Of which epoch of the job it tells the end; 0 before there is one.
    pub epoch: i32,
    /// The latest calls, oldest first; 20 at most.
    pub history: Vec<CallLine>,
    /// What operators did to it, oldest first.
    pub record: Vec<DeedLine>,
}

/// One call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallLine {
    /// When it was made.
    pub at: Timestamp,
    /// What was answered, if there was an answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// Why it was no success.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// How long it took.
    pub took_ms: u32,
}

/// Something an operator did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeedLine {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// `redrive` or `enable`.
    pub action: String,
    /// Why.
    pub note: String,
}

/// An address that is not called.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StopLine {
    /// Whose callbacks do not call it.
    pub tenant: String,
    /// The address.
    pub url: String,
    /// Since when; of one that was enabled, when that was.
    pub since: Timestamp,
    /// The job whose callback was answered 410.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job: Option<Uuid>,
}

impl From<Callback> for CallbackLine {
    fn from(callback: Callback) -> Self {
        Self {
            job: callback.job,
            tenant: callback.tenant,
            url: callback.target.url,
            state: callback.state,
            calls: callback.calls,
            next_at: callback.due_at.map(timestamp),
            error: callback.history.last().and_then(|call| call.error.clone()),
            updated_at: timestamp(callback.updated_at),
        }
    }
}

impl CallbackDetail {
    /// The view of a callback and of what was done to it.
    pub fn new(callback: Callback, deeds: Vec<Deed>) -> Self {
        let calls = callback.history.iter().map(|call| CallLine {
            at: timestamp(call.at),
            status: call.status,
            error: call.error.clone(),
            took_ms: call.took_ms,
        });
        let of = |Deed { at, actor, note, action }| DeedLine { at: timestamp(at), actor, action, note };
        Self {
            history: calls.collect(),
            record: deeds.into_iter().map(of).collect(),
            epoch: callback.epoch,
            line: CallbackLine::from(callback),
        }
    }
}

impl From<Stop> for StopLine {
    fn from(Stop { tenant, url, since, job }: Stop) -> Self {
        Self { tenant, url, since: timestamp(since), job: Some(job) }
    }
}
