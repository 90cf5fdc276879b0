//! What a worker on the broker is put through.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use messaging::message::Run;
use messaging::results::Reported;
use uuid::Uuid;

use super::{Amqp, QUIET, shown};
use crate::conformance::case::Stop;
use tokio::time::Instant;

/// How many jobs are in flight when a worker is told to leave.
const IN_FLIGHT: usize = 4;

impl Amqp {
    /// One job: its end is reported, its message acked.
    pub(super) async fn normal(&mut self) -> Result<(), Stop> {
        self.start()?;
        self.ordinary().await?;
        self.settle().await
    }

    /// A job, and its end.
    async fn ordinary(&mut self) -> Result<(), Stop> {
        let job = self.give(self.payloads.normal.clone()).await?;
        let result = self.result(job, Run::default()).await?;
        let note = format!("the normal job ended as {}: give one that works with --payload FILE", shown(&result));
        if result.outcome != Reported::Succeeded && !self.notes.contains(&note) {
            self.note(note);
        }
        Ok(())
    }

    /// The same message twice: one effect, the same end, both acked.
    pub(super) async fn duplicate(&mut self) -> Result<(), Stop> {
        self.start()?;
        let job = self.give(self.payloads.normal.clone()).await?;
        self.give_run(job, Run::default(), self.payloads.normal.clone()).await?;
        self.result(job, Run::default()).await?;
        // Of the second nothing need be said: what comes after it has been dealt with after it.
        self.ordinary().await?;
        self.settle().await?;
        self.book().alike(job)
    }

    /// A job that takes its time, while the connection lives on.
    pub(super) async fn slow(&mut self) -> Result<(), Stop> {
        let slow = self.slow_payload()?;
        self.start()?;
        let job = self.give(slow).await?;
        self.result(job, Run::default()).await?;
        self.settle().await?;
        match self.book().starts(job) {
            0 | 1 => Ok(()),
            starts => Err(Stop::fail(format!(
                "it was begun {starts} times: the connection was lost meanwhile, so answer heartbeats while a job runs"
            ))),
        }
    }

    fn slow_payload(&self) -> Result<Bytes, Stop> {
        let why = "give a job that takes three to ten seconds with --payload slow=FILE";
        self.payloads.slow.clone().ok_or_else(|| Stop::not_run(why))
    }

    /// A job that says how far it is.
    pub(super) async fn progress(&mut self) -> Result<(), Stop> {
        let why = "give a job that reports progress with --payload progress=FILE";
        let payload = self.payloads.progress.clone().ok_or_else(|| Stop::not_run(why))?;
        self.start()?;
        let job = self.give(payload).await?;
        self.result(job, Run::default()).await?;
        self.settle().await?;
        let said = self.book().progress(job);
        if said.is_empty() {
            return Err(Stop::fail("it ended without a message of type `warren.progress`"));
        }
        if !said.is_sorted() {
            self.note(format!("the percentage goes back: {said:?}"));
        }
        Ok(())
    }

    /// A first attempt that fails, and a second one of its own.
    pub(super) async fn retry(&mut self) -> Result<(), Stop> {
        let why = "give a job whose first attempt fails and whose second works with --payload retry=FILE";
        let payload = self.payloads.retry.clone().ok_or_else(|| Stop::not_run(why))?;
        self.start()?;
        let (first, second) = (Run::default(), Run { attempt: 2, ..Run::default() });
        let job = self.give(payload.clone()).await?;
        let failed = self.result(job, first).await?;
        let next = match (failed.outcome, &failed.failure) {
            (Reported::Failed, Some(failure)) if !failure.code.is_empty() => second,
            (Reported::Failed, _) => {
                return Err(Stop::fail("the first attempt failed without a `failure.code`: failures are told apart by it"));
            }
            // No attempt is spent.
            (Reported::Snoozed, _) => first,
            _ => {
                let ended = shown(&failed);
                return Err(Stop::fail(format!("the first attempt ended as {ended}: report `failed` what may work later")));
            }
        };
        self.give_run(job, next, payload).await?;
        let what = format!("second result, of attempt {}", next.attempt);
        let last = self.until(&what, |book| book.results(job).get(1).map(|(run, result)| (*run, (*result).clone()))).await?;
        match last {
            (run, result) if run == next && result.outcome == Reported::Succeeded => self.settle().await,
            (run, result) => Err(Stop::fail(format!(
                "then attempt {} ended as {}, and not attempt {} well",
                run.attempt,
                shown(&result),
                next.attempt
            ))),
        }
    }

    /// What is no job: given away for good, and the worker goes on.
    pub(super) async fn poison(&mut self) -> Result<(), Stop> {
        self.start()?;
        let poison =
            [("bytes that are no JSON", Bytes::from_static(b"\x00\xff{\"no")), ("another shape", self.payloads.poison.clone())];
        for (what, body) in poison {
            let job = self.give(body).await?;
            let ended = self
                .until(&format!("result for {what}"), |book| {
                    let result = book.result(job, Run::default()).cloned();
                    (result.is_some() || book.is_rejected(job)).then_some(result)
                })
                .await?;
            match ended {
                Some(result) if matches!(result.outcome, Reported::Failed | Reported::Snoozed) => {
                    let ended = shown(&result);
                    return Err(Stop::fail(format!("{what} ended as {ended}, to be tried again in vain: report `rejected`")));
                }
                Some(result) if result.outcome == Reported::Succeeded => self.note(format!("{what} succeeded")),
                _ => {}
            }
        }
        self.ordinary().await?;
        self.settle().await
    }

    /// A result that is too large: reported as a failure, or shortened.
    pub(super) async fn oversize(&mut self) -> Result<(), Stop> {
        let why = "give a job whose result would be over 64 KiB with --payload oversize=FILE";
        let payload = self.payloads.oversize.clone().ok_or_else(|| Stop::not_run(why))?;
        self.start()?;
        let job = self.give(payload).await?;
        self.result(job, Run::default()).await?;
        self.ordinary().await?;
        self.settle().await
    }

    /// A job whose deadline is over, and one that comes again after its end.
    pub(super) async fn late_result(&mut self) -> Result<(), Stop> {
        self.start()?;
        let (late, body) = (Uuid::now_v7(), self.payloads.normal.clone());
        self.give_until(late, Run::default(), body.clone(), Timestamp::now() - SignedDuration::from_mins(1)).await?;
        // Of a late one nothing need be said: what comes after it has been dealt with after it.
        self.ordinary().await?;
        let again = self.give(body.clone()).await?;
        self.result(again, Run::default()).await?;
        self.give_run(again, Run::default(), body).await?;
        self.ordinary().await?;
        self.settle().await?;
        self.book().alike(late)?;
        self.book().alike(again)
    }

    /// Killed in the middle: the message comes again, and the job ends once.
    pub(super) async fn crash_and_restart(&mut self) -> Result<(), Stop> {
        self.needs_command()?;
        let slow = self.slow_payload()?;
        self.start()?;
        let job = self.give(slow).await?;
        self.begun(&[job]).await?;
        if let Some(mut worker) = self.worker.take() {
            worker.kill().await;
        }
        self.quiet().await?;
        self.fits()?;
        if self.book().result(job, Run::default()).is_some() {
            return Err(Stop::not_run(
                "the job ended before the worker was killed: let the one of --payload slow=FILE take longer",
            ));
        }
        self.start()?;
        let ended = self.result(job, Run::default()).await;
        ended.map_err(|stop| match stop {
            Stop::Fail(why) => Stop::Fail(format!("{why} after a kill -9 and a new start: ack only once the end is reported")),
            other => other,
        })?;
        self.settle().await?;
        self.book().alike(job)
    }

    /// Told to leave with jobs in flight: each is reported or goes back, and the process ends.
    pub(super) async fn drain(&mut self) -> Result<(), Stop> {
        self.needs_command()?;
        self.start()?;
        let payload = self.payloads.slow.clone().unwrap_or_else(|| self.payloads.normal.clone());
        let mut jobs = Vec::with_capacity(IN_FLIGHT);
        for _ in 0..IN_FLIGHT {
            jobs.push(self.give(payload.clone()).await?);
        }
        self.begun(&jobs).await?;
        // The others begin at about the same time, if they do.
        self.desk.hear(Instant::now() + QUIET).await?;
        let grace = self.limits.grace;
        let Some(worker) = &mut self.worker else { return Ok(()) };
        if let Some(status) = worker.ended() {
            return Err(Stop::fail(format!("the worker ended ({status}) by itself")));
        }
        let left_by_itself = worker.terminate(grace).await;
        self.quiet().await?;
        let back = self.left().await?;
        let Some(status) = left_by_itself else {
            return Err(Stop::fail(format!(
                "it had not ended {grace:?} after SIGTERM: take no more, end what runs, give back the rest"
            )));
        };
        self.fits()?;
        let reported = |job: &Uuid| !self.book().results(*job).is_empty();
        if let Some(lost) = jobs.iter().find(|job| !reported(job) && !back.contains(job)) {
            return Err(Stop::fail(format!("job {lost} is lost: it was neither reported nor given back when the worker left")));
        }
        let both = jobs.iter().filter(|job| reported(job) && back.contains(job)).count();
        if !back.is_empty() {
            self.note(format!("{} of {IN_FLIGHT} jobs were given back", back.len()));
        }
        if both > 0 {
            self.note(format!("{both} of them were reported too: they run twice, which is allowed"));
        }
        if !status.success() {
            self.note(format!("it ended with {status}"));
        }
        Ok(())
    }
}
