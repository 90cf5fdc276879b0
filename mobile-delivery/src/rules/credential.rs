//! What showing a refresh credential means.

use crate::store::Micros;

/// How a credential of a device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It counts.
    Current,
    /// The one after it was given out; it counts once more until then, for a device that never got the answer.
    Previous {
        /// The end of its grace.
        until: Micros,
    },
    /// It counts no more, and is known.
    Spent,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// The fresh one is the current one; of those before it some are spent.
    Take {
        /// Which.
        spent: Spent,
    },
    /// Somebody has a copy: the device is revoked.
    Revoke,
}

/// Which credentials count no more once a fresh one is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// All but the one shown, which is the previous one now.
    AllButShown,
    /// All: the one shown has had its one use, and the current one was never received, or is a thief's.
    All,
}

/// What follows from showing a credential that stands like this.
pub fn refresh(shown: Kept, now: Micros) -> Refresh {
    match shown {
        Kept::Current => Refresh::Take { spent: Spent::AllButShown },
        Kept::Previous { until } if now <= until => Refresh::Take { spent: Spent::All },
        Kept::Previous { .. } | Kept::Spent => Refresh::Revoke,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the store applies it: how each credential stands, by its index.
    fn apply(kept: &mut Vec<Kept>, shown: usize, now: Micros, grace: Micros) -> bool {
        let Refresh::Take { spent } = refresh(kept[shown], now) else { return false };
        kept.iter_mut().for_each(|kept| *kept = Kept::Spent);
        if spent == Spent::AllButShown {
            kept[shown] = Kept::Previous { until: now + grace };
        }
        kept.push(Kept::Current);
        true
    }

    proptest! {
        #[test]
        fn no_credential_is_taken_more_than_twice_and_one_counts(shows in prop::collection::vec((0..30_usize, 0..20_i64), 1..40)) {
            let (mut kept, mut taken, mut now) = (vec![Kept::Current], [0; 100], 0);
            for (shown, later) in shows {
                now += later;
                let shown = kept.len() - 1 - shown % kept.len();
                if !apply(&mut kept, shown, now, 10) {
                    break;
                }
                taken[shown] += 1;
                prop_assert!(taken[shown] <= 2);
                prop_assert_eq!(kept.iter().filter(|kept| **kept == Kept::Current).count(), 1);
                prop_assert_eq!(kept.last(), Some(&Kept::Current));
                let previous = kept.iter().filter(|kept| matches!(kept, Kept::Previous { .. })).count();
                prop_assert!(previous <= 1);
            }
        }
    }

    #[test]
    fn a_lost_answer_is_made_good_once_and_within_its_grace() {
        let mut kept = vec![Kept::Current];
        assert!(apply(&mut kept, 0, 0, 10));
        // The answer was lost: the first one is shown again, and then never more.
        assert!(apply(&mut kept, 0, 10, 10));
        assert!(!apply(&mut kept.clone(), 0, 10, 10));
        // The one that was lost on the way is a thief's.
        assert!(!apply(&mut kept.clone(), 1, 10, 10));
        assert!(apply(&mut kept, 2, 10, 10));
        assert!(!apply(&mut kept, 2, 21, 10), "its grace is over");
    }
}
