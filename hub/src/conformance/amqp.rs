//! A worker on the broker, put through its cases.
//!
//! Each case has a worker of its own, if there is a command, and ends with the worker told to leave: what goes back to the queue then was
//! not acked.

mod cases;

use std::time::Duration;

use broker_topology::Kind;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use messaging::message::Run;
use messaging::results::JobResult;
use tokio::time::Instant;
use uuid::Uuid;

use super::book::{Book, word_of};
use super::case::{Case, Stop};
use super::command::{Command, Worker};
use super::desk::{Desk, Staff};
use super::payloads::Payloads;
use super::{Limits, Trial, Unfit};
use crate::config::Config;

/// Nothing has been said for so long: whatever was to be acked has been.
const QUIET: Duration = Duration::from_millis(500);

/// How long a worker may take to leave after a case that is not about leaving.
const LEAVE: Duration = Duration::from_secs(5);

/// How often a worker is looked at that says nothing.
const GLANCE: Duration = Duration::from_millis(50);

/// A message that was taken so long ago is being worked on.
const TAKEN: Duration = Duration::from_secs(1);

/// A worker of one kind.
pub(crate) struct Amqp {
    desk: Desk,
    command: Option<Command>,
    payloads: Payloads,
    limits: Limits,
    worker: Option<Worker>,
    /// Nothing of what was given can be in the queue.
    clean: bool,
    notes: Vec<String>,
}

impl Amqp {
    /// For the worker that `words` start, or for one that runs already when there are none.
    ///
    /// # Errors
    /// When the broker is not there, or is somebody's.
    pub(crate) async fn open(
        config: &Config,
        kind: &Kind,
        words: Vec<String>,
        verbose: bool,
        payloads: Payloads,
        limits: Limits,
    ) -> Result<Self, Unfit> {
        let staff = if words.is_empty() { Staff::Theirs } else { Staff::Ours };
        let desk = Desk::open(config, kind, staff).await?;
        let variables = desk.variables(config);
        let command = (staff == Staff::Ours).then_some(Command { words, variables, verbose });
        Ok(Self { desk, command, payloads, limits, worker: None, clean: true, notes: Vec::new() })
    }

    /// Ends everything.
    pub(crate) async fn close(mut self) {
        self.clear_up().await;
        self.desk.close().await;
    }

    fn start(&mut self) -> Result<(), Stop> {
        if let Some(command) = &self.command {
            self.worker = Some(command.start().map_err(|unfit| Stop::Unfit(unfit.0))?);
        }
        Ok(())
    }

    fn needs_command(&self) -> Result<(), Stop> {
        match self.command {
            Some(_) => Ok(()),
            None => Err(Stop::not_run("the worker is to be ended and started: give its command after `--`")),
        }
    }

    fn book(&self) -> &Book {
        &self.desk.book
    }

    /// Gives a new job.
    async fn give(&mut self, body: Bytes) -> Result<Uuid, Stop> {
        let job = Uuid::now_v7();
        self.give_run(job, Run::default(), body).await?;
        Ok(job)
    }

    async fn give_run(&mut self, job: Uuid, run: Run, body: Bytes) -> Result<(), Stop> {
        self.give_until(job, run, body, Timestamp::now() + SignedDuration::from_hours(1)).await
    }

    async fn give_until(&mut self, job: Uuid, run: Run, body: Bytes, deadline: Timestamp) -> Result<(), Stop> {
        self.clean = false;
        self.desk.give(job, run, body, deadline).await
    }

    /// Waits until `found` finds something. The worker may take the time limit from each word to the next.
    async fn until<T>(&mut self, what: &str, found: impl Fn(&Book) -> Option<T>) -> Result<T, Stop> {
        let mut heard = self.book().words();
        let mut deadline = Instant::now() + self.limits.timeout;
        let mut ended = None;
        loop {
            if let Some(found) = found(self.book()) {
                return Ok(found);
            }
            self.fits()?;
            let now = Instant::now();
            if self.book().words() > heard {
                heard = self.book().words();
                deadline = now + self.limits.timeout;
            }
            if now >= deadline {
                return Err(Stop::Fail(match ended {
                    Some(status) => format!("the worker ended ({status}) without {what}"),
                    None => format!("no {what} within {:?}", self.limits.timeout),
                }));
            }
            if ended.is_none()
                && let Some(status) = self.worker.as_mut().and_then(Worker::ended)
            {
                // What it said last may be on its way.
                ended = Some(status);
                deadline = deadline.min(now + QUIET);
            }
            self.desk.hear(deadline.min(now + GLANCE)).await?;
        }
    }

    /// The end of a run.
    async fn result(&mut self, job: Uuid, run: Run) -> Result<JobResult, Stop> {
        self.until(&format!("result of attempt {}", run.attempt), |book| book.result(job, run).cloned()).await
    }

    /// # Errors
    /// When a report could not be used by a hub.
    fn fits(&self) -> Result<(), Stop> {
        self.book().wrong().map_or(Ok(()), |why| Err(Stop::fail(why)))
    }

    /// Waits until one of the jobs is being worked on.
    async fn begun(&mut self, jobs: &[Uuid]) -> Result<(), Stop> {
        let deadline = Instant::now() + self.limits.timeout;
        let mut taken = None;
        loop {
            if jobs.iter().any(|job| self.book().is_known(*job)) {
                return Ok(());
            }
            let now = Instant::now();
            if usize::try_from(self.desk.waiting().await?).is_ok_and(|waiting| waiting < jobs.len()) {
                let since = *taken.get_or_insert(now);
                if now - since > TAKEN {
                    return Ok(());
                }
            }
            if let Some(status) = self.worker.as_mut().and_then(Worker::ended) {
                return Err(Stop::fail(format!("the worker ended ({status}) before it began a job")));
            }
            if now >= deadline {
                return Err(Stop::fail(format!("no job was taken within {:?}", self.limits.timeout)));
            }
            self.desk.hear(now + GLANCE).await?;
        }
    }

    /// Listens until nothing is said any more.
    async fn quiet(&mut self) -> Result<(), Stop> {
        let end = Instant::now() + self.limits.timeout;
        loop {
            let heard = self.book().words();
            self.desk.hear(Instant::now() + QUIET).await?;
            if self.book().words() == heard || Instant::now() > end {
                return Ok(());
            }
        }
    }

    /// Lets the worker end what it does and leave.
    ///
    /// # Errors
    /// When it has not acked everything.
    async fn settle(&mut self) -> Result<(), Stop> {
        self.quiet().await?;
        let Some(worker) = &mut self.worker else { return Ok(()) };
        if let Some(status) = worker.ended() {
            return Err(Stop::fail(format!("the worker ended ({status}) by itself")));
        }
        worker.terminate(LEAVE.min(self.limits.grace)).await;
        self.quiet().await?;
        let left = self.left().await?;
        if left.is_empty() {
            return Ok(());
        }
        let first = left[0];
        let reported = if self.book().results(first).is_empty() { "not reported" } else { "reported" };
        Err(Stop::fail(format!(
            "{} messages were in the queue again when the worker had left (job {first}, {reported}): ack each once its end is reported",
            left.len()
        )))
    }

    /// Takes away what is in the queue again, after its worker is gone.
    async fn left(&mut self) -> Result<Vec<Uuid>, Stop> {
        let left = self.desk.left().await?;
        self.clean = true;
        Ok(left)
    }

    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

impl Trial for Amqp {
    async fn put_through(&mut self, case: Case) -> Result<(), Stop> {
        self.desk.book.turn_page();
        match case {
            Case::Normal => self.normal().await?,
            Case::Duplicate => self.duplicate().await?,
            Case::Slow => self.slow().await?,
            Case::Progress => self.progress().await?,
            Case::Retry => self.retry().await?,
            Case::Poison => self.poison().await?,
            Case::Oversize => self.oversize().await?,
            Case::LateResult => self.late_result().await?,
            Case::CrashAndRestart => self.crash_and_restart().await?,
            Case::Drain => self.drain().await?,
        }
        // What came after the case had what it waited for.
        self.fits()
    }

    async fn clear_up(&mut self) -> (Vec<String>, Vec<String>) {
        let mut output = Vec::new();
        if let Some(mut worker) = self.worker.take() {
            worker.kill().await;
            output = worker.output();
        }
        if self.command.is_some() && !self.clean {
            // What it leaves is ours, and the next case has a queue of its own.
            let _ = self.quiet().await;
            let _ = self.left().await;
        }
        (std::mem::take(&mut self.notes), output)
    }
}

/// An end for people.
fn shown(result: &JobResult) -> String {
    match &result.failure {
        Some(failure) => {
            format!("`{}` ({}: {})", word_of(result), failure.code, failure.message.chars().take(200).collect::<String>())
        }
        None => format!("`{}`", word_of(result)),
    }
}
