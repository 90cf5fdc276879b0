//! What follows from what the broker said of messages for one device. Pure.

use messaging::devices::Sent;
use messaging::publisher::PublishError;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// The lane is filled up to here; `None`: no further than before.
    pub(super) upto: Option<i64>,
    pub(super) then: Then,
}

/// How the device goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// All of it is in the queue.
    Done,
    /// There may be more to read at once.
    More,
    /// There is no queue.
    Cold,
    /// The first that failed is tried again later, and all after it.
    Later,
}

/// Of messages with these `seqs`, in order, the broker said `sent`; `upto` is where the lane is when all are in.
///
/// Nothing is skipped but what can never be sent: its row is given by a read of the session, which the message after it asks for, since
/// that names it as the one before.
pub(super) fn judge(seqs: &[i64], upto: i64, sent: &[Sent]) -> Judged {
    let failed = sent.iter().position(|sent| *sent != Sent::Queued);
    let Some(at) = failed.or((sent.len() < seqs.len()).then_some(sent.len())) else {
        return Judged { upto: Some(upto), then: Then::Done };
    };
    let before = at.checked_sub(1).map(|at| seqs[at]);
    match sent.get(at) {
        Some(Sent::Failed(PublishError::Unsendable(_))) => Judged { upto: Some(seqs[at]), then: Then::More },
        Some(Sent::Cold) => Judged { upto: before, then: Then::Cold },
        _ => Judged { upto: before, then: Then::Later },
    }
}

#[cfg(test)]
mod tests {
    use messaging::wire::Unsendable;
    use proptest::prelude::*;

    use super::*;

    fn failure() -> impl Strategy<Value = Sent> {
        prop_oneof![
            Just(Sent::Cold),
            Just(Sent::Failed(PublishError::Nacked)),
            Just(Sent::Failed(PublishError::Closed("gone".into()))),
            Just(Sent::Failed(PublishError::TimedOut(std::time::Duration::ZERO))),
            Just(Sent::Failed(PublishError::Unsendable(Unsendable::NoId))),
        ]
    }

    proptest! {
        #[test]
        fn a_lane_is_marked_up_to_the_last_that_is_in_it(queued in 0..6_usize, failure in failure(), held in 0..4_usize) {
            let seqs: Vec<i64> = (1..).map(|n| n * 3).take(queued + 1 + held).collect();
            let mut sent = vec![Sent::Queued; queued];
            sent.push(failure.clone());
            sent.extend(vec![Sent::Held; held]);
            let judged = judge(&seqs, 1000, &sent);
            let never = matches!(failure, Sent::Failed(PublishError::Unsendable(_)));
            let last = if never { Some(seqs[queued]) } else { queued.checked_sub(1).map(|at| seqs[at]) };
            prop_assert_eq!(judged.upto, last);
            let then = match failure {
                Sent::Cold => Then::Cold,
                _ if never => Then::More,
                _ => Then::Later,
            };
            prop_assert_eq!(judged.then, then);
        }

        #[test]
        fn all_in_is_all_done(queued in 0..9_usize) {
            let seqs: Vec<i64> = (1..).take(queued).collect();
            let judged = judge(&seqs, 50, &vec![Sent::Queued; queued]);
            prop_assert_eq!(judged, Judged { upto: Some(50), then: Then::Done });
        }
    }
}
