//! What a service over HTTP is put through.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{Answer, Called, Http};
use crate::conformance::case::Stop;

/// The largest body of a job unless `limits.body` says otherwise, in bytes.
const LARGEST: usize = 1 << 20;

/// A call that has had no answer for so long is in its middle.
const MIDDLE: Duration = Duration::from_millis(500);

/// How many calls are in flight when a service is told to leave.
const IN_FLIGHT: usize = 4;

impl Http {
    /// One call.
    pub(super) async fn normal(&mut self) -> Result<(), Stop> {
        self.start().await?;
        self.ordinary().await.map(drop)
    }

    /// A job, and its answer.
    async fn ordinary(&mut self) -> Result<Answer, Stop> {
        let called = self.call(Uuid::now_v7(), 1, self.payloads.normal.clone()).await;
        match called {
            Called::Answered(answer) if answer.status.is_success() => {
                if answer.cut {
                    self.note("the answer is over 64 KiB: the job succeeds, its result is not kept");
                }
                Ok(answer)
            }
            Called::Answered(answer) if answer.status.is_client_error() && !Called::Answered(answer.clone()).is_transient() => {
                self.note(format!("the normal call was answered {}: give a job that works with --payload FILE", answer.status));
                Ok(answer)
            }
            called => Err(Stop::fail(format!("the normal call {called}"))),
        }
    }

    /// The same call twice: one effect, the same answer.
    pub(super) async fn duplicate(&mut self) -> Result<(), Stop> {
        self.start().await?;
        let (job, body) = (Uuid::now_v7(), self.payloads.normal.clone());
        match (self.call(job, 1, body.clone()).await, self.call(job, 1, body).await) {
            (Called::Answered(first), Called::Answered(second))
                if (first.status, &first.body) == (second.status, &second.body) =>
            {
                Ok(())
            }
            (Called::Answered(first), Called::Answered(second)) if first.status == second.status => {
                let why = "keep what was done by `Idempotency-Key`";
                Err(Stop::fail(format!("the same call was answered {} twice with different bodies: {why}", first.status)))
            }
            (first, second) => Err(Stop::fail(format!("the same call first {first}, then {second}"))),
        }
    }

    /// A call that takes its time.
    pub(super) async fn slow(&mut self) -> Result<(), Stop> {
        let slow = self.slow_payload()?;
        self.start().await?;
        match self.call(Uuid::now_v7(), 1, slow).await {
            Called::Answered(answer) if answer.status.is_success() => Ok(()),
            called => Err(Stop::fail(format!("the slow call {called}"))),
        }
    }

    fn slow_payload(&self) -> Result<Bytes, Stop> {
        let why = "give a job that takes three to ten seconds with --payload slow=FILE";
        self.payloads.slow.clone().ok_or_else(|| Stop::not_run(why))
    }

    /// A first attempt that fails, and a second one with the same key.
    pub(super) async fn retry(&mut self) -> Result<(), Stop> {
        let why = "give a job whose first attempt fails and whose second works with --payload retry=FILE";
        let payload = self.payloads.retry.clone().ok_or_else(|| Stop::not_run(why))?;
        self.start().await?;
        let job = Uuid::now_v7();
        match self.call(job, 1, payload.clone()).await {
            Called::Answered(answer) if Called::Answered(answer.clone()).is_transient() => {
                sleep(answer.retry_after.unwrap_or_default().min(self.limits.timeout)).await;
            }
            called => {
                let why = "answer 408, 425, 429 or 5xx what may work later";
                return Err(Stop::fail(format!("the first attempt {called}: {why}")));
            }
        }
        match self.call(job, 2, payload).await {
            Called::Answered(answer) if answer.status.is_success() => Ok(()),
            called => {
                let why = "remember by `Idempotency-Key` what worked, and not what failed";
                Err(Stop::fail(format!("the second attempt {called}: {why}")))
            }
        }
    }

    /// What is no job: refused for good, and the service goes on.
    pub(super) async fn poison(&mut self) -> Result<(), Stop> {
        self.start().await?;
        let poison =
            [("a body that is no JSON", Bytes::from_static(b"\x00\xff{\"no")), ("another shape", self.payloads.poison.clone())];
        for (what, body) in poison {
            match self.call(Uuid::now_v7(), 1, body).await {
                Called::Answered(answer) if answer.status.is_success() => {
                    self.note(format!("{what} was answered {}", answer.status))
                }
                called if called.is_transient() || !matches!(&called, Called::Answered(a) if a.status.is_client_error()) => {
                    let why = "answer 4xx what will never work, such as 400 or 422";
                    return Err(Stop::fail(format!("{what} {called}: {why}")));
                }
                _ => {}
            }
        }
        self.ordinary().await.map(drop)
    }

    /// The largest body, and an answer that is too large.
    pub(super) async fn oversize(&mut self) -> Result<(), Stop> {
        self.start().await?;
        let mut body = vec![b'x'; LARGEST];
        (body[0], body[LARGEST - 1]) = (b'"', b'"');
        match self.call(Uuid::now_v7(), 1, body.into()).await {
            called if called.is_transient() => {
                let why = "answer 2xx, or 4xx such as 413";
                return Err(Stop::fail(format!("a body of 1 MiB, the largest, {called}: {why}")));
            }
            Called::Answered(answer) if answer.status.is_redirection() => {
                return Err(Stop::fail(format!("a body of 1 MiB was answered {}, which is not followed", answer.status)));
            }
            _ => {}
        }
        if let Some(payload) = self.payloads.oversize.clone() {
            match self.call(Uuid::now_v7(), 1, payload).await {
                Called::Answered(answer) if answer.cut => {
                    self.note("an answer of over 64 KiB is read no further: the job succeeds, its result is not kept");
                }
                called if called.is_transient() => return Err(Stop::fail(format!("the call with a large result {called}"))),
                _ => {}
            }
        }
        self.ordinary().await.map(drop)
    }

    /// A caller that breaks off in the middle, and calls again.
    pub(super) async fn late(&mut self) -> Result<(), Stop> {
        let slow = self.slow_payload()?;
        self.start().await?;
        let job = Uuid::now_v7();
        let answered = timeout(MIDDLE, self.call(job, 1, slow.clone())).await;
        if let Ok(called) = answered {
            return Err(too_quick(&called));
        }
        self.call_until_done(job, &slow).await.map(drop)
    }

    /// Killed in the middle of a call: the same call works after a new start.
    pub(super) async fn crash_and_restart(&mut self) -> Result<(), Stop> {
        self.needs_command()?;
        let slow = self.slow_payload()?;
        self.start().await?;
        let (job, mut worker) = (Uuid::now_v7(), self.worker.take());
        let killed = async {
            sleep(MIDDLE).await;
            if let Some(worker) = &mut worker {
                worker.kill().await;
            }
        };
        let (called, ()) = tokio::join!(self.call(job, 1, slow.clone()), killed);
        if matches!(called, Called::Answered(_)) {
            return Err(too_quick(&called));
        }
        self.start().await?;
        self.call_until_done(job, &slow).await.map(drop)
    }

    /// Told to leave with calls in flight: they end as calls do, and so does the process.
    pub(super) async fn drain(&mut self) -> Result<(), Stop> {
        self.needs_command()?;
        self.start().await?;
        let payload = self.payloads.slow.clone().unwrap_or_else(|| self.payloads.normal.clone());
        let (grace, mut worker) = (self.limits.grace, self.worker.take());
        let calls = join_all((0..IN_FLIGHT).map(|_| self.call(Uuid::now_v7(), 1, payload.clone())));
        let left = async {
            sleep(MIDDLE).await;
            match &mut worker {
                Some(worker) => worker.terminate(grace).await,
                None => None,
            }
        };
        let (calls, left) = tokio::join!(calls, left);
        self.worker = worker;
        let Some(status) = left else {
            return Err(Stop::fail(format!("it had not ended {grace:?} after SIGTERM: take no more, answer what runs, leave")));
        };
        let done = |called: &Called| matches!(called, Called::Answered(answer) if answer.status.is_success());
        if let Some(lost) = calls.iter().find(|called| !done(called) && !called.is_transient()) {
            let why = "answer 503 what is not begun any more; what is 4xx is a dead letter";
            return Err(Stop::fail(format!("a call in flight {lost}: {why}")));
        }
        let again = calls.iter().filter(|called| !done(called)).count();
        if again > 0 {
            self.note(format!("{again} of {IN_FLIGHT} calls in flight did not work and are made again, which is allowed"));
        }
        if !status.success() {
            self.note(format!("it ended with {status}"));
        }
        Ok(())
    }
}

fn too_quick(called: &Called) -> Stop {
    Stop::not_run(format!("the call {called} before its middle: let the job of --payload slow=FILE take some seconds"))
}
