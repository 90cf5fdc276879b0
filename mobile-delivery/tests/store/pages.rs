//! What statements look at, in tables that are full of others' rows: pages of 8 KiB, as Postgres counts them.
//!
//! Walking an index from end to end is no sequential scan and costs as much, so what counts is how much was read.

use crate::ground::{DAY, Ground, ME, SECOND, T0, collapsing, key, keyed, registration, to, to_all, to_user};
use crate::looks::{self, Looks};
use mobile_delivery::store::{
    Ack, Audience, Filter, GroupRules, Hash, Hearing, Limit, Limits, MAIN, Mark, Message, NewMessage, Number, Order, Outcome,
    Presence, Reading, Registration, Sent, Target, Which, slot_of,
};
use uuid::Uuid;

/// Rows of others, of each sort.
const OTHERS: i64 = 20_000;

/// Less than what the smallest index on [`OTHERS`] rows takes, and more than what two devices are looked up in.
const WALK: u64 = 45;

/// A page of ten devices, or of their lanes, and what was looked at for it: each is looked up in two tables.
const LIST: u64 = 2 * WALK;

/// One statement writes messages, deliveries and lanes, each with its indexes; a walk would come on top of that.
const SENT: u64 = 60;

/// A device is written to four tables, and one of them has a row for each of its four tags.
const REGISTERED: u64 = 60;

/// In steps, each of which looks whether five tables have something left of a message.
const PURGED: u64 = 60;

/// What taking and giving all slots looks at: four pages for each, whatever else there is.
const SLOTS: u64 = 300;

/// Of all that waits, so much is looked at by age at one time: some hundreds of rows wherever they are, and the first of each device.
const BY_BACKLOG: u64 = 4000;

/// Devices with messages, connected and hot, with lanes that are behind; ended deliveries, scheduled ones, keys and receipts; of the tenant that
/// this SQL makes of `n`, and older and younger than what the statements are about. Nothing of theirs is due, expired or idle.
fn others(tenant: &str) -> String {
    let later = T0 + 90 * DAY;
    format!(
        "INSERT INTO devices (tenant, id, user_id, groups, labels, tier, created_at, updated_at, removed_at) \
         SELECT {tenant}, 'd' || n, 'u' || n % 5000, '[]', '{{}}', 0, 0, 0, CASE WHEN n % 4 = 0 THEN {later} + n END \
         FROM generate_series(1, {OTHERS}) n; \
         INSERT INTO device_states SELECT number, tenant, 3, 3, 30, 0, 1, 1, 0, 0, 0, NULL, NULL FROM devices; \
         INSERT INTO device_tags SELECT tenant, 'g:' || number % 50, number FROM devices; \
         INSERT INTO device_tags SELECT tenant, 'u:' || user_id, number FROM devices; \
         INSERT INTO device_tags SELECT tenant, '*', number FROM devices; \
         INSERT INTO device_credentials SELECT sha256(number::text::bytea), number, 0, 0, 0 FROM devices; \
         INSERT INTO device_messages SELECT gen_random_uuid(), {tenant}, '', '', '', '', NULL, 'k', 0, {T0}, NULL \
         FROM generate_series(1, {OTHERS}) n; \
         INSERT INTO device_deliveries SELECT d.number, s, gen_random_uuid(), 10, {later} + d.number, 1, 'k' \
         FROM devices d, generate_series(1, 3) s; \
         INSERT INTO device_ended SELECT id, row_number() OVER (), 1, 3, NULL, 1, {later} + row_number() OVER (), NULL FROM device_messages; \
         INSERT INTO device_scheduled SELECT id, row_number() OVER (), {later} + row_number() OVER (), 1, 1, 1, NULL FROM device_messages; \
         INSERT INTO device_log SELECT {tenant}, 100 + n, 'g:' || n % 50, gen_random_uuid(), 10, {later} + n, 0 FROM generate_series(1, {OTHERS}) n; \
         INSERT INTO device_log_heads SELECT {tenant}, 100 + max(n), count(*) FROM generate_series(1, {OTHERS}) n GROUP BY 1 \
         ON CONFLICT (tenant) DO UPDATE SET head = excluded.head; \
         INSERT INTO device_groups SELECT {tenant}, 'g:' || n, 1, 10, NULL, 0 FROM generate_series(1, {OTHERS}) n ON CONFLICT DO NOTHING; \
         INSERT INTO device_keys SELECT sha256(n::text::bytea), gen_random_uuid(), '', {later} + n FROM generate_series(1, {OTHERS}) n; \
         INSERT INTO device_receipts (message, device, state, at) SELECT id, 1, 3, {T0} FROM device_messages; \
         INSERT INTO device_sessions SELECT number, tenant, 7, gen_random_uuid(), 1, 0, {T0} FROM devices; \
         INSERT INTO device_lane_shards SELECT number, 'z' FROM devices WHERE number % 2 = 0; \
         INSERT INTO device_lanes_left SELECT 'z', number, 0, {T0} FROM devices; \
         INSERT INTO device_lanes SELECT number, 100 + number % 64, 0, 1, 1, 0, 1, {later} + number FROM devices;"
    )
}

async fn ask_everything(ground: &Ground, looks: &mut Looks<'_>, round: u8) {
    let (devices, messages) = (&ground.stores.devices, &ground.stores.messages);
    let (sessions, lanes) = (&ground.stores.sessions, &ground.stores.lanes);
    let mut phone = registration("phone");
    phone.groups.insert("news".into());
    phone.labels.insert("os".into(), "ios".into());
    let device = ground.put(&phone).await;
    looks.at("register", REGISTERED);
    let watch = ground.device("watch").await;
    looks.at("register another", WALK);
    ground.put(&Registration { user: "bob".into(), ..phone.clone() }).await;
    ground.put(&phone).await;
    looks.at("register again", WALK);
    devices.credit(device, Hash([round; 32]), T0).await.unwrap();
    devices.refresh(Hash([round; 32]), Hash([round + 100; 32]), T0, SECOND).await.unwrap();
    looks.at("credentials", WALK);

    sessions.beat(ME, &[]).await.unwrap();
    let slots = lanes.take_slots(ME, 64).await.unwrap();
    looks.at("slots", SLOTS);
    lanes.warm(device, MAIN, None, T0).await.unwrap().unwrap();
    looks.at("warm", WALK);
    let fence = ground.connect(device).await;
    let of_watch = ground.connect(watch).await;
    looks.at("connect", WALK);
    let log = &ground.stores.log;
    let news = NewMessage { receipt: false, ..to_all(Target::Log(Audience::Group("news".into()))) };
    messages.send(std::slice::from_ref(&news), &Limits::default(), T0).await.unwrap();
    looks.at("send to a group", WALK);
    devices.member("acme", "news", "watch", true, T0).await.unwrap();
    devices.member("acme", "news", "watch", false, T0).await.unwrap();
    looks.at("join and leave", WALK);
    let head = log.heads(&["acme".into()]).await.unwrap()[0].1;
    let few = Limit { messages: 10, bytes: 1 << 20 };
    assert_eq!(log.tail("acme", head - 1, few).await.unwrap().entries.len(), 1);
    let standing = log.standing(device).await.unwrap().unwrap();
    assert_eq!(standing.last, Some(head));
    assert_eq!(log.unheard(device, standing.heard, few, T0).await.unwrap().entries.len(), 1);
    looks.at("read the log", WALK);
    log.stale(&[(device, standing.roster)]).await.unwrap();
    log.hear(&[Hearing { device, fence, roster: Some(standing.roster), entry: head }]).await.unwrap();
    looks.at("hear", WALK);
    assert_eq!(messages.record("acme", news.message.id).await.unwrap().unwrap().spread.unwrap().delivered, 1);
    looks.at("look how far an entry has got", WALK);
    messages.cancel("acme", news.message.id, T0).await.unwrap();
    messages.send(&[NewMessage { ttl: Some(SECOND), ..to_all(news.target.clone()) }], &Limits::default(), T0).await.unwrap();
    assert_eq!(log.expire_log(T0 + 60 * DAY, 10).await.unwrap(), 1);
    looks.at("withdraw and expire entries", SENT);
    let groups = &ground.stores.groups;
    let rules = GroupRules { publish: true, history: 10, ttl: None };
    assert!(groups.set_group("acme", "news", &rules, T0).await.unwrap());
    groups.group("acme", "news").await.unwrap();
    looks.at("say what a group is", WALK);
    let publish = NewMessage { publisher: Some(device), ..news.clone() };
    let id = Uuid::now_v7();
    let publish = NewMessage { message: Message { id, ..publish.message }, ..publish };
    let published = messages.send(&[publish], &Limits::default(), T0).await.unwrap();
    assert!(matches!(&published[..], [Sent::Accepted { .. }]), "{published:?}");
    looks.at("publish", WALK);
    assert_eq!(groups.groups_of(device).await.unwrap().len(), 1);
    assert!(!groups.members(device, "news").await.unwrap().unwrap().is_empty());
    assert!(!groups.present(&[("acme".into(), "news".into())]).await.unwrap()[0].as_ref().unwrap().is_empty());
    looks.at("look who is in a room", WALK);
    assert!(!groups.history(device, "news", i64::MAX, few, T0).await.unwrap().unwrap().entries.is_empty());
    looks.at("read a room back", WALK);
    messages.pause("acme", id, T0).await.unwrap();
    messages.resume("acme", id, T0).await.unwrap();
    looks.at("pause and resume", WALK);
    messages.pause("acme", id, T0).await.unwrap();
    messages.cancel("acme", id, T0).await.unwrap();
    looks.at("withdraw what was published", WALK);
    let scheduled = NewMessage { not_before: Some(T0 + SECOND), ..to("phone") };
    let sends = [
        keyed(to_user("ann"), key(round, 1)),
        collapsing(to("phone"), "k"),
        collapsing(to("phone"), "k"),
        scheduled,
        to("watch"),
    ];
    let limits = Limits { device_messages: 3, ..Limits::default() };
    messages.send(&sends, &limits, T0).await.unwrap();
    messages.send(&[keyed(to_user("ann"), key(round, 1))], &limits, T0).await.unwrap();
    looks.at("send", SENT);
    messages.place_due(&limits, T0 + SECOND, 10).await.unwrap();
    looks.at("place what is due", WALK);
    devices.get("acme", "phone").await.unwrap().unwrap();
    looks.at("get", WALK);
    let all = Filter { limit: 10, scan: 20, ..Filter::of("acme") };
    for filter in [
        all.clone(),
        Filter { user: Some("ann".into()), ..all.clone() },
        Filter { group: Some("news".into()), ..all.clone() },
        Filter { label: Some(("os".into(), "ios".into())), ..all.clone() },
        Filter { presence: Some(Presence::Online), ..all.clone() },
        Filter { backlog: Some(1), ..all.clone() },
    ] {
        assert!(!devices.list(&filter).await.unwrap().devices.is_empty());
    }
    looks.at("list", LIST);
    for order in [Order::Messages, Order::Bytes, Order::Age] {
        for tenant in [Some("acme".to_owned()), None] {
            devices.list(&Filter { order, tenant, ..all.clone() }).await.unwrap();
        }
    }
    devices.waiting_since(&[device, watch]).await.unwrap();
    looks.at("list by backlog", BY_BACKLOG);

    assert!(!ground.pending(device).await.messages.is_empty());
    assert_eq!(sessions.behind(&[(device, 0), (watch, 99)], T0).await.unwrap(), [device]);
    looks.at("pending", WALK);
    let mine = [slot_of(device)];
    let reading =
        Reading { slots: &mine, shards: &[MAIN], after: Number(0), devices: 10, each: 10, messages: 20, bytes: 1 << 20 };
    let found = lanes.unsent(&reading, T0).await.unwrap().remove(0);
    looks.at("unsent", WALK);
    assert_eq!(lanes.unsent_of(&[device, watch], &reading, T0).await.unwrap()[0], found);
    looks.at("unsent, of two", WALK);
    let slot = slots.iter().find(|slot| slot.slot == mine[0]).unwrap();
    let mark = Mark { device, fence: slot.fence, turn: found.turn, upto: found.upto, handed: None };
    assert_eq!(lanes.mark_sent(&[mark]).await.unwrap(), [true]);
    looks.at("mark", WALK);
    let ack = |device, fence, which| Ack { device, fence, which, outcome: Outcome::Delivered };
    let first = sends[0].message.id;
    let acks = [
        ack(device, fence, Which::UpTo { seq: 1, given: 1 }),
        ack(watch, of_watch, Which::Messages(vec![first])),
        ack(device, fence, Which::Seqs(vec![2])),
    ];
    sessions.settle(&acks, T0).await.unwrap();
    looks.at("settle", WALK);
    messages.empty(watch, 1, T0, 10).await.unwrap();
    looks.at("empty", WALK);
    messages.read(watch, &[first], T0).await.unwrap();
    messages.record("acme", first).await.unwrap().unwrap();
    messages.cancel("acme", sends[2].message.id, T0).await.unwrap();
    looks.at("read, look and cancel", WALK);
    messages.expire(T0 + 60 * DAY, 10).await.unwrap();
    looks.at("expire", WALK);
    assert_eq!(ground.pending(watch).await.messages.len(), 0);
    let told = messages.receipts(0, 10).await.unwrap();
    messages.forget_receipts(&[told[0].number]).await.unwrap();
    looks.at("receipts", WALK);
    sessions.release(&[(device, fence), (watch, of_watch)], T0).await.unwrap();
    looks.at("release", WALK);
    lanes.idle(&[MAIN], T0 + SECOND, 10).await.unwrap();
    lanes.cooling(&[MAIN, "z"], 10).await.unwrap();
    lanes.vacant("z", 10).await.unwrap();
    lanes.left(&[MAIN, "z"], T0 + 1, 10).await.unwrap();
    lanes.occupied(10).await.unwrap();
    looks.at("look for what is to go", LIST);
    let lane = lanes.warm(device, MAIN, None, T0).await.unwrap().unwrap();
    lanes.cool(device, lane.turn, T0).await.unwrap();
    lanes.cooled(device, lane.turn + 1).await.unwrap();
    let lane = lanes.warm(device, "y", None, T0).await.unwrap().unwrap();
    lanes.cool(device, lane.turn, T0).await.unwrap();
    lanes.cooled(device, lane.turn + 1).await.unwrap();
    looks.at("cool", WALK);
    devices.revoke(device, T0).await.unwrap();
    devices.remove("acme", "phone", T0).await.unwrap().unwrap();
    devices.remove("acme", "watch", T0).await.unwrap().unwrap();
    looks.at("remove", WALK);
    while messages.purge(T0 + 60 * DAY, 10).await.unwrap() > 0 {}
    messages.purge_keys(T0 + 60 * DAY, 10).await.unwrap();
    looks.at("purge", PURGED);
    lanes.give_slots(&slots).await.unwrap();
    sessions.release_lapsed(T0, 2).await.unwrap();
    sessions.leave(ME).await.unwrap();
    looks.at("processes", SLOTS);
}

#[tokio::test]
async fn no_statement_walks_what_is_others() {
    let server = looks::server();
    // Each connection reads the catalogs for itself, and those pages count too: the first round reads them.
    let ground = Ground::postgres_over(server.url("postgres"), 1).await;
    ground.execute(&others("'t' || n % 2")).await;
    ground.execute("ANALYZE").await;
    let mut looks = Looks::of(&server);
    ask_everything(&ground, &mut looks, 1).await;
    looks.again();
    ask_everything(&ground, &mut looks, 2).await;
    looks.judge();
}

/// A statement is planned once, and a hub that is new plans it over tables that are empty: where two indexes would do, Postgres knows nothing then of which is
/// the better one, and keeps to what it took until somebody analyses the table.
#[tokio::test]
async fn a_statement_that_was_planned_when_there_was_nobody_walks_no_more_when_there_are_many_of_its_tenant() {
    let server = looks::server();
    let ground = Ground::postgres_over(server.url("postgres"), 1).await;
    let mut looks = Looks::of(&server);
    ask_everything(&ground, &mut looks, 1).await;
    ground.execute("DELETE FROM device_messages").await;
    ground.execute(&others("'acme'")).await;
    looks.again();
    ask_everything(&ground, &mut looks, 2).await;
    looks.judge();
}
