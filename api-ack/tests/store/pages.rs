//! What statements look at, in tables that are full of others' rows: pages of 8 KiB, as Postgres counts them.
//!
//! Walking an index from end to end is no sequential scan and costs as much, so what counts is how much was read. Not asked here is
//! what says of itself that it reads more: `owned`, `leave` and `release_lapsed` look at every row under way, `purge_keys` at
//! a number of blocks.

use std::collections::BTreeMap;

use crate::dead::letter;
use crate::ground::{Ground, ME, SECOND, T0, accepted, attempt, begin, change, end, high, high_lane, key, lane, rows};
use crate::looks::{self, Looks};
use api_ack::store::{
    AuditFilter, Bookmark, CallbackFilter, CallbackState, DeadFilter, Deed, JobFilter, JobSearch, NewJob, Old, Pause, Priority,
    Recalled, Settled, State, Status, Target,
};

/// Rows of others, of each sort. A walk through the smallest index on them takes [`WALK`] pages.
const OTHERS: i64 = 60_000;

/// Hosts that others are to be called back at.
const HOSTS: usize = 10;

/// Less than what any index takes that holds [`OTHERS`] rows. Two of one's own are looked up in every index of several tables.
const WALK: u64 = 140;

/// Jobs in every state, dead letters in every state, selections, keys and the record, of five other kinds and two other tenants;
/// older and younger than what the statements are about. What waits is due in a day.
fn others() -> String {
    let jobs = |state: i16, outlet: &str, owner: &str, ended: &str, priority: i16| {
        format!(
            "INSERT INTO jobs (id, kind, tenant, version, state, epoch, attempt, spent, starts, interrupted, lease, owner, due_at, \
             outlet, deadline, ended_at, updated_at, priority) \
             SELECT gen_random_uuid(), 'k' || n % 5, 't' || n % 2, 1, {state}, 1, 1, 0, 0, 0, 0, {owner}, {T0} + 86400000000, \
             {outlet}, {T0} + 864000000000, {ended}, {T0} + n - {OTHERS} / 2, {priority} FROM generate_series(1, {OTHERS}) n;"
        )
    };
    let letters = |state: i16, fingerprint: &str| {
        format!(
            "INSERT INTO dead_letters (id, queue, message_id, epoch, attempt, job_id, kind, tenant, reason, error, headers, \
             content_type, body, died_at, state, actor, note, updated_at, fingerprint) \
             SELECT gen_random_uuid(), 'jobs.k' || n % 5, n || '-{state}', 1, 1, gen_random_uuid(), 'k' || n % 5, 't' || n % 2, '', \
             '', '{{}}', '', '', {T0} + n - {OTHERS} / 2, {state}, '', '', {T0} + n, {fingerprint} FROM generate_series(1, {OTHERS}) n;"
        )
    };
    let ended = format!("{T0} + n - {OTHERS} / 2");
    let mut all = [
        jobs(1, "'jobs'", "NULL", "NULL", 0),
        jobs(1, "'jobs'", "NULL", "NULL", 1),
        jobs(1, "'jobs'", "11", "NULL", 0),
        jobs(2, "NULL", "NULL", "NULL", 0),
        jobs(3, "NULL", "11", "NULL", 1),
        jobs(5, "NULL", "NULL", &ended, 0),
        jobs(6, "NULL", "NULL", &ended, 0),
        jobs(6, "'dead'", "NULL", &ended, 0),
        letters(0, "'f' || n % 20"),
        letters(1, "'f' || n % 20"),
        letters(2, "'f' || n % 20"),
    ]
    .concat();
    all += &format!(
        "INSERT INTO job_payloads SELECT id, 'sue', '', '', NULL FROM jobs; \
         INSERT INTO job_results SELECT id, '' FROM jobs WHERE state = 5; \
         INSERT INTO job_attempts SELECT id, 1, 1, 1, NULL, {T0}, 'failed', NULL, NULL FROM jobs WHERE state > 1; \
         INSERT INTO job_tags SELECT tenant, 'batch:' || version, id FROM jobs WHERE state = 5; \
         INSERT INTO job_progress SELECT id, 1, 1, 1, 5, '', {T0} FROM jobs WHERE state = 3; \
         INSERT INTO job_edits SELECT id, gen_random_uuid(), gen_random_uuid(), '' FROM jobs WHERE state = 5; \
         INSERT INTO idempotency_keys SELECT sha256(n::text::bytea), gen_random_uuid(), '', {T0} + n FROM generate_series(1, {OTHERS}) n; \
         UPDATE jobs SET callback = epoch WHERE state = 5 AND priority = 0; \
         INSERT INTO callbacks SELECT id, tenant, 'u', 'h' || version, 2, 1, 1, 1, NULL, '[]', {T0} FROM jobs WHERE state = 5; \
         INSERT INTO callbacks SELECT id, tenant, 'u', 'h' || updated_at % 10, 1, 1, 1, 1, updated_at + 86400000000, '[]', {T0} FROM jobs WHERE state = 6; \
         INSERT INTO callback_stops SELECT 't' || n % 2, 'u' || n, {T0}, gen_random_uuid() FROM generate_series(1, {OTHERS}) n; \
         INSERT INTO callback_audit (at, actor, note, action, tenant, url, job_id) SELECT {T0}, '', '', 'redrive', '', '', id FROM jobs WHERE state = 5; \
         INSERT INTO pauses (kind, at, paused, actor, note) SELECT 'k' || n % 5, n, true, '', '' FROM generate_series(1, 200) n; \
         INSERT INTO audit (letter, at, actor, note, from_state, to_state) SELECT id, {T0}, '', '', 0, 2 FROM dead_letters; \
         INSERT INTO selections SELECT gen_random_uuid(), 't1', '{{}}', '', {T0}, {T0} + 86400000000, 1, false, 1, '', '', {T0}, {T0} + 86400000000 \
         FROM generate_series(1, {OTHERS}) n; \
         INSERT INTO selected_letters SELECT id, 1, gen_random_uuid(), 0, '' FROM selections;"
    );
    all
}

/// Two jobs of their own kind and tenant.
fn mine(new: impl Fn(&str, &str) -> NewJob) -> Vec<NewJob> {
    (0..2).map(|_| new("mail", "acme")).collect()
}

async fn ask_everything(ground: &Ground, looks: &mut Looks<'_>, round: u32, others_hosts: usize) {
    let (jobs, dead, selections) = (&ground.jobs, &ground.dead, &ground.selections);
    let mut batch = mine(accepted);
    for (number, new) in batch.iter_mut().enumerate() {
        new.key = Some(key(round * 100 + u32::try_from(number).unwrap()));
    }
    jobs.insert(&batch).await.unwrap();
    looks.at("insert", WALK);
    jobs.insert(&mine(high)).await.unwrap();
    looks.at("insert, high", WALK);
    let ids: Vec<_> = batch.iter().map(|new| new.job.id).collect();

    jobs.lanes(T0).await.unwrap();
    // Five kinds of two tenants in two classes, and what is asked about: each lane is looked up from the root of its index.
    looks.at("lanes, by lane", 2 * WALK);
    jobs.backlog(T0).await.unwrap();
    looks.at("backlog, by lane", 2 * WALK);
    let claimed = jobs.claim(ME, &high_lane("mail", "acme"), T0 + 1, rows(10)).await.unwrap();
    assert_eq!(claimed.len(), 2);
    looks.at("claim, high", WALK);
    let claimed = jobs.claim(ME, &lane("mail", "acme"), T0 + 1, rows(10)).await.unwrap();
    assert_eq!(claimed.len(), 2);
    looks.at("claim", WALK);
    assert!(jobs.claim_letters(ME, T0, rows(10)).await.unwrap().is_empty());
    looks.at("claim, letters", WALK);
    let marks: Vec<_> = claimed.iter().map(|(job, _)| (job.id, job.version)).collect();
    assert_eq!(jobs.mark_published(&marks, T0 + 2).await.unwrap(), 2);
    looks.at("mark", WALK);
    let loaded = jobs.load(&ids).await.unwrap();
    looks.at("load", WALK);
    let begun: Vec<_> = loaded.iter().map(|job| change(job, |status| begin(status, T0 + 3))).collect();
    assert_eq!(jobs.apply(&begun).await.unwrap(), [true; 2]);
    looks.at("begin", WALK);
    assert_eq!(jobs.in_flight("mail", 100).await.unwrap() % 2, 0);
    jobs.in_flight_high("mail", 100).await.unwrap();
    jobs.queued("mail", 100).await.unwrap();
    jobs.unended("mail", 100).await.unwrap();
    looks.at("in flight", WALK);
    jobs.quiet("mail", None, T0 + 10, 10).await.unwrap();
    jobs.quiet("mail", Some(Priority::High), T0 + 10, 10).await.unwrap();
    looks.at("quiet", WALK);
    jobs.overrun("mail", T0 + 10, 10).await.unwrap();
    looks.at("overrun", WALK);
    jobs.overdue(T0, 10).await.unwrap();
    looks.at("overdue, by lane", 2 * WALK);
    jobs.ask_cancel(ids[0], 3, 1, T0).await.unwrap();
    looks.at("cancel", WALK);
    let mut ended: Vec<_> =
        jobs.load(&ids).await.unwrap().iter().map(|job| change(job, |status| end(status, State::Succeeded, T0 + 5))).collect();
    for change in &mut ended {
        (change.history, change.result) = (Some(attempt(1)), Some(bytes::Bytes::from_static(b"done")));
    }
    assert_eq!(jobs.apply(&ended).await.unwrap(), [true; 2]);
    looks.at("finish", WALK);
    call_back(ground, looks, round, others_hosts).await;
    jobs.record(&[(ids[0], attempt(7))]).await.unwrap();
    looks.at("late", WALK);

    // A body of 8 MiB lies on a thousand pages.
    let mut large = accepted("mail", "acme");
    large.job.status.due_at += 86_400 * SECOND;
    large.payload.body = vec![b' '; 8 << 20].into();
    jobs.insert(std::slice::from_ref(&large)).await.unwrap();
    looks.at("insert, large", u64::MAX);
    assert_eq!(jobs.record_of(large.job.id).await.unwrap().unwrap().payload.size, 8 << 20);
    jobs.traceparent_of(large.job.id).await.unwrap();
    jobs.record_of(ids[0]).await.unwrap().unwrap();
    jobs.payloads(&ids).await.unwrap();
    jobs.holder(batch[0].key.unwrap().hash).await.unwrap().unwrap();
    looks.at("read", WALK);
    let filter = JobFilter { tenant: Some("acme".into()), limit: 10, ..JobFilter::default() };
    jobs.search(&JobSearch { filter, subject: Some("anna".into()), scan: 20, ..JobSearch::default() }).await.unwrap();
    // Each of the twenty has a row and a payload.
    looks.at("list", 4 * WALK);
    jobs.ended_kinds().await.unwrap();
    looks.at("ended kinds, by kind", WALK);
    let old = Old { kind: "mail", before: T0 + 6, dead_before: T0 + 6 };
    assert_eq!(jobs.purge_ended(&old, Bookmark::START, 10).await.unwrap().gone, 2);
    // Five tables and their indexes.
    looks.at("purge", 2 * WALK);
    jobs.beat(ME).await.unwrap();
    jobs.share_ended(ME, &BTreeMap::new()).await.unwrap();
    looks.at("beat", WALK);

    let pause = Pause { kind: "mail".into(), at: T0, paused: true, actor: "ann".into(), note: String::new() };
    ground.pauses.put_pause(&pause).await.unwrap();
    ground.pauses.pauses().await.unwrap();
    looks.at("pauses, by kind", WALK);
    let kept = letter("jobs.mail", &ids[0].to_string(), T0);
    dead.keep(&[kept]).await.unwrap();
    looks.at("keep", WALK);
    dead.dead_ids(&DeadFilter { limit: 10, ..DeadFilter::default() }).await.unwrap();
    dead.audit_records(&AuditFilter { limit: 10, ..AuditFilter::default() }).await.unwrap();
    looks.at("list dead", WALK);
    dead.dead_groups(Some("t1"), "", 3, 10).await.unwrap();
    looks.at("groups, by group", 2 * WALK);
    dead.print_old(10).await.unwrap();
    dead.hold_redriving(T0, T0 + SECOND, 2).await.unwrap();
    looks.at("redriving", 2 * WALK);
    selections.acting(uuid::Uuid::nil(), 10).await.unwrap();
    selections.picked(ids[0], 10).await.unwrap();
    looks.at("selections", WALK);
}

async fn call_back(ground: &Ground, looks: &mut Looks<'_>, round: u32, others_hosts: usize) {
    let callbacks = &ground.callbacks;
    let target = Target { url: "https://a.example/".into(), host: format!("a{}.example:443", round) };
    let mut called = accepted("mail", "acme");
    called.job.status = Status { owner: Some(ME), ..called.job.status };
    called.callback = Some(target.clone());
    ground.jobs.insert(std::slice::from_ref(&called)).await.unwrap();
    looks.at("insert, with a callback", WALK);
    callbacks.owe(T0, 10).await.unwrap();
    looks.at("owe nothing", 10);
    ground.change(change(&called.job, |status| end(status, State::Succeeded, T0 + 5 * SECOND))).await;
    looks.at("finish, with a callback", WALK);
    assert_eq!(callbacks.owe(T0, 10).await.unwrap(), 1);
    looks.at("owe", WALK);
    assert!(callbacks.owed_hosts("", 100).await.unwrap().len() > others_hosts);
    looks.at("hosts, by host", WALK);
    let claimed = callbacks.claim_callbacks(&target.host, T0, T0 + SECOND, 10).await.unwrap().remove(0);
    looks.at("claim a callback", WALK);
    let (job, claim) = (called.job.id, claimed.callback.claim);
    let settled = Settled { job, claim, state: CallbackState::Disabled, due_at: None, history: Vec::new(), at: T0, stop: true };
    assert!(callbacks.settle(&settled).await.unwrap());
    callbacks.callback(job).await.unwrap().unwrap();
    let deed = Deed { at: T0, actor: "ann".into(), note: String::new(), action: "enable".into() };
    callbacks.stops(Some("zoo"), ("", ""), 10).await.unwrap();
    callbacks.stops(None, ("", ""), 10).await.unwrap();
    assert!(callbacks.unstop("acme", &target.url, &deed).await.unwrap());
    assert_eq!(callbacks.recall(job, &deed).await.unwrap(), Recalled::Done);
    assert_eq!(callbacks.deeds(job).await.unwrap().len(), 2);
    callbacks.count_owed(100).await.unwrap();
    looks.at("callbacks", WALK);
    callbacks.callbacks(&CallbackFilter { scan: 20, limit: 10, ..CallbackFilter::default() }).await.unwrap();
    looks.at("list callbacks", WALK);
}

#[tokio::test]
async fn no_statement_walks_what_is_others() {
    let server = looks::server();
    // Each connection reads the catalogs for itself, and those pages count too: one connection reads them in the first round.
    let ground = Ground::postgres_over(server.url("postgres"), 1).await;
    ground.execute(&others()).await;
    ground.execute("ANALYZE").await;
    let smallest: i64 = {
        use sqlx::Connection as _;
        let mut connection = sqlx::PgConnection::connect(&server.url("postgres")).await.unwrap();
        // Those that hold no row of others, and the one that holds a range per block.
        let sql = "SELECT min(pg_relation_size(indexrelid)) / 8192 FROM pg_stat_user_indexes WHERE indexrelname NOT IN \
            ('_sqlx_migrations_pkey', 'processes_pkey', 'pauses_pkey', 'pauses_latest', 'destinations_pkey', 'secrets_pkey', 'dead_letters_unprinted', 'selections_acting', \
            'selected_letters_refused', 'idempotency_keys_age', 'jobs_to_tell')";
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
    };
    assert!(smallest > i64::try_from(WALK).unwrap(), "a walk through an index may take {smallest} pages and not be noticed");
    let mut looks = Looks::of(&server);
    ask_everything(&ground, &mut looks, 1, HOSTS).await;
    looks.again();
    ask_everything(&ground, &mut looks, 2, HOSTS).await;
    eprintln!("smallest index {smallest} pages");
    looks.judge();
}

/// A statement is planned once, and a hub that is new plans it over tables that are empty: where two indexes would do, Postgres knows nothing then of which is
/// the better one, and keeps to what it took until somebody analyses the table.
#[tokio::test]
async fn a_statement_that_was_planned_when_there_was_nothing_walks_no_more_when_there_is_much() {
    let server = looks::server();
    let ground = Ground::postgres_over(server.url("postgres"), 1).await;
    let mut looks = Looks::of(&server);
    ask_everything(&ground, &mut looks, 1, 0).await;
    ground.execute("DELETE FROM jobs; DELETE FROM job_payloads; DELETE FROM job_results; DELETE FROM job_attempts; DELETE FROM callbacks").await;
    ground.execute(&others()).await;
    looks.again();
    ask_everything(&ground, &mut looks, 2, HOSTS).await;
    looks.judge();
}
