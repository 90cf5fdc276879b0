//! Verdicts on destinations: held, tried by one, released.

use api_ack::store::Destination;

use crate::ground::{Ground, SECOND, T0};

contract!(
    a_destination_is_held_for_longer_never_for_less,
    one_of_two_processes_may_try_it,
    a_probe_that_was_never_ended_lapses,
    a_probe_that_works_does_not_end_a_hold_that_came_after_it,
    a_released_destination_can_be_held_anew
);

const SHOP: &str = "https://shop.example:8443";

async fn one(ground: &Ground) -> Destination {
    let mut all = ground.destinations_of_another.destinations().await.unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn held(reason: &str, since: i64, probe_at: i64) -> Destination {
    Destination { name: SHOP.into(), held: true, reason: reason.into(), since, probe_at, probing_until: 0 }
}

async fn a_destination_is_held_for_longer_never_for_less(ground: &Ground) {
    assert_eq!(ground.destinations.destinations().await.unwrap(), []);
    ground.destinations.hold(SHOP, "failing", T0, T0 + 30 * SECOND).await.unwrap();
    assert_eq!(one(ground).await, held("failing", T0, T0 + 30 * SECOND));
    ground.destinations_of_another.hold(SHOP, "throttled", T0 + SECOND, T0 + 60 * SECOND).await.unwrap();
    assert_eq!(one(ground).await, held("throttled", T0, T0 + 60 * SECOND));
    ground.destinations.hold(SHOP, "failing", T0 + SECOND, T0 + 40 * SECOND).await.unwrap();
    assert_eq!(one(ground).await, held("failing", T0, T0 + 60 * SECOND));
}

async fn one_of_two_processes_may_try_it(ground: &Ground) {
    let (mine, theirs) = (&ground.destinations, &ground.destinations_of_another);
    let probe_at = T0 + 30 * SECOND;
    assert!(!mine.claim_probe(SHOP, T0, T0 + SECOND).await.unwrap(), "there is none of that name");
    mine.hold(SHOP, "failing", T0, probe_at).await.unwrap();
    assert!(!mine.claim_probe(SHOP, probe_at - 1, probe_at + SECOND).await.unwrap(), "too early");
    let both = tokio::join!(
        mine.claim_probe(SHOP, probe_at, probe_at + 5 * SECOND),
        theirs.claim_probe(SHOP, probe_at, probe_at + 5 * SECOND)
    );
    assert_eq!(u8::from(both.0.unwrap()) + u8::from(both.1.unwrap()), 1);
    assert_eq!(one(ground).await.probing_until, probe_at + 5 * SECOND);
    // It failed: nobody tries until the next time has come.
    mine.hold(SHOP, "failing", probe_at, probe_at + 30 * SECOND).await.unwrap();
    assert_eq!(one(ground).await, held("failing", T0, probe_at + 30 * SECOND));
    assert!(!theirs.claim_probe(SHOP, probe_at + SECOND, probe_at + 9 * SECOND).await.unwrap());
}

async fn a_probe_that_was_never_ended_lapses(ground: &Ground) {
    ground.destinations.hold(SHOP, "failing", T0, T0 + SECOND).await.unwrap();
    assert!(ground.destinations.claim_probe(SHOP, T0 + SECOND, T0 + 5 * SECOND).await.unwrap());
    assert!(!ground.destinations_of_another.claim_probe(SHOP, T0 + 4 * SECOND, T0 + 9 * SECOND).await.unwrap());
    assert!(ground.destinations_of_another.claim_probe(SHOP, T0 + 5 * SECOND, T0 + 9 * SECOND).await.unwrap());
}

async fn a_probe_that_works_does_not_end_a_hold_that_came_after_it(ground: &Ground) {
    let (mine, theirs) = (&ground.destinations, &ground.destinations_of_another);
    mine.hold(SHOP, "failing", T0, T0 + SECOND).await.unwrap();
    let claim = T0 + 9 * SECOND;
    assert!(mine.claim_probe(SHOP, T0 + SECOND, claim).await.unwrap());
    theirs.hold(SHOP, "throttled", T0 + 2 * SECOND, T0 + 3600 * SECOND).await.unwrap();
    assert!(!mine.release(SHOP, T0 + 3 * SECOND, claim).await.unwrap());
    assert_eq!(one(ground).await, held("throttled", T0, T0 + 3600 * SECOND));
}

async fn a_released_destination_can_be_held_anew(ground: &Ground) {
    let (mine, theirs) = (&ground.destinations, &ground.destinations_of_another);
    mine.hold(SHOP, "failing", T0, T0 + SECOND).await.unwrap();
    let claim = T0 + 9 * SECOND;
    assert!(theirs.claim_probe(SHOP, T0 + 2 * SECOND, claim).await.unwrap());
    assert!(!mine.release(SHOP, T0 + 3 * SECOND, claim - 1).await.unwrap(), "the probe of somebody else");
    assert!(theirs.release(SHOP, T0 + 9 * SECOND, claim).await.unwrap());
    assert!(!mine.release(SHOP, T0 + 10 * SECOND, claim).await.unwrap());
    let free = one(ground).await;
    assert_eq!((free.held, free.reason.as_str(), free.since), (false, "", T0 + 9 * SECOND));
    assert!(!ground.destinations.claim_probe(SHOP, T0 + 90 * SECOND, T0 + 99 * SECOND).await.unwrap(), "nothing to try");
    // The probe time of the time before is forgotten.
    ground.destinations.hold(SHOP, "slow", T0 + 11 * SECOND, T0 + 12 * SECOND).await.unwrap();
    assert_eq!(one(ground).await, held("slow", T0 + 11 * SECOND, T0 + 12 * SECOND));
}
