//! From rows of either database to the types of the store, written once.
//!
//! A generic function would need a page of bounds; [`decoders`] writes the same functions for each row type instead.
//! Columns are read by position, in the order of the lists below, which every statement uses.

use super::{Priority, StoreError};

/// The columns of a [`super::Job`], in the order [`decoders`] reads them.
macro_rules! job_columns {
    ($table:literal) => {
        concat!(
            $table,
            ".id, ",
            $table,
            ".kind, ",
            $table,
            ".tenant, ",
            $table,
            ".version, ",
            $table,
            ".state, ",
            $table,
            ".epoch, ",
            $table,
            ".attempt, ",
            $table,
            ".spent, ",
            $table,
            ".starts, ",
            $table,
            ".interrupted, ",
            $table,
            ".lease, ",
            $table,
            ".owner, ",
            $table,
            ".due_at, ",
            $table,
            ".outlet, ",
            $table,
            ".deadline, ",
            $table,
            ".started_at, ",
            $table,
            ".ended_at, ",
            $table,
            ".updated_at, ",
            $table,
            ".reason, ",
            $table,
            ".error, ",
            $table,
            ".cancel_epoch, ",
            $table,
            ".priority, ",
            $table,
            ".worker, ",
            $table,
            ".http_status"
        )
    };
}
pub(super) use job_columns;

/// How many columns [`job_columns`] names.
pub(super) const JOB_WIDTH: usize = 24;

/// The columns of a [`super::Payload`].
macro_rules! payload_columns {
    ($table:literal) => {
        concat!($table, ".subject, ", $table, ".content_type, ", $table, ".body, ", $table, ".traceparent")
    };
}
pub(super) use payload_columns;

/// The columns of a [`super::Progress`], each with `$table` before it.
macro_rules! progress_columns {
    ($table:literal) => {
        concat!($table, "epoch, ", $table, "attempt, ", $table, "lease, ", $table, "percent, ", $table, "note, ", $table, "at")
    };
}
pub(super) use progress_columns;

/// The columns of a [`super::Outline`]: neither database reads a body to tell its length.
macro_rules! outline_columns {
    ($table:literal) => {
        concat!($table, ".subject, ", $table, ".content_type, CAST(octet_length(", $table, ".body) AS bigint)")
    };
}
pub(super) use outline_columns;

/// How many columns [`outline_columns`] names.
pub(super) const OUTLINE_WIDTH: usize = 3;

/// The columns of a [`super::DeadLetter`].
macro_rules! letter_columns {
    () => {
        "id, queue, message_id, epoch, attempt, job_id, kind, tenant, reason, error, headers, content_type, body, died_at, \
         state, actor, note, updated_at, fingerprint, code, title"
    };
}
pub(super) use letter_columns;

/// The columns of an [`super::AuditRecord`].
macro_rules! audit_columns {
    () => {
        "at, actor, note, from_state, to_state, number, letter, tenant, selection"
    };
}
pub(super) use audit_columns;

/// The columns of a [`super::Selection`].
macro_rules! selection_columns {
    () => {
        "id, tenant, filter, created_by, created_at, expires_at, action, forced, rate, actor, note, acted_at, finished_at"
    };
}
pub(super) use selection_columns;

/// A value in the database that this binary has no word for.
pub(super) fn foreign(what: &str, value: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unusable(format!(
        "the database holds the {what} `{value}`, which this version of Warren does not know: it was written by a newer one"
    ))
}

/// The class stored as `number`.
pub(super) fn priority(number: i16) -> Result<Priority, StoreError> {
    super::stored::priority_from(number).ok_or_else(|| foreign("priority", &number))
}

/// Writes the decoding functions for a row type.
macro_rules! decoders {
    ($row:ty) => {
        use crate::fingerprint::Fingerprint;
        use crate::store::row::{foreign, priority};
        use crate::store::{
            Acting, Action, AuditEntry, AuditRecord, Callback, CallbackState, DeadGroup, DeadLetter, DeadState, Deed, Job, Lane,
            NewDeadLetter, Outlet, Outline, Pause, Payload, Picked, ProcessId, Progress, Refusal, Selection, State, Status, Stop,
            StoreError, Tally, Target,
        };
        use database::damaged;
        use sqlx::Row;

        /// A column.
        pub(crate) fn get<'r, T>(row: &'r $row, at: usize) -> Result<T, StoreError>
        where
            T: sqlx::Decode<'r, <$row as Row>::Database> + sqlx::Type<<$row as Row>::Database>,
        {
            row.try_get(at).map_err(damaged)
        }

        /// The job in the first columns.
        pub(crate) fn job(row: &$row) -> Result<Job, StoreError> {
            let state: i16 = get(row, 4)?;
            let outlet: Option<&str> = get(row, 13)?;
            Ok(Job {
                id: get(row, 0)?,
                kind: get(row, 1)?,
                tenant: get(row, 2)?,
                version: get(row, 3)?,
                priority: get::<i16>(row, 21).and_then(priority)?,
                status: Status {
                    state: State::from_stored(state).ok_or_else(|| foreign("job state", &state))?,
                    epoch: get(row, 5)?,
                    attempt: get(row, 6)?,
                    spent: get(row, 7)?,
                    starts: get(row, 8)?,
                    interrupted: get(row, 9)?,
                    lease: get(row, 10)?,
                    owner: get::<Option<i64>>(row, 11)?.map(ProcessId),
                    due_at: get(row, 12)?,
                    outlet: outlet.map(|word| Outlet::from_stored(word).ok_or_else(|| foreign("outlet", &word))).transpose()?,
                    deadline: get(row, 14)?,
                    started_at: get(row, 15)?,
                    ended_at: get(row, 16)?,
                    updated_at: get(row, 17)?,
                    reason: get(row, 18)?,
                    error: get(row, 19)?,
                    cancel_epoch: get(row, 20)?,
                    worker: get(row, 22)?,
                    http_status: get(row, 23)?,
                },
            })
        }

        /// A lane.
        pub(crate) fn lane(row: &$row) -> Result<Lane, StoreError> {
            Ok(Lane { kind: get(row, 0)?, tenant: get(row, 1)?, priority: get::<i16>(row, 2).and_then(priority)? })
        }

        /// The payload in the columns from `at`.
        pub(crate) fn payload(row: &$row, at: usize) -> Result<Payload, StoreError> {
            Ok(Payload {
                subject: get(row, at)?,
                content_type: get(row, at + 1)?,
                body: get::<Vec<u8>>(row, at + 2)?.into(),
                traceparent: get(row, at + 3)?,
            })
        }

        /// How far a job is, in the columns from `at`.
        pub(crate) fn progress(row: &$row, at: usize) -> Result<Progress, StoreError> {
            Ok(Progress {
                epoch: get(row, at)?,
                attempt: get(row, at + 1)?,
                lease: get(row, at + 2)?,
                percent: get(row, at + 3)?,
                note: get(row, at + 4)?,
                at: get(row, at + 5)?,
            })
        }

        /// The outline of a payload in the columns from `at`.
        pub(crate) fn outline(row: &$row, at: usize) -> Result<Outline, StoreError> {
            Ok(Outline { subject: get(row, at)?, content_type: get(row, at + 1)?, size: count(row, at + 2)? })
        }

        /// The 32 bytes of a hash.
        pub(crate) fn hash(row: &$row, at: usize) -> Result<[u8; 32], StoreError> {
            get::<&[u8]>(row, at)?.try_into().map_err(|_| damaged("a hash that is not 32 bytes"))
        }

        /// A number that counts.
        pub(crate) fn count(row: &$row, at: usize) -> Result<u64, StoreError> {
            u64::try_from(get::<i64>(row, at)?).map_err(damaged)
        }

        /// The state of a job.
        pub(crate) fn state(row: &$row, at: usize) -> Result<State, StoreError> {
            let state: i16 = get(row, at)?;
            State::from_stored(state).ok_or_else(|| foreign("job state", &state))
        }

        fn dead_state(row: &$row, at: usize) -> Result<DeadState, StoreError> {
            let state: i16 = get(row, at)?;
            DeadState::from_stored(state).ok_or_else(|| foreign("dead letter state", &state))
        }

        /// A dead letter.
        pub(crate) fn letter(row: &$row) -> Result<DeadLetter, StoreError> {
            Ok(DeadLetter {
                id: get(row, 0)?,
                letter: NewDeadLetter {
                    queue: get(row, 1)?,
                    message_id: get(row, 2)?,
                    epoch: get(row, 3)?,
                    attempt: get(row, 4)?,
                    job_id: get(row, 5)?,
                    kind: get(row, 6)?,
                    tenant: get(row, 7)?,
                    reason: get(row, 8)?,
                    error: get(row, 9)?,
                    headers: serde_json::from_str(get(row, 10)?).map_err(damaged)?,
                    content_type: get(row, 11)?,
                    body: get::<Vec<u8>>(row, 12)?.into(),
                    died_at: get(row, 13)?,
                },
                state: dead_state(row, 14)?,
                actor: get(row, 15)?,
                note: get(row, 16)?,
                updated_at: get(row, 17)?,
                fingerprint: fingerprint(row, 18)?,
            })
        }

        /// A fingerprint in the columns from `at`.
        fn fingerprint(row: &$row, at: usize) -> Result<Fingerprint, StoreError> {
            Ok(Fingerprint { hash: get(row, at)?, code: get(row, at + 1)?, title: get(row, at + 2)? })
        }

        /// A group of dead letters.
        pub(crate) fn group(row: &$row) -> Result<DeadGroup, StoreError> {
            Ok(DeadGroup {
                fingerprint: fingerprint(row, 0)?,
                kind: get(row, 3)?,
                reason: get(row, 4)?,
                queue: get(row, 5)?,
                count: count(row, 6)?,
                first_at: get(row, 7)?,
                latest_at: get(row, 8)?,
                latest: get(row, 9)?,
            })
        }

        /// A selection.
        pub(crate) fn selection(row: &$row) -> Result<Selection, StoreError> {
            let acting = match get::<Option<i16>>(row, 6)? {
                None => None,
                Some(action) => Some(Acting {
                    action: Action::from_stored(action).ok_or_else(|| foreign("action", &action))?,
                    force: get(row, 7)?,
                    rate: u32::try_from(get::<i32>(row, 8)?).map_err(damaged)?,
                    actor: get(row, 9)?,
                    note: get(row, 10)?,
                    at: get::<Option<i64>>(row, 11)?.unwrap_or_default(),
                }),
            };
            Ok(Selection {
                id: get(row, 0)?,
                tenant: get(row, 1)?,
                filter: serde_json::from_str(get(row, 2)?).map_err(damaged)?,
                created_by: get(row, 3)?,
                created_at: get(row, 4)?,
                expires_at: get(row, 5)?,
                acting,
                finished_at: get(row, 12)?,
            })
        }

        /// A letter of `selection` in its place.
        pub(crate) fn picked(selection: uuid::Uuid, row: &$row) -> Result<(Picked, uuid::Uuid), StoreError> {
            Ok((Picked { selection, number: get(row, 0)? }, get(row, 1)?))
        }

        /// A letter that was not moved.
        pub(crate) fn refusal(row: &$row) -> Result<Refusal, StoreError> {
            Ok(Refusal { number: get(row, 0)?, letter: get(row, 1)?, why: get(row, 2)? })
        }

        /// How far a selection has come, from rows of an outcome and a count.
        pub(crate) fn tally(rows: &[$row]) -> Result<Tally, StoreError> {
            let mut tally = Tally::default();
            for row in rows {
                let place = match get::<i16>(row, 0)? {
                    0 => &mut tally.waiting,
                    1 => &mut tally.moved,
                    2 => &mut tally.refused,
                    other => return Err(foreign("outcome of a letter", &other)),
                };
                *place = count(row, 1)?;
            }
            Ok(tally)
        }

        /// A line of the audit, with what it is about.
        pub(crate) fn audit_record(row: &$row) -> Result<AuditRecord, StoreError> {
            Ok(AuditRecord {
                entry: audit(row)?,
                number: get(row, 5)?,
                letter: get(row, 6)?,
                tenant: get(row, 7)?,
                selection: get(row, 8)?,
            })
        }

        /// The callback in the first columns.
        pub(crate) fn callback(row: &$row) -> Result<Callback, StoreError> {
            let state: i16 = get(row, 4)?;
            Ok(Callback {
                job: get(row, 0)?,
                tenant: get(row, 1)?,
                target: Target { url: get(row, 2)?, host: get(row, 3)? },
                state: CallbackState::from_stored(state).ok_or_else(|| foreign("callback state", &state))?,
                epoch: get(row, 5)?,
                calls: get(row, 6)?,
                claim: get(row, 7)?,
                due_at: get(row, 8)?,
                history: serde_json::from_str(get(row, 9)?).map_err(damaged)?,
                updated_at: get(row, 10)?,
            })
        }

        /// An address that is not called.
        pub(crate) fn stop(row: &$row) -> Result<Stop, StoreError> {
            Ok(Stop { tenant: get(row, 0)?, url: get(row, 1)?, since: get(row, 2)?, job: get(row, 3)? })
        }

        /// Something an operator did to a callback.
        pub(crate) fn deed(row: &$row) -> Result<Deed, StoreError> {
            Ok(Deed { at: get(row, 0)?, actor: get(row, 1)?, note: get(row, 2)?, action: get(row, 3)? })
        }

        /// A pause or its end.
        pub(crate) fn pause(row: &$row) -> Result<Pause, StoreError> {
            Ok(Pause { kind: get(row, 0)?, at: get(row, 1)?, paused: get(row, 2)?, actor: get(row, 3)?, note: get(row, 4)? })
        }

        /// A line of the audit.
        pub(crate) fn audit(row: &$row) -> Result<AuditEntry, StoreError> {
            Ok(AuditEntry {
                at: get(row, 0)?,
                actor: get(row, 1)?,
                note: get(row, 2)?,
                from: dead_state(row, 3)?,
                to: dead_state(row, 4)?,
            })
        }
    };
}
pub(super) use decoders;
