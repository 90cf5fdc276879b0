//! Searches: what is looked for, within which bounds, and what a page answers.

use uuid::Uuid;

use super::stored::first_id_at;
use super::{Job, JobFilter, Micros, StoreError};
use crate::tags::Tags;

/// Which jobs to look for, newest first, and how far. The cost of a page is `scan` rows at most, however rare the matches; with
/// tags these are rows that have the first of them.
#[derive(Clone, Debug, Default)]
pub struct JobSearch {
    /// Only those that match, `limit` of them at most.
    pub filter: JobFilter,
    /// Only those that have all of these, which are a tenant's: with tags, the filter names one.
    pub tags: Tags,
    /// Only those that this subject submitted.
    pub subject: Option<String>,
    /// Only those accepted at this time or later, to the millisecond.
    pub since: Option<Micros>,
    /// Only those accepted before this time, to the millisecond.
    pub until: Option<Micros>,
    /// How many rows are looked at, at most.
    pub scan: u32,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Newest first; maybe none although there are more further on.
    pub jobs: Vec<Job>,
    /// Where to go on, as the next [`JobFilter::before`]; `None` at the end.
    pub next: Option<Uuid>,
}

/// A search by tags.
pub(super) struct ByTag<'a> {
    /// Whose.
    pub(super) tenant: &'a str,
    /// The one to walk down.
    pub(super) first: &'a str,
    /// Those that a match has too.
    pub(super) others: Vec<&'a str>,
}

impl JobSearch {
    /// By which tags; `None` when none is asked for.
    pub(super) fn by_tag(&self) -> Result<Option<ByTag<'_>>, StoreError> {
        let mut tags = self.tags.iter();
        let Some(first) = tags.next() else { return Ok(None) };
        match self.filter.tenant.as_deref() {
            Some(tenant) => Ok(Some(ByTag { tenant, first, others: tags.collect() })),
            None => Err(StoreError::Refused("tags are looked for within a tenant".to_owned())),
        }
    }

    /// Ids before the first, and from the second on.
    pub(super) fn bounds(&self) -> (Uuid, Uuid) {
        let until = self.until.map_or(Uuid::max(), first_id_at);
        (self.filter.before.unwrap_or(Uuid::max()).min(until), self.since.map_or(Uuid::nil(), first_id_at))
    }

    /// What a page is that found `jobs`, with `floor` the last row it looked at if it looked at as many as it may.
    pub(super) fn found(&self, jobs: Vec<Job>, floor: Option<Uuid>) -> Found {
        let full = jobs.len() >= self.filter.limit as usize;
        let next = if full { jobs.last().map(|job| job.id) } else { floor };
        Found { jobs, next }
    }
}
