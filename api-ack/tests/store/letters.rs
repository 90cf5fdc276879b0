//! Dead letters for people: searched, grouped, edited, and on record.

use api_ack::fingerprint::Fingerprint;
use api_ack::selections::window;
use api_ack::store::{
    AuditFilter, DeadFilter, DeadGroup, DeadLetter, DeadState, Edit, Edited, Made, Move, NewDeadLetter, State, Stores,
};
use bytes::Bytes;
use uuid::Uuid;

use crate::dead::{discard, kept, letter};
use crate::ground::{Ground, SECOND, T0, accepted, end};

contract!(
    a_letter_has_its_fingerprint_from_the_start,
    letters_of_an_older_version_get_theirs_later,
    letters_are_found_by_all_that_is_known,
    a_search_goes_from_window_to_window,
    groups_are_counted_up_to_a_limit_and_paged,
    a_letter_on_its_way_is_held_by_one,
    an_edit_makes_one_job_that_knows_its_origin,
    an_edit_of_a_strangers_letter_makes_one_that_is_on_its_way,
    an_edit_of_what_is_not_open_changes_nothing,
    the_record_is_searched,
);

async fn found(ground: &Ground, filter: DeadFilter) -> Vec<String> {
    let filter = DeadFilter { limit: 100, ..filter };
    let letters = ground.dead.dead_letters(&filter).await.unwrap();
    let ids: Vec<Uuid> = letters.iter().map(|letter| letter.id).collect();
    assert_eq!(ground.dead.dead_ids(&filter).await.unwrap(), ids, "{filter:?}");
    letters.into_iter().map(|dead| dead.letter.message_id).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

async fn a_letter_has_its_fingerprint_from_the_start(ground: &Ground) {
    let mut new = letter("jobs.mail", "m1", T0);
    new.error = "smtp: 451 from 10.0.0.1\0".into();
    let dead = kept(ground, new).await;
    assert_eq!(dead.fingerprint, Fingerprint::of("mail", "exhausted", "smtp: 451 from 10.0.0.1\u{fffd}"));
    assert_eq!((dead.fingerprint.code.as_str(), dead.fingerprint.title.contains("<n>")), ("smtp", true));
}

async fn letters_of_an_older_version_get_theirs_later(ground: &Ground) {
    let letters: Vec<_> = (0..7).map(|n| letter("jobs.mail", &format!("m{n}"), T0 + n)).collect();
    ground.dead.keep(&letters).await.unwrap();
    let before = ground.dead.dead_letters(&DeadFilter { limit: 10, ..DeadFilter::default() }).await.unwrap();
    ground.execute("UPDATE dead_letters SET fingerprint = '', code = '', title = ''").await;
    assert!(ground.dead.dead_groups(None, "", 10, 10).await.unwrap().is_empty(), "no group without a fingerprint");
    for printed in [5, 2, 0] {
        assert_eq!(ground.dead.print_old(5).await.unwrap(), printed);
    }
    assert_eq!(ground.dead.dead_letters(&DeadFilter { limit: 10, ..DeadFilter::default() }).await.unwrap(), before);
}

async fn letters_are_found_by_all_that_is_known(ground: &Ground) {
    let mut letters: Vec<_> = (0..6).map(|n| letter("jobs.mail", &format!("m{n}"), T0 + n * SECOND)).collect();
    letters[1].error = "smtp: 451 Greylisted 100%".into();
    letters[2].error = "smtp: 999 greylisted 100_".into();
    letters[3].tenant = "other".into();
    ground.dead.keep(&letters).await.unwrap();
    let group = Fingerprint::of("mail", "exhausted", "smtp: 451 Greylisted 100%").hash;
    let filters: [(DeadFilter, &[&str]); 9] = [
        (DeadFilter { code: some("smtp"), ..DeadFilter::default() }, &["m2", "m1"]),
        (DeadFilter { fingerprint: Some(group.clone()), ..DeadFilter::default() }, &["m1"]),
        (
            DeadFilter { fingerprint: Some(group), state: Some(DeadState::Open), tenant: some("acme"), ..DeadFilter::default() },
            &["m1"],
        ),
        (DeadFilter { text: some("gREYlisted"), ..DeadFilter::default() }, &["m2", "m1"]),
        (DeadFilter { text: some("100%"), ..DeadFilter::default() }, &["m1"]),
        (DeadFilter { text: some("100_"), ..DeadFilter::default() }, &["m2"]),
        (DeadFilter { text: some("' OR true --"), ..DeadFilter::default() }, &[]),
        (DeadFilter { since: Some(T0 + 2 * SECOND), until: Some(T0 + 4 * SECOND), ..DeadFilter::default() }, &["m3", "m2"]),
        (
            DeadFilter { tenant: some("other"), state: Some(DeadState::Open), queue: some("jobs.mail"), ..DeadFilter::default() },
            &["m3"],
        ),
    ];
    for (filter, ids) in filters {
        assert_eq!(found(ground, filter.clone()).await, ids, "{filter:?}");
    }
}

async fn a_search_goes_from_window_to_window(ground: &Ground) {
    let mut letters: Vec<_> = (0..20).map(|n| letter("jobs.mail", &format!("m{n}"), T0 + n * SECOND)).collect();
    for n in [1, 2, 3, 4, 13, 19] {
        letters[n].error = "smtp: refused".into();
    }
    ground.dead.keep(&letters).await.unwrap();
    let stores = Stores {
        jobs: ground.jobs.clone(),
        dead: ground.dead.clone(),
        selections: ground.selections.clone(),
        pauses: ground.pauses.clone(),
        destinations: ground.destinations.clone(),
        secrets: ground.secrets.clone(),
    };
    // Each look is at so many letters and no more; together they find what one look at all of them finds.
    let search = async |filter: DeadFilter, look: u32| {
        let (mut filter, mut found, mut looks) = (filter, Vec::new(), 0);
        loop {
            let (ids, next) = window(&stores, &filter, look).await.unwrap();
            looks += 1;
            found.extend(ids);
            let Some(next) = next else { return (found, looks) };
            assert!(filter.before.is_none_or(|before| next < before), "it goes down");
            filter.before = Some(next);
        }
    };
    let smtp = DeadFilter { code: some("smtp"), limit: 3, ..DeadFilter::default() };
    let whole = ground.dead.dead_ids(&DeadFilter { limit: 100, ..smtp.clone() }).await.unwrap();
    assert_eq!(whole.len(), 6);
    for (look, looks) in [(100, 3), (4, 6), (1, 20), (20, 3)] {
        let (found, took) = search(smtp.clone(), look).await;
        assert_eq!(found, whole, "a look at {look}");
        assert!(took <= looks + 1, "{took} looks at {look}");
    }
    let some_time = DeadFilter { since: Some(T0 + 3 * SECOND), until: Some(T0 + 14 * SECOND), ..smtp };
    assert_eq!(search(some_time, 4).await.0, whole[1..4]);
}

async fn groups_are_counted_up_to_a_limit_and_paged(ground: &Ground) {
    let mut letters = Vec::new();
    for n in 0..20 {
        let mut new = letter("jobs.mail", &format!("m{n}"), T0 + n * SECOND);
        new.error = if n % 4 == 0 { format!("smtp: {n} refused") } else { format!("no answer after {n} ms") };
        if n == 0 {
            new.tenant = "other".into();
        }
        letters.push(new);
    }
    ground.dead.keep(&letters).await.unwrap();
    let all = ground.dead.dead_groups(None, "", 10, 100).await.unwrap();
    assert_eq!(all.len(), 2);
    assert!(all[0].fingerprint.hash < all[1].fingerprint.hash);
    let smtp = |groups: &[DeadGroup]| groups.iter().find(|group| group.fingerprint.code == "smtp").cloned().unwrap();
    let group = smtp(&all);
    assert_eq!((group.count, group.fingerprint.title.as_str()), (5, "smtp: <n> refused"));
    assert_eq!((group.first_at, group.latest_at), (T0, T0 + 16 * SECOND));
    assert_eq!((group.kind.as_str(), group.reason.as_str(), group.queue.as_str()), ("mail", "exhausted", "jobs.mail"));
    let latest: DeadLetter = ground.dead.dead_letter(group.latest).await.unwrap().unwrap();
    assert_eq!(latest.letter.message_id, "m16");

    let of_tenant = smtp(&ground.dead.dead_groups(Some("acme"), "", 10, 100).await.unwrap());
    assert_eq!((of_tenant.count, of_tenant.first_at), (4, T0 + 4 * SECOND));
    assert!(ground.dead.dead_groups(Some("nobody"), "", 10, 100).await.unwrap().is_empty());
    assert!(ground.dead.dead_groups(None, "", 10, 3).await.unwrap().iter().all(|group| group.count == 3), "counting stops");
    let page = ground.dead.dead_groups(None, "", 1, 100).await.unwrap();
    assert_eq!(page, all[..1]);
    assert_eq!(ground.dead.dead_groups(None, &page[0].fingerprint.hash, 1, 100).await.unwrap(), all[1..]);
    // Only what is open counts.
    assert!(discard(ground, group.latest).await.unwrap());
    assert_eq!(smtp(&ground.dead.dead_groups(None, "", 10, 100).await.unwrap()).count, 4);
}

async fn a_letter_on_its_way_is_held_by_one(ground: &Ground) {
    let id = kept(ground, letter("shop.orders", "e1", T0)).await.id;
    let step = |from, to| Move::new(id, from, to, "olga", "", T0);
    let hold = |now| ground.dead.hold_redriving(now, now + 10, 5);
    assert!(hold(T0).await.unwrap().is_empty(), "an open one waits for people");
    assert!(ground.dead.resolve(&step(DeadState::Open, DeadState::Redriving)).await.unwrap());
    let held = hold(T0).await.unwrap();
    assert_eq!(held.iter().map(|dead| dead.id).collect::<Vec<_>>(), [id]);
    assert!(hold(T0 + 9).await.unwrap().is_empty(), "one has it");
    assert_eq!(hold(T0 + 10).await.unwrap().len(), 1, "whoever had it may be gone");
    // Open again, and asked for again: nobody has it.
    assert!(ground.dead.resolve(&step(DeadState::Redriving, DeadState::Open)).await.unwrap());
    assert!(ground.dead.resolve(&step(DeadState::Open, DeadState::Redriving)).await.unwrap());
    assert_eq!(hold(T0 + 11).await.unwrap().len(), 1);
}

async fn an_edit_makes_one_job_that_knows_its_origin(ground: &Ground) {
    let mut old = accepted("mail", "acme");
    end(&mut old.job.status, State::Dead, T0);
    ground.store(std::slice::from_ref(&old)).await;
    let mut dead = letter("jobs.mail", "m1", T0);
    dead.job_id = Some(old.job.id);
    let id = kept(ground, dead).await.id;
    let mut new = accepted("mail", "acme");
    new.payload.body = Bytes::from_static(b"{\"fixed\":true}");
    let edit = Edit {
        letter: id,
        made: Made::Job { origin: old.job.id, job: &new },
        request: "r1",
        actor: "olga",
        note: "typo",
        at: T0 + 5,
    };
    assert!(ground.dead.edit(&edit).await.unwrap());

    let record = ground.jobs.record_of(new.job.id).await.unwrap().unwrap();
    assert_eq!((record.edited_from, record.edited_to), (Some(old.job.id), None));
    assert_eq!((record.job, record.payload), (new.job.clone(), new.payload.outline()));
    let record = ground.jobs.record_of(old.job.id).await.unwrap().unwrap();
    assert_eq!((record.edited_from, record.edited_to), (None, Some(new.job.id)));
    assert_eq!(record.job, old.job, "it stays dead");
    assert_eq!(ground.dead.dead_letter(id).await.unwrap().unwrap().state, DeadState::Redriven);
    assert_eq!(ground.dead.edited(id).await.unwrap(), Some(Edited { made: new.job.id, request: "r1".into() }));
    assert_eq!(ground.dead.audit(id).await.unwrap()[0].note, "typo");

    // Retention takes the link with the job.
    assert_eq!(ground.purge(T0 + SECOND, 10).await, 1, "the old one, whose letter nobody waits for");
    ground.execute(&format!("UPDATE jobs SET ended_at = {T0}, outlet = NULL")).await;
    assert_eq!(ground.purge(T0 + SECOND, 10).await, 1);
    assert_eq!(ground.dead.edited(id).await.unwrap(), None);
}

async fn an_edit_of_a_strangers_letter_makes_one_that_is_on_its_way(ground: &Ground) {
    let old = kept(ground, letter("elsewhere", "m1", T0)).await;
    let made = Uuid::now_v7();
    let body = Bytes::from_static(b"fixed\0");
    let new = NewDeadLetter { message_id: made.to_string(), body: body.clone(), died_at: T0 + 5, ..old.letter.clone() };
    let edit = Edit {
        letter: old.id,
        made: Made::Letter { id: made, letter: &new, note: "from it" },
        request: "r1",
        actor: "olga",
        note: "typo",
        at: T0 + 5,
    };
    assert!(ground.dead.edit(&edit).await.unwrap());
    let other = Edit { made: Made::Letter { id: Uuid::now_v7(), letter: &letter("elsewhere", "m3", T0), note: "" }, ..edit };
    assert!(!ground.dead.edit(&other).await.unwrap(), "once");

    assert_eq!(ground.dead.edited(old.id).await.unwrap(), Some(Edited { made, request: "r1".into() }));
    assert_eq!(ground.dead.dead_letter(old.id).await.unwrap().unwrap().state, DeadState::Redriven);
    let held = ground.dead.hold_redriving(T0 + 6, T0 + SECOND, 10).await.unwrap();
    assert_eq!(held.iter().map(|dead| (dead.id, dead.state)).collect::<Vec<_>>(), [(made, DeadState::Redriving)]);
    assert_eq!((&held[0].letter, held[0].actor.as_str(), held[0].note.as_str()), (&new, "olga", "from it"));
    for (id, to, note) in [(old.id, DeadState::Redriven, "typo"), (made, DeadState::Redriving, "from it")] {
        let record = ground.dead.audit(id).await.unwrap();
        assert_eq!(record.iter().map(|line| (line.to, line.note.as_str())).collect::<Vec<_>>(), [(to, note)]);
    }
    assert_eq!(found(ground, DeadFilter::default()).await, [made.to_string(), "m1".to_owned()]);

    // Retention takes the link with the new letter. Its id is as old as this test.
    assert_eq!(ground.dead.purge_dead(T0 + 1, 10).await.unwrap(), 1, "the old one");
    assert!(ground.dead.edited(old.id).await.unwrap().is_some());
    assert_eq!(ground.dead.purge_dead(T0 + 10 * 366 * 86_400 * SECOND, 10).await.unwrap(), 1);
    assert_eq!(ground.dead.edited(old.id).await.unwrap(), None);
}

async fn an_edit_of_what_is_not_open_changes_nothing(ground: &Ground) {
    let id = kept(ground, letter("jobs.mail", "m1", T0)).await.id;
    assert!(discard(ground, id).await.unwrap());
    let new = accepted("mail", "acme");
    let edit =
        Edit { letter: id, made: Made::Job { origin: Uuid::now_v7(), job: &new }, request: "", actor: "olga", note: "", at: T0 };
    assert!(!ground.dead.edit(&edit).await.unwrap());
    assert!(ground.jobs.load(&[new.job.id]).await.unwrap().is_empty());
    assert_eq!(ground.dead.edited(id).await.unwrap(), None);
    assert_eq!(ground.dead.audit(id).await.unwrap().len(), 1);
}

async fn the_record_is_searched(ground: &Ground) {
    let mut ids = Vec::new();
    for n in 0..4 {
        let mut new = letter("jobs.mail", &format!("m{n}"), T0 + n * SECOND);
        new.tenant = if n == 3 { "other".into() } else { "acme".into() };
        let id = kept(ground, new).await.id;
        let actor = if n % 2 == 0 { "olga" } else { "ada" };
        let step = Move::new(id, DeadState::Open, DeadState::Discarded, actor, "why", T0 + n * SECOND);
        assert!(ground.dead.resolve(&step).await.unwrap());
        ids.push(id);
    }
    let lines = async |filter: AuditFilter| {
        let found = ground.dead.audit_records(&AuditFilter { limit: 10, ..filter }).await.unwrap();
        found.iter().map(|line| ids.iter().position(|id| *id == line.letter).unwrap()).collect::<Vec<_>>()
    };
    let all = ground.dead.audit_records(&AuditFilter { limit: 10, ..AuditFilter::default() }).await.unwrap();
    assert_eq!((all[0].tenant.as_str(), all[0].selection, all[0].entry.actor.as_str()), ("other", None, "ada"));
    assert!(all.windows(2).all(|pair| pair[0].number > pair[1].number), "newest first");
    assert_eq!(lines(AuditFilter { tenant: some("acme"), ..AuditFilter::default() }).await, [2, 1, 0]);
    assert_eq!(lines(AuditFilter { actor: some("olga"), ..AuditFilter::default() }).await, [2, 0]);
    assert_eq!(lines(AuditFilter { letter: Some(ids[1]), ..AuditFilter::default() }).await, [1]);
    assert_eq!(lines(AuditFilter { since: Some(T0 + 2 * SECOND), ..AuditFilter::default() }).await, [3, 2]);
    let (before, from) = (Some(all[0].number), Some(all[2].number));
    assert_eq!(lines(AuditFilter { before, from, ..AuditFilter::default() }).await, [2, 1]);
    // It outlives the letter.
    ground.dead.purge_dead(T0 + 9 * SECOND, 10).await.unwrap();
    assert_eq!(lines(AuditFilter { tenant: some("acme"), ..AuditFilter::default() }).await, [2, 1, 0]);
}
