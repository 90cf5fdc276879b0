//! Selections of dead letters: frozen, acted on once, each letter's turn in one transaction with its move.

use api_ack::store::{Acting, Action, DeadState, Move, Picked, Refusal, Selection, Tally};
use uuid::Uuid;

use crate::dead::{discard, letter};
use crate::ground::{Ground, SECOND, T0};

contract!(
    a_selection_is_frozen_and_acted_on_once,
    selections_have_their_turn_one_after_the_other,
    a_letter_and_its_place_move_together_or_not_at_all,
    what_is_refused_is_listed_and_the_end_is_the_end_of_all,
    old_selections_are_purged,
    a_large_selection_is_frozen,
);

fn selection(letters: &str) -> Selection {
    Selection {
        id: Uuid::now_v7(),
        tenant: Some("acme".into()),
        filter: serde_json::json!({"queue": letters}),
        created_by: "olga".into(),
        created_at: T0,
        expires_at: T0 + 10 * SECOND,
        acting: None,
        finished_at: None,
    }
}

fn acting(at: i64) -> Acting {
    Acting { action: Action::Discard, force: true, rate: 7, actor: "ada".into(), note: "old\0".into(), at }
}

/// So many open letters in a selection.
async fn frozen(ground: &Ground, count: i64) -> (Selection, Vec<Uuid>) {
    let letters: Vec<_> = (0..count).map(|n| letter("jobs.mail", &format!("m{n}"), T0 + n * SECOND)).collect();
    ground.dead.keep(&letters).await.unwrap();
    let filter = api_ack::store::DeadFilter { limit: 100, ..Default::default() };
    let mut ids = ground.dead.dead_ids(&filter).await.unwrap();
    ids.reverse();
    let selection = selection("jobs.mail");
    ground.selections.freeze(&selection, &ids).await.unwrap();
    (selection, ids)
}

async fn tally(ground: &Ground, id: Uuid) -> (u64, u64, u64) {
    let Tally { waiting, moved, refused } = ground.selections.selection(id).await.unwrap().unwrap().1;
    (waiting, moved, refused)
}

async fn a_selection_is_frozen_and_acted_on_once(ground: &Ground) {
    let (mut selection, ids) = frozen(ground, 3).await;
    assert_eq!(ground.selections.selection(Uuid::now_v7()).await.unwrap(), None);
    let found = ground.selections.selection(selection.id).await.unwrap().unwrap();
    assert_eq!(found, (selection.clone(), Tally { waiting: 3, moved: 0, refused: 0 }));
    assert!(ground.selections.acting(Uuid::nil(), 9).await.unwrap().is_empty(), "nothing is done unasked");

    assert!(!ground.selections.act(selection.id, &acting(T0 + 10 * SECOND)).await.unwrap(), "it has expired by then");
    assert!(ground.selections.act(selection.id, &acting(T0 + SECOND)).await.unwrap());
    let again = Acting { action: Action::Redrive, ..acting(T0 + SECOND) };
    assert!(!ground.selections.act(selection.id, &again).await.unwrap());
    assert!(!ground.selections.act(Uuid::now_v7(), &again).await.unwrap());
    selection.acting = Some(Acting { note: "old\u{fffd}".into(), ..acting(T0 + SECOND) });
    assert_eq!(ground.selections.acting(Uuid::nil(), 9).await.unwrap(), [selection.clone()]);
    let places = ground.selections.picked(selection.id, 2).await.unwrap();
    let place = |number| Picked { selection: selection.id, number };
    assert_eq!(places, [(place(1), ids[0]), (place(2), ids[1])], "the oldest first");
}

async fn selections_have_their_turn_one_after_the_other(ground: &Ground) {
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (selection, _) = frozen(ground, 1).await;
        assert!(ground.selections.act(selection.id, &acting(T0)).await.unwrap());
        ids.push(selection.id);
    }
    ids.sort_unstable();
    let turn = async |after: Uuid| -> Vec<Uuid> {
        ground.selections.acting(after, 2).await.unwrap().into_iter().map(|selection| selection.id).collect()
    };
    assert_eq!(turn(Uuid::nil()).await, ids[..2]);
    assert_eq!(turn(ids[1]).await, ids[2..]);
}

async fn a_letter_and_its_place_move_together_or_not_at_all(ground: &Ground) {
    let (selection, ids) = frozen(ground, 2).await;
    let place = |number| Some(Picked { selection: selection.id, number });
    let step = |at: usize, number| Move {
        picked: place(number),
        ..Move::new(ids[at], DeadState::Open, DeadState::Discarded, "ada", "old", T0)
    };
    assert!(ground.dead.resolve(&step(0, 1)).await.unwrap());
    assert_eq!(tally(ground, selection.id).await, (1, 1, 0));
    // Its turn is over: nothing moves for it again, whatever letter is named.
    assert!(!ground.dead.resolve(&step(1, 1)).await.unwrap());
    assert_eq!(ground.dead.dead_letter(ids[1]).await.unwrap().unwrap().state, DeadState::Open);
    assert!(ground.dead.audit(ids[1]).await.unwrap().is_empty());
    // Somebody else moved the letter: its place waits for a reason.
    assert!(discard(ground, ids[1]).await.unwrap());
    assert!(!ground.dead.resolve(&step(1, 2)).await.unwrap());
    assert_eq!(tally(ground, selection.id).await, (1, 1, 0));
    let lines = ground.dead.audit_records(&api_ack::store::AuditFilter { limit: 9, ..Default::default() }).await.unwrap();
    assert_eq!(lines.iter().map(|line| line.selection).collect::<Vec<_>>(), [None, Some(selection.id)]);
}

async fn what_is_refused_is_listed_and_the_end_is_the_end_of_all(ground: &Ground) {
    let (selection, ids) = frozen(ground, 3).await;
    let place = |number| Picked { selection: selection.id, number };
    assert!(!ground.selections.finish(selection.id, T0).await.unwrap(), "nothing was asked");
    assert!(ground.selections.act(selection.id, &acting(T0)).await.unwrap());
    for number in 1..=3 {
        assert!(!ground.selections.finish(selection.id, T0).await.unwrap(), "{number} waits still");
        ground.selections.refuse(place(number), &format!("no\0 {number}")).await.unwrap();
    }
    ground.selections.refuse(place(3), "another word").await.unwrap();
    let refusal =
        |number: i32| Refusal { number, letter: ids[usize::try_from(number).unwrap() - 1], why: format!("no\u{fffd} {number}") };
    assert_eq!(ground.selections.refusals(selection.id, 0, 2).await.unwrap(), [refusal(1), refusal(2)]);
    assert_eq!(ground.selections.refusals(selection.id, 2, 2).await.unwrap(), [refusal(3)], "the first word stands");
    assert!(ground.selections.finish(selection.id, T0 + 9).await.unwrap());
    assert!(!ground.selections.finish(selection.id, T0 + 10).await.unwrap());
    let (found, _) = ground.selections.selection(selection.id).await.unwrap().unwrap();
    assert_eq!(found.finished_at, Some(T0 + 9));
    assert!(ground.selections.acting(Uuid::nil(), 9).await.unwrap().is_empty());
}

async fn old_selections_are_purged(ground: &Ground) {
    let (idle, ids) = frozen(ground, 5).await;
    let busy = selection("busy");
    ground.selections.freeze(&busy, &ids).await.unwrap();
    assert!(ground.selections.act(busy.id, &acting(T0)).await.unwrap());
    let none = selection("none");
    ground.selections.freeze(&none, &[]).await.unwrap();
    assert!(ground.selections.act(none.id, &acting(T0)).await.unwrap());
    assert!(ground.selections.finish(none.id, T0 + 1).await.unwrap(), "one without letters is at its end");

    let purge = |expired, finished| ground.selections.purge_selections(expired, finished, 3);
    assert_eq!(purge(T0 + 10 * SECOND, T0 + 1).await.unwrap(), 0, "not yet");
    assert_eq!(purge(T0 + 11 * SECOND, T0 + 1).await.unwrap(), 3);
    assert_eq!(purge(T0 + 11 * SECOND, T0 + 2).await.unwrap(), 4, "the last two letters, and both selections");
    assert_eq!(purge(i64::MAX, T0 + 2).await.unwrap(), 0, "what is under way stays");
    for (id, there) in [(idle.id, false), (busy.id, true), (none.id, false)] {
        assert_eq!(ground.selections.selection(id).await.unwrap().is_some(), there);
    }
}

async fn a_large_selection_is_frozen(ground: &Ground) {
    let ids: Vec<Uuid> = (0..100_000).map(|_| Uuid::now_v7()).collect();
    let selection = selection("many");
    ground.selections.freeze(&selection, &ids).await.unwrap();
    assert_eq!(tally(ground, selection.id).await, (100_000, 0, 0));
    assert_eq!(ground.selections.picked(selection.id, 1).await.unwrap()[0].1, ids[0]);
}
