//! What is refused of jobs, as problem documents.

use door::problem::{Code, Problem, shown};

use crate::accept::{AcceptError, PRIORITY_HEADER, PriorityError};
use crate::callbacks::{CALLBACK_HEADER, CallbackError};

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::UnknownKind(kind) => unknown_kind(&kind),
            AcceptError::Timing(error) => {
                let header = match error.field {
                    "run_at" => "warren-run-at",
                    "delay" => "warren-delay",
                    _ => "warren-deadline",
                };
                Self::new(Code::InvalidTiming, format!("`{header}` {}", error.why)).header(header, error.why)
            }
            AcceptError::Priority(error) => priority(&error),
            AcceptError::Callback(error) => callback(&error).header(CALLBACK_HEADER, error.to_string()),
            AcceptError::KeyReused => Self::new(
                Code::IdempotencyKeyReused,
                "this Idempotency-Key was used for a request with another body, type, time, priority, callback or tags: take a fresh key for a new job",
            ),
            AcceptError::Undecided => Self::new(
                Code::IdempotencyKeyUndecided,
                "the first request with this Idempotency-Key is not decided yet: send the same request again",
            )
            .retry_after(1),
            AcceptError::Backlog { retry_after } => {
                Self::new(Code::BacklogFull, "too many jobs wait to be published: send the same request again later")
                    .retry_after(retry_after.as_secs().max(1))
            }
            AcceptError::TenantBacklog { retry_after } => {
                let detail = "too many jobs of this tenant wait to be published: send the same request again later";
                Self::new(Code::BacklogFull, detail).retry_after(retry_after.as_secs().max(1))
            }
            AcceptError::Overloaded { retry_after } => {
                let detail = "the job would wait longer than its kind allows: what it calls is held back, or too many are before it; \
                              send the same request again later";
                Self::new(Code::Overloaded, detail).retry_after(retry_after.as_secs().max(1))
            }
            AcceptError::Unavailable(why) => Self::store_unavailable(&why),
            AcceptError::Refused(why) => {
                tracing::warn!("the store refused a job: {why}");
                Self::new(Code::Refused, "the database refuses this very job; the hub's log says why")
            }
        }
    }
}

/// The refusal of a kind that is not there.
pub(super) fn unknown_kind(kind: &str) -> Problem {
    Problem::new(Code::UnknownKind, format!("there is no kind `{}`: GET /v1/kinds lists those there are", shown(kind)))
}

/// The refusal of a `Warren-Priority`.
pub(super) fn priority(error: &PriorityError) -> Problem {
    Problem::new(Code::InvalidPriority, format!("`{PRIORITY_HEADER}` {error}")).header(PRIORITY_HEADER, error.to_string())
}

/// The refusal of a callback.
pub(super) fn callback(error: &CallbackError) -> Problem {
    match error {
        CallbackError::Url(why) => Problem::new(Code::InvalidCallback, format!("the callback {why}")),
        CallbackError::NoSecret => Problem::new(Code::CallbackSecretMissing, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_reason_has_its_code_and_says_when_to_come_back() {
        let secret = || "password=canary".to_owned();
        let all = [
            (AcceptError::UnknownKind("a\nb".to_owned()), Code::UnknownKind, None),
            (AcceptError::KeyReused, Code::IdempotencyKeyReused, None),
            (AcceptError::Undecided, Code::IdempotencyKeyUndecided, Some(1)),
            (AcceptError::Backlog { retry_after: Duration::from_secs(5) }, Code::BacklogFull, Some(5)),
            (AcceptError::Backlog { retry_after: Duration::ZERO }, Code::BacklogFull, Some(1)),
            (AcceptError::TenantBacklog { retry_after: Duration::from_secs(5) }, Code::BacklogFull, Some(5)),
            (AcceptError::Overloaded { retry_after: Duration::from_millis(90_500) }, Code::Overloaded, Some(90)),
            (AcceptError::Unavailable(secret()), Code::StoreUnavailable, Some(1)),
            (AcceptError::Refused(secret()), Code::Refused, None),
        ];
        for (error, code, retry_after) in all {
            let problem = Problem::from(error);
            assert_eq!((problem.code, problem.retry_after), (code, retry_after));
            assert!(!problem.detail.contains("canary") && !problem.detail.contains('\n'), "{}", problem.detail);
        }
    }
}
