//! Who is connected, and which processes live.

use mobile_delivery::store::{
    Claim, Claimed, Ending, Expired, LAPSE, Limits, Lost, MAIN, NewMessage, Number, Over, Reason, Sent, Standing, State,
    Temperature, Transport, Turned, Withdrawn,
};
use uuid::Uuid;

use crate::ground::{Ground, ME, OTHER, SECOND, T0, collapsing, to, to_user};

contract![
    the_newest_session_wins_and_is_told_of_the_one_before,
    a_session_ends_under_its_own_fence_alone,
    sessions_that_are_over_are_told_with_the_reason,
    who_polls_keeps_no_queue,
    processes_that_live_are_told_and_one_that_left_is_not,
    sessions_of_a_process_that_is_gone_end_in_portions,
    what_ends_under_a_session_is_told_with_where_it_is,
];

async fn what_ends_under_a_session_is_told_with_where_it_is(ground: &Ground) {
    let (here, there, away) = (ground.device("here").await, ground.device("there").await, ground.device("away").await);
    for (device, process) in [(here, ME), (there, OTHER)] {
        ground.claim(device, process).await;
    }
    let place = |device, process, message| Withdrawn { device, message, process };
    // Cancelled: of all devices of the user, those that are connected.
    let cancelled = ground.send(&to_user("ann")).await;
    let told = ground.stores.messages.cancel("acme", cancelled, T0).await.unwrap();
    assert_eq!((told.known, told.count), (true, 3));
    assert_eq!(sorted(told.withdrawn), [place(here, ME, cancelled), place(there, OTHER, cancelled)]);
    assert_eq!(ground.stores.messages.cancel("acme", cancelled, T0).await.unwrap().withdrawn, []);
    // Over its time.
    let over = ground.send(&NewMessage { ttl: Some(SECOND), ..to("here") }).await;
    let expired = ground.stores.messages.expire(T0 + SECOND, 10).await.unwrap();
    assert_eq!(expired, Expired { count: 1, withdrawn: vec![place(here, ME, over)] });
    // Made way: for one of its key, and for being the oldest; at once and when it is due.
    let older = ground.send(&collapsing(to("there"), "score")).await;
    let Sent::Accepted { withdrawn, .. } = ground.try_send(&collapsing(to("there"), "score")).await else { panic!("it fits") };
    assert_eq!(withdrawn, [place(there, OTHER, older)]);
    let full = Limits { device_messages: 1, ..Limits::default() };
    let oldest = ground.send(&to("here")).await;
    let Sent::Accepted { withdrawn, .. } = ground.send_within(&to("here"), &full).await else { panic!("it fits") };
    assert_eq!(withdrawn, [place(here, ME, oldest)]);
    ground.send(&NewMessage { not_before: Some(T0 + SECOND), ..to("here") }).await;
    let due = ground.stores.messages.place_due(&full, T0 + SECOND, 10).await.unwrap();
    assert_eq!((due.placed.len(), due.withdrawn.len()), (1, 1));

    // Whoever is told looks how they ended; what was acked, is live or unknown is none of it.
    let live = ground.send(&to("away")).await;
    let asked = [(here, cancelled), (there, older), (here, over), (here, oldest), (away, live), (away, Uuid::now_v7())];
    let mut endings = ground.another.sessions.endings(&asked).await.unwrap();
    endings.sort_by_key(|ending| (ending.device, ending.seq));
    let ending = |device, seq, state, reason| Ending { device, seq, state, reason };
    let expected = [
        ending(here, 1, State::Dropped, Some(Reason::Cancelled)),
        ending(here, 2, State::Expired, None),
        ending(here, 3, State::Dropped, Some(Reason::Overflow)),
        ending(there, 2, State::Dropped, Some(Reason::Collapsed)),
    ];
    assert_eq!(endings, expected);
}

fn sorted(mut withdrawn: Vec<Withdrawn>) -> Vec<Withdrawn> {
    withdrawn.sort_by_key(|withdrawn| withdrawn.device);
    withdrawn
}

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
        shard: MAIN.into(),
        standing: Box::new(Standing { tags: vec![("*".into(), 0)], user: "ann".into(), ..Standing::default() }),
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

async fn sessions_that_are_over_are_told_with_the_reason(ground: &Ground) {
    let mut all = Vec::new();
    for id in ["kept", "displaced", "revoked", "removed", "released"] {
        let device = ground.device(id).await;
        all.push((device, ground.connect(device).await));
    }
    let sessions = &ground.stores.sessions;
    assert_eq!(sessions.over(&all).await.unwrap(), []);
    ground.connect(all[1].0).await;
    ground.stores.devices.revoke(all[2].0, T0).await.unwrap();
    ground.stores.devices.remove("acme", "removed", T0).await.unwrap();
    sessions.release(&[all[4]], T0).await.unwrap();
    let mut over = sessions.over(&all).await.unwrap();
    over.sort_by_key(|(device, _)| *device);
    let reasons = [Over::Displaced, Over::Revoked, Over::Removed, Over::Released];
    assert_eq!(over, all[1..].iter().zip(reasons).map(|((device, _), why)| (*device, why)).collect::<Vec<_>>());
    assert_eq!(sessions.over(&[]).await.unwrap(), []);
}

async fn who_polls_keeps_no_queue(ground: &Ground) {
    let device = ground.device("phone").await;
    let lanes = &ground.stores.lanes;
    let claim = |transport| Claim { device, process: ME, session: Uuid::now_v7(), transport };
    ground.stores.sessions.claim(&[claim(Transport::Socket)], T0).await.unwrap();
    let turn = lanes.warm(device, MAIN, None, T0).await.unwrap().unwrap().turn;
    assert_eq!(lanes.cool(device, turn, T0).await.unwrap(), Turned::No);
    assert!(lanes.idle(&[MAIN], T0 + 10, 10).await.unwrap().is_empty());
    // It takes the place of the socket, and listens to no queue.
    ground.stores.sessions.claim(&[claim(Transport::Poll)], T0 + 1).await.unwrap();
    assert_eq!(lanes.idle(&[MAIN], T0 + 10, 10).await.unwrap()[0].device, device);
    assert!(matches!(lanes.cool(device, turn, T0 + 10).await.unwrap(), Turned::Done { .. }));
}

async fn processes_that_live_are_told_and_one_that_left_is_not(ground: &Ground) {
    let sessions = &ground.stores.sessions;
    let with = |process, shards: &[&str]| (process, shards.iter().map(|shard| (*shard).to_owned()).collect::<Vec<_>>());
    assert_eq!(sessions.beat(OTHER, &[]).await.unwrap(), [with(OTHER, &[])]);
    let shards = ["b".to_owned(), "c".to_owned()];
    assert_eq!(sessions.beat(ME, &shards).await.unwrap(), [with(ME, &["b", "c"]), with(OTHER, &[])]);
    ground.stores.lanes.take_slots(OTHER, 10).await.unwrap();
    ground.another.sessions.leave(OTHER).await.unwrap();
    assert_eq!(sessions.beat(ME, &shards[..1]).await.unwrap(), [with(ME, &["b"])], "what it says last counts");
    assert_eq!(ground.stores.lanes.take_slots(ME, 64).await.unwrap().len(), 64);
}

async fn sessions_of_a_process_that_is_gone_end_in_portions(ground: &Ground) {
    let sessions = &ground.stores.sessions;
    sessions.beat(ME, &[]).await.unwrap();
    sessions.beat(OTHER, &[]).await.unwrap();
    let mut fences = Vec::new();
    for n in 0..5 {
        let device = ground.device(&format!("d{n}")).await;
        ground.stores.lanes.warm(device, MAIN, None, T0).await.unwrap();
        fences.push((device, ground.claim(device, if n == 0 { ME } else { OTHER }).await));
    }
    ground.stores.lanes.take_slots(OTHER, 3).await.unwrap();
    assert_eq!(sessions.release_lapsed(T0, 100).await.unwrap(), Lost::default(), "both live");
    ground.execute(&format!("UPDATE device_processes SET beat_at = beat_at - {LAPSE} - 1000000 WHERE id = {}", OTHER.0)).await;
    assert_eq!(sessions.release_lapsed(T0 + SECOND, 3).await.unwrap(), Lost { sessions: 3, slots: 3 });
    assert_eq!(sessions.release_lapsed(T0 + SECOND, 3).await.unwrap(), Lost { sessions: 1, slots: 0 });
    assert_eq!(sessions.release_lapsed(T0 + SECOND, 3).await.unwrap(), Lost::default());
    assert_eq!(sessions.beat(ME, &[]).await.unwrap(), [(ME, Vec::new())]);
    assert_eq!(ground.count("device_sessions").await, 1);
    let idle = ground.stores.lanes.idle(&[MAIN], T0 + 2 * SECOND, 100).await.unwrap();
    assert_eq!(idle.iter().map(|idle| idle.since).collect::<Vec<_>>(), [T0 + SECOND; 4]);
    // A process that was paused and connects somebody before it beats again is looked after as well.
    ground.claim(fences[1].0, OTHER).await;
    assert_eq!(sessions.release_lapsed(T0 + SECOND, 3).await.unwrap().sessions, 1);
}
