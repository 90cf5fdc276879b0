//! How values of the store are written down. A number or word, once used, keeps its meaning for ever.

use std::borrow::Cow;

use broker_topology::Rung;
use uuid::{NoContext, Timestamp, Uuid};

use super::{Action, DeadState, Micros, Outlet, Priority, State};

impl State {
    /// Every state, in the order of its number.
    pub const ALL: [Self; 9] = [
        Self::Scheduled,
        Self::Accepted,
        Self::Queued,
        Self::Running,
        Self::Retrying,
        Self::Succeeded,
        Self::Dead,
        Self::Cancelled,
        Self::Expired,
    ];

    /// The word for it in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Accepted => "accepted",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The number it is stored as.
    pub fn stored(self) -> i16 {
        self as i16
    }

    /// The state stored as `number`.
    pub fn from_stored(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.stored() == number)
    }
}

impl DeadState {
    /// Every state, in the order of its number.
    pub const ALL: [Self; 4] = [Self::Open, Self::Redriving, Self::Redriven, Self::Discarded];

    /// The number it is stored as.
    pub fn stored(self) -> i16 {
        self as i16
    }

    /// The state stored as `number`.
    pub fn from_stored(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.stored() == number)
    }
}

impl Action {
    /// The number it is stored as.
    pub fn stored(self) -> i16 {
        self as i16
    }

    /// The action stored as `number`.
    pub fn from_stored(number: i16) -> Option<Self> {
        [Self::Redrive, Self::Discard].into_iter().find(|action| action.stored() == number)
    }
}

impl Outlet {
    /// The word it is stored as.
    pub fn stored(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Rung(rung) => rung.name(),
            Self::Return => "return",
            Self::Dead => "dead",
        }
    }

    /// The outlet stored as `word`.
    pub fn from_stored(word: &str) -> Option<Self> {
        match word {
            "jobs" => Some(Self::Jobs),
            "return" => Some(Self::Return),
            "dead" => Some(Self::Dead),
            rung => Rung::named(rung).map(Self::Rung),
        }
    }
}

/// The number a class is stored as.
pub(super) fn priority_number(priority: Priority) -> i16 {
    match priority {
        Priority::Normal => 0,
        Priority::High => 1,
    }
}

/// The class stored as `number`.
pub(super) fn priority_from(number: i16) -> Option<Priority> {
    Priority::ALL.into_iter().find(|priority| priority_number(*priority) == number)
}

/// Text for people, fit for both databases: Postgres has no place for a NUL, and an error message must never be the
/// reason why an outcome cannot be stored.
pub(super) fn legible(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// The lowest UUIDv7 of the millisecond that holds `at`: ids below it are older than `at`.
pub(super) fn first_id_at(at: Micros) -> Uuid {
    Uuid::from_u128(u128::from(millis(at)) << 80)
}

/// An id whose time is `at`, so that ids sort by it.
pub(super) fn new_id_at(at: Micros) -> Uuid {
    let (secs, nanos) = (at.max(0) / 1_000_000, (at.max(0) % 1_000_000) * 1000);
    let at = Timestamp::from_unix(NoContext, u64::try_from(secs).unwrap_or(0), u32::try_from(nanos).unwrap_or(0));
    Uuid::new_v7(at)
}

fn millis(at: Micros) -> u64 {
    u64::try_from(at / 1000).unwrap_or(0) & 0xffff_ffff_ffff
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_stored_value_is_read_back() {
        for state in State::ALL {
            assert_eq!(State::from_stored(state.stored()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        for state in DeadState::ALL {
            assert_eq!(DeadState::from_stored(state.stored()), Some(state));
        }
        for action in [Action::Redrive, Action::Discard] {
            assert_eq!(Action::from_stored(action.stored()), Some(action));
        }
        for priority in Priority::ALL {
            assert_eq!(priority_from(priority_number(priority)), Some(priority));
        }
        let rungs = Rung::ALL.into_iter().map(Outlet::Rung);
        for outlet in [Outlet::Jobs, Outlet::Return, Outlet::Dead].into_iter().chain(rungs) {
            assert_eq!(Outlet::from_stored(outlet.stored()), Some(outlet));
        }
        assert_eq!((State::from_stored(9), DeadState::from_stored(-1), Outlet::from_stored("elsewhere")), (None, None, None));
    }

    #[test]
    fn ids_sort_by_their_time() {
        let at = 1_760_000_000_123_456;
        let id = new_id_at(at);
        assert!(first_id_at(at) <= id && id < first_id_at(at + 1000));
        assert_eq!(id.get_version_num(), 7);
        assert!(first_id_at(-5).is_nil() && new_id_at(-5) < first_id_at(1000));
    }

    #[test]
    fn a_nul_is_made_legible() {
        assert_eq!(legible("a\0b"), "a\u{fffd}b");
        assert_eq!(legible("plain"), "plain");
    }
}
