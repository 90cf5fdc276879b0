//! Who is connected, and which processes live.

use mobile_delivery::store::{Claim, Claimed, LAPSE, Lost, Number, Temperature, Transport};
use uuid::Uuid;

use crate::ground::{Ground, ME, OTHER, SECOND, T0, to};

contract![
    the_newest_session_wins_and_is_told_of_the_one_before,
    a_session_ends_under_its_own_fence_alone,
    processes_that_live_are_told_and_one_that_left_is_not,
    sessions_of_a_process_that_is_gone_end_in_portions,
];

async fn the_newest_session_wins_and_is_told_of_the_one_before(ground: &Ground) {
    let device = ground.device("phone").await;
    ground.send(&to("phone")).await;
    let claim = Claim { device, process: ME, session: Uuid::now_v7(), transport: Transport::Poll };
    let other = ground.device("watch").await;
    let gone = Number(other.0 + 1);
    let claims = [claim, Claim { device: gone, ..claim }, Claim { device: other, ..claim }];
    let claimed = ground.stores.sessions.claim(&claims, T0 + 1).await.unwrap();
    let yours = |fence, previous, seq, backlog| Claimed::Yours {
        fence,
        previous,
        seq,
        backlog,
        gap: None,
        temperature: Temperature::Cold,
    };
    assert_eq!(claimed, [yours(1, None, 1, 1), Claimed::Unknown, yours(1, None, 0, 0)]);
    let session = ground.stores.devices.get("acme", "phone").await.unwrap().unwrap().session.unwrap();
    assert_eq!((session.id, session.process, session.fence), (claim.session, ME, 1));
    assert_eq!((session.transport, session.since), (Transport::Poll, T0 + 1));

    let second = Claim { process: OTHER, session: Uuid::now_v7(), ..claim };
    assert_eq!(ground.another.sessions.claim(&[second], T0 + 2).await.unwrap(), [yours(2, Some(session), 1, 1)]);
    assert_eq!(ground.stores.sessions.claim(&[], T0).await.unwrap(), []);
}

async fn a_session_ends_under_its_own_fence_alone(ground: &Ground) {
    let device = ground.device("phone").await;
    let (old, new) = (ground.connect(device).await, ground.connect(device).await);
    let release = async |fence| ground.stores.sessions.release(&[(device, fence)], T0).await.unwrap();
    assert_eq!(release(old).await, [false]);
    assert!(ground.stores.devices.get("acme", "phone").await.unwrap().unwrap().session.is_some());
    assert_eq!((release(new).await, release(new).await), (vec![true], vec![false]));
    assert_eq!(ground.stores.devices.get("acme", "phone").await.unwrap().unwrap().session, None);
    assert!(ground.connect(device).await > new, "a fence is never given again");
    assert!(ground.stores.sessions.release(&[], T0).await.unwrap().is_empty());
}

async fn processes_that_live_are_told_and_one_that_left_is_not(ground: &Ground) {
    let sessions = &ground.stores.sessions;
    assert_eq!(sessions.beat(OTHER).await.unwrap(), [OTHER]);
    assert_eq!(sessions.beat(ME).await.unwrap(), [ME, OTHER]);
    ground.stores.lanes.take_slots(OTHER, 10).await.unwrap();
    ground.another.sessions.leave(OTHER).await.unwrap();
    assert_eq!(sessions.beat(ME).await.unwrap(), [ME]);
    assert_eq!(ground.stores.lanes.take_slots(ME, 64).await.unwrap().len(), 64);
}

async fn sessions_of_a_process_that_is_gone_end_in_portions(ground: &Ground) {
    let sessions = &ground.stores.sessions;
    sessions.beat(ME).await.unwrap();
    sessions.beat(OTHER).await.unwrap();
    let mut fences = Vec::new();
    for n in 0..5 {
        let device = ground.device(&format!("d{n}")).await;
        ground.stores.lanes.warm(device, T0).await.unwrap();
        fences.push((device, ground.claim(device, if n == 0 { ME } else { OTHER }).await));
    }
    ground.stores.lanes.take_slots(OTHER, 3).await.unwrap();
    assert_eq!(sessions.release_lapsed(T0, 100).await.unwrap(), Lost::default(), "both live");
    ground.execute(&format!("UPDATE device_processes SET beat_at = beat_at - {LAPSE} - 1000000 WHERE id = {}", OTHER.0)).await;
    assert_eq!(sessions.release_lapsed(T0 + SECOND, 3).await.unwrap(), Lost { sessions: 3, slots: 3 });
    assert_eq!(sessions.release_lapsed(T0 + SECOND, 3).await.unwrap(), Lost { sessions: 1, slots: 0 });
    assert_eq!(sessions.release_lapsed(T0 + SECOND, 3).await.unwrap(), Lost::default());
    assert_eq!(sessions.beat(ME).await.unwrap(), [ME]);
    assert_eq!(ground.count("device_sessions").await, 1);
    let idle = ground.stores.lanes.idle(T0 + 2 * SECOND, 100).await.unwrap();
    assert_eq!(idle.iter().map(|idle| idle.since).collect::<Vec<_>>(), [T0 + SECOND; 4]);
    // A process that was paused and connects somebody before it beats again is looked after as well.
    ground.claim(fences[1].0, OTHER).await;
    assert_eq!(sessions.release_lapsed(T0 + SECOND, 3).await.unwrap().sessions, 1);
}
