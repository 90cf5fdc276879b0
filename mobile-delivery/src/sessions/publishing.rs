//! What one session publishes: put behind one another at once, and answered as each is stored.

use door::problem::{Code, Problem};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use super::Sessions;
use super::tenure::Tenure;
use crate::protocol::{Publish, Published, Refused, ServerFrame};
use crate::rooms::{Publisher, Said, decided};
use crate::sending::Accepted;

/// Messages of one device that are not decided yet.
const UNDER_WAY: usize = 32;

type Decided = (String, Result<Accepted, Problem>);

/// Nothing, for who publishes nothing.
#[derive(Default)]
pub(super) struct Publishing(Option<Box<FuturesUnordered<BoxFuture<'static, Decided>>>>);

impl Publishing {
    /// Takes a message; answers at once if it is refused.
    pub(super) fn publish(
        &mut self,
        sessions: &Sessions,
        tenure: &Tenure,
        is_member: bool,
        publish: Publish,
    ) -> Option<ServerFrame> {
        let Publish { reference, group, kind, content_type, payload } = publish;
        let under_way = self.0.get_or_insert_default();
        if under_way.len() >= UNDER_WAY {
            let detail = format!("{UNDER_WAY} messages are not answered yet: wait for these");
            return Some(refused(Some(reference), None, Code::RateLimited.as_str(), detail, Some(1)));
        }
        let (rooms, own) = (&sessions.0.rooms, &tenure.identity);
        let counted =
            rooms.takes_of(own.number).and_then(|()| if is_member { rooms.takes_for(&own.tenant, &group) } else { Ok(()) });
        let said = Said {
            group,
            kind: Some(kind).filter(|kind| !kind.is_empty()),
            content_type,
            body: payload,
            key: Some(reference.clone()),
        };
        let publisher = Publisher { tenant: own.tenant.to_string(), number: own.number, id: own.id.to_string() };
        match counted.and_then(|()| rooms.put(publisher, said)) {
            Ok(undecided) => {
                under_way.push(Box::pin(async move { (reference, decided(undecided).await) }));
                None
            }
            Err(problem) => {
                sessions.0.metrics.published("refused");
                Some(of_problem(Some(reference), &problem))
            }
        }
    }

    /// What became of one. Cancel-safe.
    pub(super) async fn next(&mut self) -> Decided {
        if let Some(under_way) = &mut self.0
            && let Some(decided) = under_way.next().await
        {
            if under_way.is_empty() {
                self.0 = None;
            }
            return decided;
        }
        std::future::pending().await
    }
}

/// What the device is told of it.
pub(super) fn told(sessions: &Sessions, (reference, decided): Decided) -> ServerFrame {
    let outcome = match &decided {
        Ok(accepted) if accepted.replayed => "replayed",
        Ok(_) => "stored",
        Err(_) => "refused",
    };
    sessions.0.metrics.published(outcome);
    match decided {
        Ok(accepted) => ServerFrame::Published(Box::new(Published { reference, id: accepted.id })),
        Err(problem) => of_problem(Some(reference), &problem),
    }
}

pub(super) fn of_problem(reference: Option<String>, problem: &Problem) -> ServerFrame {
    let detail = match problem.code {
        // Said as this way has it.
        Code::IdempotencyKeyReused => "this `ref` was used for another message: take a fresh one for each".to_owned(),
        Code::RateLimited => "too much at once: say it again after `retry_after_ms`".to_owned(),
        _ => problem.detail.to_string(),
    };
    refused(reference, None, problem.code.as_str(), detail, problem.retry_after)
}

pub(super) fn refused(
    reference: Option<String>,
    group: Option<String>,
    code: &str,
    detail: String,
    retry_after: Option<u64>,
) -> ServerFrame {
    let retry_after_ms = retry_after.map(|seconds| seconds.saturating_mul(1000));
    ServerFrame::Refused(Box::new(Refused { reference, group, code: code.to_owned(), detail, retry_after_ms }))
}
