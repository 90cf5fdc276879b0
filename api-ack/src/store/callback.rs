//! What is kept about the callbacks of jobs, and the port to it.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Micros, StoreError};

/// Calls that a callback remembers, the latest ones.
pub const CALLS: usize = 20;

/// Where a job's callback goes: stored with the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address, at most 2000 bytes.
    pub url: String,
    /// Its host and port: calls of one host take turns.
    pub host: String,
}

/// How a callback stands. Stored as the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(i16)]
pub enum CallbackState {
    /// The job has not ended.
    Waiting = 0,
    /// The job has ended, and its receiver has yet to hear of it.
    Owed = 1,
    /// The receiver has said that it got it.
    Delivered = 2,
    /// Given up: every call of the schedule failed.
    Failed = 3,
    /// Given up: the receiver has said 410, to this call or to another one.
    Disabled = 4,
}

/// The callback of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Callback {
    /// The job.
    pub job: Uuid,
    /// Whose it is.
    pub tenant: String,
    /// Where it goes.
    pub target: Target,
    /// How it stands.
    pub state: CallbackState,
    /// Of which epoch of the job it tells the end; 0 before there is one.
    pub epoch: i32,
    /// Calls begun since it is owed, or was redriven.
    pub calls: i32,
    /// Grows with every claim, and whenever it is owed anew: what comes of earlier ones is void.
    pub claim: i64,
    /// `Some` exactly while it is owed: the next call is not before this.
    pub due_at: Option<Micros>,
    /// The latest calls, oldest first; [`CALLS`] at most.
    pub history: Vec<Call>,
    /// When it last changed.
    pub updated_at: Micros,
}

/// A call that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// When it was made.
    pub at: Micros,
    /// What was answered, if there was an answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// Why it was no success, for people; at most 1 KiB.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u32,
}

/// A callback that the caller has claimed.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The callback, as it is now.
    pub callback: Callback,
    /// Its address has answered 410 before: it is not to be called.
    pub stopped: bool,
}

/// What becomes of a claimed callback.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// The job.
    pub job: Uuid,
    /// The claim: void if it is not the row's any more.
    pub claim: i64,
    /// How it stands now.
    pub state: CallbackState,
    /// `Some` exactly if it is still owed.
    pub due_at: Option<Micros>,
    /// All of the history there is to be.
    pub history: Vec<Call>,
    /// When.
    pub at: Micros,
    /// Its address is to be called no more for its tenant.
    pub stop: bool,
}

/// Which callbacks to list; newest job first.
#[derive(Clone, Debug, Default)]
pub struct CallbackFilter {
    /// Only this tenant.
    pub tenant: Option<String>,
    /// Only this state.
    pub state: Option<CallbackState>,
    /// Only of jobs before this one: the last of the page before.
    pub before: Option<Uuid>,
    /// Rows to look at, at most.
    pub scan: u32,
    /// At most this many.
    pub limit: u32,
}

/// A page of callbacks.
#[derive(Clone, Debug, Default)]
pub struct FoundCallbacks {
    /// Those that match.
    pub callbacks: Vec<Callback>,
    /// Where to go on, if not all was looked at.
    pub next: Option<Uuid>,
}

/// An address that a tenant's callbacks do not call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Whose.
    pub tenant: String,
    /// The address.
    pub url: String,
    /// Since when.
    pub since: Micros,
    /// The job whose callback was answered 410.
    pub job: Uuid,
}

/// Something an operator did, on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// When.
    pub at: Micros,
    /// Who.
    pub actor: String,
    /// The reason they gave.
    pub note: String,
    /// `redrive` or `enable`.
    pub action: String,
}

/// What became of a wish to call again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recalled {
    /// It is owed again, with a schedule from the beginning.
    Done,
    /// The job has none.
    Unknown,
    /// It is owed already, or the job has not ended.
    UnderWay(CallbackState),
    /// Its address has answered 410.
    Stopped,
}

/// The callbacks of jobs. They are stored with their jobs ([`super::NewJob::callback`]) and go with them.
///
/// Every method is one transaction.
#[async_trait]
pub trait CallbackStore: Send + Sync + 'static {
    /// Makes the callbacks of jobs that have ended due at `now`; at most `limit`. Answers how many. A job that ended again after a
    /// redrive is told anew. Costs a look into an index that holds only jobs of this sort.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn owe(&self, now: Micros, limit: u32) -> Result<u64, StoreError>;

    /// Hosts with callbacks that are owed, by name, from behind `after` on, each with when its next one is due; at most `limit`.
    /// The cost is per host, not per callback.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn owed_hosts(&self, after: &str, limit: u32) -> Result<Vec<(String, Micros)>, StoreError>;

    /// Takes up to `limit` callbacks of a host that are due at `now`, oldest first, for a call each: until `until` nobody else has them.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn claim_callbacks(&self, host: &str, now: Micros, until: Micros, limit: u32) -> Result<Vec<Claimed>, StoreError>;

    /// Puts down what became of a claimed callback, if the claim still counts; answers whether it did.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn settle(&self, settled: &Settled) -> Result<bool, StoreError>;

    /// The callback of a job.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn callback(&self, job: Uuid) -> Result<Option<Callback>, StoreError>;

    /// Callbacks that match, newest job first, within [`CallbackFilter::scan`] rows.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn callbacks(&self, filter: &CallbackFilter) -> Result<FoundCallbacks, StoreError>;

    /// How many callbacks are owed; counting stops at `limit`.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn count_owed(&self, limit: u32) -> Result<u64, StoreError>;

    /// Owes a callback anew that was delivered or given up, and puts it on record.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn recall(&self, job: Uuid, deed: &Deed) -> Result<Recalled, StoreError>;

    /// Addresses that are not called, of one tenant or of all, by tenant and address; at most `limit`, from behind `after` on.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn stops(&self, tenant: Option<&str>, after: (&str, &str), limit: u32) -> Result<Vec<Stop>, StoreError>;

    /// Lets an address be called again, and puts it on record; answers whether it was stopped.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn unstop(&self, tenant: &str, url: &str, deed: &Deed) -> Result<bool, StoreError>;

    /// What operators did to the callback of a job, oldest first.
    ///
    /// # Errors
    /// As [`StoreError`].
    async fn deeds(&self, job: Uuid) -> Result<Vec<Deed>, StoreError>;
}

impl CallbackState {
    /// Every state, in the order of its number.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Owed, Self::Delivered, Self::Failed, Self::Disabled];

    /// The number it is stored as.
    pub fn stored(self) -> i16 {
        self as i16
    }

    /// The state stored as `number`.
    pub fn from_stored(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.stored() == number)
    }
}

/// As text, for the column `history`.
pub(super) fn written(history: &[Call]) -> Result<String, StoreError> {
    let latest = &history[history.len().saturating_sub(CALLS)..];
    serde_json::to_string(latest).map_err(|error| StoreError::Refused(error.to_string()))
}

/// The columns of a [`Callback`], each with `$table` before it.
macro_rules! callback_columns {
    ($table:literal) => {
        concat!(
            $table,
            "job_id, ",
            $table,
            "tenant, ",
            $table,
            "url, ",
            $table,
            "host, ",
            $table,
            "state, ",
            $table,
            "epoch, ",
            $table,
            "calls, ",
            $table,
            "claim, ",
            $table,
            "due_at, ",
            $table,
            "history, ",
            $table,
            "updated_at"
        )
    };
}
pub(super) use callback_columns;

/// How many columns [`callback_columns`] names.
pub(super) const CALLBACK_WIDTH: usize = 11;

impl Callback {
    /// What becomes of a wish to call again.
    pub(super) fn recalled(&self, stopped: bool) -> Recalled {
        match self.state {
            CallbackState::Waiting | CallbackState::Owed => Recalled::UnderWay(self.state),
            _ if stopped => Recalled::Stopped,
            CallbackState::Delivered | CallbackState::Failed | CallbackState::Disabled => Recalled::Done,
        }
    }
}

impl CallbackFilter {
    /// The page of what was found above `floor`, where the look ended; none if it went to the last row.
    pub(super) fn found(&self, callbacks: Vec<Callback>, floor: Option<Uuid>) -> FoundCallbacks {
        let full = callbacks.len() as u64 >= u64::from(self.limit);
        let next = if full { callbacks.last().map(|last| last.job) } else { floor };
        FoundCallbacks { callbacks, next }
    }
}
