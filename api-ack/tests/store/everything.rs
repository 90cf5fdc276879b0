//! Everything that a database of format 4 can hold, put there by the store and read back.
//!
//! `tests/golden/store-v4.sqlite` and `store-v4.sql` (a dump of Postgres) hold it, written by the code of that format with
//! `cargo run -p api-ack --example store_golden`. They are never written again: every later version must read them.

use api_ack::store::{
    Acting, Action, Attempt, AuditFilter, DeadFilter, DeadLetter, DeadState, Destination, Edit, Edited, Inserted, Job, Made,
    Move, NewDeadLetter, NewJob, Pause, Picked, Selection, State, StoreError, Stores, Tally,
};
use bytes::Bytes;
use uuid::Uuid;

use crate::golden::{self, id};

const AT: i64 = 1_760_000_000_123_456;

/// The job made from the letter `edited`.
fn edited() -> NewJob {
    let mut job = golden::jobs().swap_remove(1);
    (job.job.id, job.key) = (id(20), None);
    job.payload.body = Bytes::from_static(b"{\"fixed\":true}");
    job
}

fn late() -> Attempt {
    Attempt {
        epoch: 1,
        attempt: 1,
        lease: 1,
        started_at: None,
        ended_at: AT + 7,
        outcome: "late".into(),
        reason: None,
        error: None,
        worker: None,
        http_status: None,
        times: 1,
    }
}

/// One letter per way to end, by its message id. The job of `open` and `edited` is the dead one.
const LETTERS: [(&str, DeadState); 7] = [
    ("m1", DeadState::Discarded),
    ("open", DeadState::Open),
    ("redriving", DeadState::Redriving),
    ("redriven", DeadState::Redriven),
    ("moved", DeadState::Discarded),
    ("refused", DeadState::Open),
    ("edited", DeadState::Redriven),
];

fn letter(message: &str) -> NewDeadLetter {
    NewDeadLetter { message_id: message.into(), body: Bytes::from(format!("{message}\0\u{7121}")), ..golden::letter() }
}

fn selection(n: u8) -> Selection {
    let acting = Acting { action: Action::Discard, force: true, rate: 7, actor: "ada".into(), note: "old".into(), at: AT + 6 };
    Selection {
        id: id(n),
        tenant: (n != 30).then(|| "acme".to_owned()),
        filter: serde_json::json!({"queue": "jobs.orders.place"}),
        created_by: "olga".into(),
        created_at: AT + 5,
        expires_at: AT + 9_000_000,
        acting: (n != 30).then_some(acting),
        finished_at: (n == 32).then_some(AT + 8),
    }
}

fn destination(name: &str, held: bool, reason: &str, since: i64, probing_until: i64) -> Destination {
    Destination { name: name.into(), held, reason: reason.into(), since, probe_at: AT + 50, probing_until }
}

fn pause(kind: &str, at: i64, paused: bool) -> Pause {
    Pause { kind: kind.into(), at, paused, actor: "olga".into(), note: "a test".into() }
}

/// Writes all of it.
pub async fn fill(stores: &Stores) -> Result<(), StoreError> {
    golden::fill(&*stores.jobs, &*stores.dead).await?;
    stores.jobs.ask_cancel(id(3), 1, 2, AT + 4).await?;
    stores.jobs.record(&[(id(6), late())]).await?;
    let letters: Vec<NewDeadLetter> = LETTERS[1..].iter().map(|(message, _)| letter(message)).collect();
    stores.dead.keep(&letters).await?;
    let kept = stores.dead.dead_letters(&DeadFilter { limit: 9, ..DeadFilter::default() }).await?;
    let of = |message: &str| kept.iter().find(|dead| dead.letter.message_id == message).map(|dead| dead.id).unwrap_or_default();
    let step = |message: &str, from, to| Move::new(of(message), from, to, "olga", "a test", AT + 9);
    stores.dead.resolve(&step("redriving", DeadState::Open, DeadState::Redriving)).await?;
    stores.dead.resolve(&step("redriven", DeadState::Open, DeadState::Redriving)).await?;
    stores.dead.resolve(&step("redriven", DeadState::Redriving, DeadState::Redriven)).await?;

    let (idle, acting, finished) = (selection(30), selection(31), selection(32));
    stores.selections.freeze(&Selection { acting: None, ..idle.clone() }, &[of("open")]).await?;
    stores.selections.freeze(&Selection { acting: None, ..acting.clone() }, &[of("moved"), of("refused"), of("open")]).await?;
    stores.selections.freeze(&Selection { acting: None, finished_at: None, ..finished.clone() }, &[]).await?;
    for acted in [&acting, &finished] {
        let Some(asked) = &acted.acting else { unreachable!("only the first one is idle") };
        stores.selections.act(acted.id, asked).await?;
    }
    let place = |number| Picked { selection: acting.id, number };
    stores.dead.resolve(&Move { picked: Some(place(1)), ..step("moved", DeadState::Open, DeadState::Discarded) }).await?;
    stores.selections.refuse(place(2), "too old").await?;
    stores.selections.finish(finished.id, AT + 8).await?;

    let (letter, job) = (of("edited"), edited());
    let made = Made::Job { origin: id(6), job: &job };
    let edit = Edit { letter, made, request: "r1", actor: "olga", note: "a typo", at: AT + 9 };
    stores.dead.edit(&edit).await?;

    for pause in [pause("mail", AT, true), pause("orders.place", AT, true), pause("orders.place", AT + 1, false)] {
        stores.pauses.put_pause(&pause).await?;
    }
    for name in ["held", "probed", "well"] {
        stores.destinations.hold(name, "slow", AT, AT + 50).await?;
    }
    stores.destinations.claim_probe("probed", AT + 51, AT + 60).await?;
    stores.destinations.claim_probe("well", AT + 51, AT + 60).await?;
    stores.destinations.release("well", AT + 70, AT + 60).await?;
    Ok(())
}

/// The row and what belongs to it, as [`fill`] left them.
async fn check_job(stores: &Stores, new: NewJob) {
    let record = stores.jobs.record_of(new.job.id).await.unwrap().unwrap();
    let (change, state) = (golden::change(), new.job.status.state);
    let mut want = Job { version: if matches!(state, State::Running | State::Succeeded) { 2 } else { 1 }, ..new.job };
    if state == State::Running {
        (want.status.cancel_epoch, want.status.updated_at) = (Some(2), AT + 4);
    }
    assert_eq!((&record.job, &record.payload), (&want, &new.payload.outline()));
    let payload = stores.jobs.payloads(&[want.id]).await.unwrap().pop().unwrap().1;
    assert_eq!(payload, new.payload);
    assert_eq!(stores.jobs.traceparent_of(want.id).await.unwrap(), new.payload.traceparent);
    let history = match state {
        State::Succeeded => change.history.into_iter().collect(),
        State::Dead => vec![late()],
        _ => Vec::new(),
    };
    assert_eq!((record.history, record.result), (history, change.result.filter(|_| state == State::Succeeded)));
    assert_eq!(record.edited_from, (want.id == id(20)).then(|| id(6)));
    assert_eq!(record.edited_to, (state == State::Dead).then(|| id(20)));
}

/// That [`fill`] was done to these stores, by whatever version.
pub async fn check(stores: &Stores) {
    for new in golden::jobs().into_iter().chain([edited()]) {
        check_job(stores, new).await;
    }
    let kept = stores.dead.dead_letters(&DeadFilter { limit: 9, ..DeadFilter::default() }).await.unwrap();
    let find = |message: &str| kept.iter().find(|dead| dead.letter.message_id == message).unwrap();
    for (message, state) in LETTERS {
        let dead: &DeadLetter = find(message);
        let want = if message == "m1" { golden::letter() } else { letter(message) };
        assert_eq!((&dead.letter, dead.state), (&want, state), "{message}");
        assert!(!dead.fingerprint.hash.is_empty(), "{message}");
        let moves = match message {
            "open" | "refused" => 0,
            "redriven" => 2,
            _ => 1,
        };
        assert_eq!(stores.dead.audit(dead.id).await.unwrap().len(), moves, "{message}");
    }
    assert_eq!(kept.len(), LETTERS.len());
    let edit = Edited { made: id(20), request: "r1".into() };
    assert_eq!(stores.dead.edited(find("edited").id).await.unwrap(), Some(edit));
    let lines = stores.dead.audit_records(&AuditFilter { limit: 99, ..AuditFilter::default() }).await.unwrap();
    let by_selection: Vec<Uuid> = lines.iter().filter(|line| line.selection == Some(id(31))).map(|line| line.letter).collect();
    assert_eq!((lines.len(), by_selection), (6, vec![find("moved").id]));

    for (n, waiting, moved, refused) in [(30, 1, 0, 0), (31, 1, 1, 1), (32, 0, 0, 0)] {
        let found = stores.selections.selection(id(n)).await.unwrap().unwrap();
        assert_eq!(found, (selection(n), Tally { waiting, moved, refused }));
    }
    let place = Picked { selection: id(31), number: 3 };
    assert_eq!(stores.selections.picked(id(31), 9).await.unwrap(), [(place, find("open").id)]);
    let refusals = stores.selections.refusals(id(31), 0, 9).await.unwrap();
    assert_eq!((refusals[0].number, refusals[0].letter, refusals[0].why.as_str()), (2, find("refused").id, "too old"));

    let mut pauses = stores.pauses.pauses().await.unwrap();
    pauses.sort_by(|one, other| one.kind.cmp(&other.kind));
    assert_eq!(pauses, [pause("mail", AT, true), pause("orders.place", AT + 1, false)]);
    let well = Destination { probe_at: AT + 50, ..destination("well", false, "", AT + 70, 0) };
    let destinations =
        [destination("held", true, "slow", AT, 0), destination("probed", true, "slow", AT, AT + 60), well].to_vec();
    assert_eq!(stores.destinations.destinations().await.unwrap(), destinations);

    // Its key still answers.
    let again = NewJob { job: Job { id: Uuid::now_v7(), ..edited().job }, key: golden::jobs()[1].key, ..edited() };
    let inserted = stores.jobs.insert(&[again]).await.unwrap();
    assert_eq!(inserted, [Inserted::Existing { id: id(1), fingerprint: [2; 32] }]);
}
