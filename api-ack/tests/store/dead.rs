//! Dead letters: kept once, listed, moved with a record of who and why.

use api_ack::store::{AuditEntry, DeadFilter, DeadLetter, DeadState, Move, NewDeadLetter, Outlet, State, StoreError};
use bytes::Bytes;
use uuid::Uuid;

use crate::ground::{Ground, SECOND, T0, accepted, change, end};

contract!(
    a_dead_letter_is_kept_once_and_as_it_came,
    whatever_a_stranger_wrote_is_kept,
    dead_letters_are_filtered_and_paged,
    a_letter_is_moved_with_its_job_and_a_record,
    a_letter_whose_job_moved_on_stays,
    a_letter_without_a_job_goes_through_redriving,
    old_dead_letters_are_purged,
);

pub fn letter(queue: &str, message_id: &str, died_at: i64) -> NewDeadLetter {
    NewDeadLetter {
        queue: queue.into(),
        message_id: message_id.into(),
        epoch: 1,
        attempt: 7,
        job_id: None,
        kind: "mail".into(),
        tenant: "acme".into(),
        reason: "exhausted".into(),
        error: "no answer".into(),
        headers: serde_json::json!({"warren-epoch": 1, "nested": {"a": ["ä", null]}}),
        content_type: "application/octet-stream".into(),
        body: Bytes::from_static(b"\x00\xff exact"),
        died_at,
    }
}

async fn all(ground: &Ground, filter: DeadFilter) -> Vec<DeadLetter> {
    ground.dead.dead_letters(&DeadFilter { limit: 100, ..filter }).await.unwrap()
}

/// Discards an open letter.
pub async fn discard(ground: &Ground, id: Uuid) -> Result<bool, StoreError> {
    ground.dead.resolve(&Move::new(id, DeadState::Open, DeadState::Discarded, "op", "", T0)).await
}

/// Keeps one letter and answers it.
pub async fn kept(ground: &Ground, new: NewDeadLetter) -> DeadLetter {
    ground.dead.keep(&[new]).await.unwrap();
    all(ground, DeadFilter::default()).await.remove(0)
}

async fn a_dead_letter_is_kept_once_and_as_it_came(ground: &Ground) {
    let mut of_a_job = letter("jobs.mail", "m1", T0);
    of_a_job.job_id = Some(Uuid::now_v7());
    let found = kept(ground, of_a_job.clone()).await;
    assert_eq!((&found.letter, found.state, found.updated_at), (&of_a_job, DeadState::Open, T0));
    assert!(found.actor.is_empty() && found.note.is_empty());
    assert_eq!(ground.dead.dead_letter(found.id).await.unwrap(), Some(found.clone()));
    assert_eq!(ground.dead.dead_letter(Uuid::now_v7()).await.unwrap(), None);

    let mut again = of_a_job.clone();
    again.reason = "poison".into();
    let mut next_epoch = of_a_job.clone();
    next_epoch.epoch = 2;
    ground.dead.keep(&[again, next_epoch.clone(), next_epoch, letter("jobs.mail", "m2", T0)]).await.unwrap();
    assert_eq!(all(ground, DeadFilter::default()).await.len(), 3);
    assert_eq!(ground.dead.dead_letter(found.id).await.unwrap(), Some(found), "the first stays as it is");
    ground.dead.keep(&[]).await.unwrap();
}

async fn whatever_a_stranger_wrote_is_kept(ground: &Ground) {
    let mut strange = letter("warren.lost", "a\0b", T0);
    (strange.kind, strange.tenant, strange.error) = ("\0".into(), "\0".into(), "e\0".into());
    strange.headers = serde_json::json!({"nul": "a\0b"});
    (strange.content_type, strange.body) = (String::new(), Bytes::new());
    let found = kept(ground, strange.clone()).await;
    assert_eq!(found.letter.message_id, "a\u{fffd}b");
    assert_eq!((found.letter.headers, found.letter.body), (strange.headers, strange.body));

    // As long as names are let through, and nothing that an index could make shorter.
    let noise = |seed: u128| {
        let noise: String = (0..8)
            .map(|n| Uuid::from_u128((seed + n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).simple().to_string())
            .collect();
        noise[..255].to_owned()
    };
    let mut long = letter(&noise(1), &noise(100), T0);
    (long.kind, long.tenant, long.reason, long.error) = (noise(200), noise(300), noise(400), noise(500).repeat(16));
    ground.dead.keep(std::slice::from_ref(&long)).await.unwrap();
    assert!(all(ground, DeadFilter::default()).await.into_iter().any(|found| found.letter == long));
}

async fn dead_letters_are_filtered_and_paged(ground: &Ground) {
    let mut letters = Vec::new();
    for n in 0..12 {
        let queue = if n % 2 == 0 { "jobs.mail" } else { "jobs.sms" };
        let mut new = letter(queue, &format!("m{n}"), T0 + n * SECOND);
        if n % 3 == 0 {
            (new.tenant, new.kind, new.reason) = ("other".into(), "sms".into(), "rejected".into());
        }
        letters.push(new);
    }
    ground.dead.keep(&letters).await.unwrap();
    let listed = all(ground, DeadFilter::default()).await;
    assert!(listed.iter().map(|found| &found.letter).eq(letters.iter().rev()), "newest first");
    let page = DeadFilter { before: Some(listed[4].id), limit: 3, ..DeadFilter::default() };
    assert_eq!(ground.dead.dead_letters(&page).await.unwrap(), listed[5..8]);

    assert!(discard(ground, listed[0].id).await.unwrap());
    let some = |text: &str| Some(text.to_owned());
    let filters = [
        (DeadFilter { queue: some("jobs.sms"), ..DeadFilter::default() }, 6),
        (DeadFilter { tenant: some("other"), ..DeadFilter::default() }, 4),
        (DeadFilter { kind: some("sms"), queue: some("jobs.sms"), ..DeadFilter::default() }, 2),
        (DeadFilter { reason: some("exhausted"), ..DeadFilter::default() }, 8),
        (DeadFilter { state: Some(DeadState::Open), ..DeadFilter::default() }, 11),
        (DeadFilter { state: Some(DeadState::Discarded), ..DeadFilter::default() }, 1),
    ];
    for (filter, count) in filters {
        assert_eq!(all(ground, filter.clone()).await.len(), count, "{filter:?}");
    }
    let mut counts = ground.dead.dead_counts().await.unwrap();
    counts.sort_unstable();
    assert_eq!(counts, [("jobs.mail".to_owned(), 6), ("jobs.sms".to_owned(), 5)]);
}

async fn a_letter_is_moved_with_its_job_and_a_record(ground: &Ground) {
    let mut new = accepted("mail", "acme");
    end(&mut new.job.status, State::Dead, T0);
    ground.store(std::slice::from_ref(&new)).await;
    let mut dead = letter("jobs.mail", "m1", T0);
    dead.job_id = Some(new.job.id);
    let id = kept(ground, dead).await.id;

    let redrive = change(&new.job, |status| {
        (status.state, status.epoch, status.ended_at) = (State::Retrying, 2, None);
        (status.due_at, status.outlet) = (T0 + 9, Some(Outlet::Return));
    });
    let step = |to| Move { job: Some(&redrive), ..Move::new(id, DeadState::Open, to, "olga", "fixed in 1.2", T0 + 9) };
    assert!(ground.dead.resolve(&step(DeadState::Redriven)).await.unwrap());
    assert_eq!(ground.job(new.job.id).await.status, redrive.to);
    let moved = ground.dead.dead_letter(id).await.unwrap().unwrap();
    assert_eq!(
        (moved.state, moved.actor.as_str(), moved.note.as_str(), moved.updated_at),
        (DeadState::Redriven, "olga", "fixed in 1.2", T0 + 9)
    );
    let entry = AuditEntry {
        at: T0 + 9,
        actor: "olga".into(),
        note: "fixed in 1.2".into(),
        from: DeadState::Open,
        to: DeadState::Redriven,
    };
    // The second of two operators comes too late.
    assert!(!ground.dead.resolve(&step(DeadState::Discarded)).await.unwrap());
    assert_eq!(ground.dead.audit(id).await.unwrap(), [entry]);
    assert_eq!(ground.job(new.job.id).await.version, 2);
}

async fn a_letter_whose_job_moved_on_stays(ground: &Ground) {
    let new = accepted("mail", "acme");
    ground.store(std::slice::from_ref(&new)).await;
    let before = kept(ground, letter("jobs.mail", "m1", T0)).await;
    let mut stale = change(&new.job, |status| status.epoch = 2);
    stale.from = 7;
    let step = Move { job: Some(&stale), ..Move::new(before.id, DeadState::Open, DeadState::Redriven, "olga", "", T0 + 9) };
    assert!(!ground.dead.resolve(&step).await.unwrap());
    assert_eq!(ground.dead.dead_letter(before.id).await.unwrap(), Some(before.clone()));
    assert_eq!(ground.job(new.job.id).await, new.job);
    assert!(ground.dead.audit(before.id).await.unwrap().is_empty());
}

async fn a_letter_without_a_job_goes_through_redriving(ground: &Ground) {
    let id = kept(ground, letter("shop.orders", "e1", T0)).await.id;
    let (open, redriving, redriven) = (DeadState::Open, DeadState::Redriving, DeadState::Redriven);
    for (from, to) in [(open, redriving), (redriving, open), (open, redriving), (redriving, redriven)] {
        assert!(ground.dead.resolve(&Move::new(id, from, to, "olga", "try", T0 + 1)).await.unwrap());
        let found = ground.dead.dead_letter(id).await.unwrap().unwrap();
        assert_eq!((found.state, found.actor.is_empty()), (to, to == open), "an open letter is nobody's");
    }
    assert_eq!(ground.dead.audit(id).await.unwrap().len(), 4);
    assert!(!ground.dead.resolve(&Move::new(Uuid::now_v7(), open, redriving, "olga", "", T0)).await.unwrap());
}

async fn old_dead_letters_are_purged(ground: &Ground) {
    let letters: Vec<_> = (0..10).map(|n| letter("jobs.mail", &format!("m{n}"), T0 + n * SECOND)).collect();
    ground.dead.keep(&letters).await.unwrap();
    assert_eq!(ground.dead.purge_dead(T0 + 7 * SECOND, 5).await.unwrap(), 5);
    assert_eq!(ground.dead.purge_dead(T0 + 7 * SECOND, 5).await.unwrap(), 2);
    assert_eq!(ground.dead.purge_dead(T0 + 7 * SECOND, 5).await.unwrap(), 0);
    let left: Vec<_> = all(ground, DeadFilter::default()).await.into_iter().map(|found| found.letter.message_id).collect();
    assert_eq!(left, ["m9", "m8", "m7"]);
}
