//! Random lives of a device: properties over interleavings that shrink, and thousands of seeded lives with crashes.

use mobile_delivery::protocol::Window;
use proptest::collection::vec;
use proptest::prelude::*;

use super::world::World;

fn window(number: u64) -> Window {
    let messages = [1, 2, 3, 16, 64][usize::try_from(number % 5).unwrap()];
    Window { messages, bytes: if number.is_multiple_of(3) { 4096 } else { 64 * 1024 } }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn whatever_happens_in_whatever_order_nothing_is_lost(
        number in any::<u64>(),
        one_way in any::<bool>(),
        steps in vec((any::<u8>(), any::<u64>()), 0..250),
    ) {
        let mut world = World::new(window(number), one_way);
        for (what, salt) in steps {
            world.step(what, salt);
        }
        world.settle_down();
    }
}

/// xorshift64*: enough for dice, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// `WARREN_LIVES` are lived; a failing one names its seed, which `WARREN_LIFE` lives alone.
#[test]
fn thousands_of_lives_with_crashes_lose_nothing() {
    let number = |name: &str| option_env(name).and_then(|text| text.parse::<u64>().ok());
    let lives = number("WARREN_LIVES").unwrap_or(1500);
    let seeds = number("WARREN_LIFE").map_or(1..lives + 1, |seed| seed..seed + 1);
    let (mut connects, mut redelivered, mut messages, mut idles, mut refused) = (0, 0, 0, 0, 0);
    for seed in seeds {
        let life = std::panic::catch_unwind(|| {
            let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let (size, way) = (dice.roll() >> 7, dice.roll() >> 20);
            let mut world = World::new(window(size), way.is_multiple_of(3));
            for _ in 0..dice.roll() % 600 {
                let (what, salt) = (dice.roll() >> 40, dice.roll());
                world.step((what & 0xff) as u8, salt);
            }
            world.settle_down();
            world
        });
        let world = life.unwrap_or_else(|_| panic!("the life of seed {seed} failed"));
        connects += world.connects;
        redelivered += world.redelivered;
        messages += world.store.rows.len();
        idles += world.idles;
        refused += world.store.refused;
    }
    eprintln!("{messages} messages, {connects} connects, {redelivered} came twice, {idles} idle, {refused} refused by the fence");
    // A life in which nothing goes wrong proves nothing.
    if lives >= 1000 && number("WARREN_LIFE").is_none() {
        assert!(connects > lives * 2 && redelivered > lives && idles > lives && refused > 100);
    }
}

#[allow(clippy::disallowed_methods)]
fn option_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
