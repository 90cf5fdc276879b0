//! Which temperature follows which.
//!
//! ```text
//! cold --warm--> hot --cool--> cooling --cooled--> cold
//!                 ^---------warm--'
//! ```

use crate::store::Temperature;

/// What is asked of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Its queue is there.
    Warm,
    /// Its queue is to go, as of this turn.
    Cool(i64),
    /// Its queue is gone, as of this turn.
    Cooled(i64),
}

/// What the lane is next and on which turn; `None` leaves it as it is. `now` is its temperature and turn, `taken` whether somebody is connected.
///
/// The turn rises with every change, so whoever acts on an older one acts on nothing.
pub fn turn(now: (Temperature, i64), taken: bool, asked: Turn) -> Option<(Temperature, i64)> {
    let (temperature, at) = now;
    let next = match (temperature, asked) {
        (Temperature::Cold | Temperature::Cooling, Turn::Warm) => Temperature::Hot,
        (Temperature::Hot, Turn::Cool(turn)) if turn == at && !taken => Temperature::Cooling,
        (Temperature::Cooling, Turn::Cooled(turn)) if turn == at => Temperature::Cold,
        _ => return None,
    };
    Some((next, at + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked() -> impl Strategy<Value = Turn> {
        prop_oneof![Just(Turn::Warm), (0..12_i64).prop_map(Turn::Cool), (0..12_i64).prop_map(Turn::Cooled)]
    }

    proptest! {
        #[test]
        fn turns_only_rise_and_nobody_cools_under_a_session(asks in prop::collection::vec((asked(), any::<bool>()), 0..60)) {
            let mut now = (Temperature::Cold, 0);
            for (asked, taken) in asks {
                let Some(next) = turn(now, taken, asked) else { continue };
                prop_assert_eq!(next.1, now.1 + 1);
                match next.0 {
                    Temperature::Hot => prop_assert_eq!(asked, Turn::Warm),
                    Temperature::Cooling => prop_assert!(now == (Temperature::Hot, now.1) && !taken && asked == Turn::Cool(now.1)),
                    Temperature::Cold => prop_assert!(now.0 == Temperature::Cooling && asked == Turn::Cooled(now.1)),
                }
                now = next;
            }
        }
    }

    #[test]
    fn who_cools_loses_its_turn_to_who_warms() {
        let hot = turn((Temperature::Cold, 0), false, Turn::Warm).unwrap();
        let cooling = turn(hot, false, Turn::Cool(1)).unwrap();
        assert_eq!(cooling, (Temperature::Cooling, 2));
        let again = turn(cooling, true, Turn::Warm).unwrap();
        assert_eq!(again, (Temperature::Hot, 3));
        assert_eq!(turn(again, true, Turn::Cooled(2)), None);
        assert_eq!(turn(again, true, Turn::Warm), None);
    }
}
