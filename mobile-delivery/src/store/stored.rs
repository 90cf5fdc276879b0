//! Words as the numbers that stand for them in the database.

use database::damaged;

use super::{GapReason, Priority, Reason, State, StoreError, Temperature, Tier, Transport, Via};

macro_rules! stored {
    ($($word:ident),*) => {$(
        impl $word {
            /// Its number.
            pub(super) fn stored(self) -> i16 {
                self as i16
            }

            /// The word of that number.
            pub(super) fn of_stored(number: i16) -> Result<Self, StoreError> {
                let found = Self::ALL.into_iter().find(|word| word.stored() == number);
                found.ok_or_else(|| damaged(format_args!("{} {number}", stringify!($word))))
            }
        }
    )*};
}

stored!(GapReason, Reason, State, Temperature, Tier, Transport, Via);

/// The number of a priority.
pub(super) fn priority_number(priority: Priority) -> i16 {
    match priority {
        Priority::Normal => 0,
        Priority::High => 1,
    }
}

/// The priority of that number: what is not high is normal.
pub(super) fn priority_of(number: i16) -> Priority {
    if number == 1 { Priority::High } else { Priority::Normal }
}
