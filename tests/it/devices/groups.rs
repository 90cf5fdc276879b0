//! What goes to many devices at once, over two real hubs: groups, broadcasts, and who comes and goes meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use mobile_delivery::protocol::{ClientFrame, Message, ServerFrame, Window};
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::hub::{Answer, HubClient, HubProcess};
use warren_tests::wait::{until, until_true};

use super::fleet::{OWNER, Registered, address, hub, register};
use super::sessions::socket::{Said, Socket};
use super::sessions::stream::Listener;
use crate::world::{Keep, LONG, World};

async fn two(world: &World) -> (HubProcess, HubProcess) {
    tokio::join!(hub(world, ""), hub(world, ""))
}

async fn member(owner: &HubClient, method: Method, group: &str, device: &str) -> Answer {
    owner.send(owner.request(method, &format!("/v1/groups/{group}/members/{device}"))).await.unwrap()
}

async fn join(owner: &HubClient, group: &str, devices: &[&Registered]) {
    for device in devices {
        let joined = member(owner, Method::PUT, group, &device.id).await;
        assert_eq!(joined.status, 204, "{}", joined.body);
    }
}

async fn post(client: &HubClient, path: &str, number: usize) -> Answer {
    client.send(client.request(Method::POST, path).json(&json!({"number": number}))).await.unwrap()
}

async fn send(owner: &HubClient, group: &str, number: usize) -> String {
    let sent = post(owner, &format!("/v1/groups/{group}/messages"), number).await;
    assert_eq!((sent.status, &sent.body["state"]), (202, &json!("queued")), "{}", sent.body);
    sent.body["id"].as_str().unwrap().to_owned()
}

async fn connected(hub: &HubProcess, device: &Registered, messages: u16) -> Socket {
    let mut socket = Socket::open(address(hub), Some(&device.token)).await;
    socket.hello(&device.id, Window { messages, ..Window::default() }).await;
    let Said::Frame(ServerFrame::Welcome(_)) = socket.next().await else { panic!("no welcome") };
    socket
}

async fn idle(hub: &HubProcess, device: &Registered) -> Socket {
    let mut socket = connected(hub, device, 16).await;
    socket.is_idle().await;
    socket
}

fn number(message: &Message) -> usize {
    let body: Value = serde_json::from_slice(&message.payload).unwrap();
    usize::try_from(body["number"].as_u64().unwrap()).unwrap()
}

async fn ack(socket: &mut Socket, message: &Message) {
    let entry = Some(message.logged.as_ref().expect("an entry of the log").entry);
    socket.say(&ClientFrame::Ack { up_to: None, seqs: Vec::new(), entry, gap: None }).await;
}

/// The numbers of what comes next, each acked as it comes.
async fn numbers(socket: &mut Socket, count: usize) -> Vec<usize> {
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        match socket.next().await {
            Said::Frame(ServerFrame::Deliver(message)) => {
                ack(socket, &message).await;
                all.push(number(&message));
            }
            Said::Frame(ServerFrame::Idle) => {}
            other => panic!("{other:?}"),
        }
    }
    all
}

#[tokio::test]
async fn a_group_gets_everything_in_order_wherever_its_devices_are_and_nobody_else_does() {
    let world = World::new(Keep::Postgres).await;
    let (one, two) = two(&world).await;
    let owner = one.client_as("acme", "app", OWNER);
    let there = two.client_as("acme", "app", OWNER);
    let mut devices = Vec::new();
    for id in ["ann", "ben", "away", "polls", "stranger"] {
        devices.push(register(&one, "acme", id).await);
    }
    let [ann, ben, away, polls, stranger] = &devices[..] else { unreachable!() };
    join(&owner, "room-7", &[ann, ben, away, polls]).await;
    let other_tenant = register(&one, "zoo", "ann").await;
    join(&one.client_as("zoo", "app", OWNER), "room-7", &[&other_tenant]).await;

    let (mut first, mut second) = (idle(&one, ann).await, idle(&two, ben).await);
    let mut nobody = idle(&two, stranger).await;
    let mut theirs = idle(&one, &other_tenant).await;
    let mut ids = Vec::new();
    for number in 0..40 {
        ids.push(send(if number % 2 == 0 { &owner } else { &there }, "room-7", number).await);
    }
    let all: Vec<usize> = (0..40).collect();
    assert_eq!(numbers(&mut first, 40).await, all);
    assert_eq!(numbers(&mut second, 40).await, all);
    first.is_idle().await;
    second.is_idle().await;

    // One that was away has missed nothing, and changes hubs half-way.
    let mut comes = connected(&one, away, 4).await;
    let head = numbers(&mut comes, 17).await;
    drop(comes);
    let mut again = connected(&two, away, 4).await;
    let mut seen: BTreeMap<usize, u32> = head.iter().map(|number| (*number, 1)).collect();
    let mut last = None;
    loop {
        match again.next().await {
            Said::Frame(ServerFrame::Deliver(message)) => {
                ack(&mut again, &message).await;
                assert!(last < Some(number(&message)), "order");
                last = Some(number(&message));
                *seen.entry(number(&message)).or_default() += 1;
            }
            Said::Frame(ServerFrame::Idle) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), all);
    let copies = seen.values().filter(|times| **times > 1).count();
    assert!(copies <= 17, "{copies} came twice");

    // So has one that polls: what it was given and did not ack is not given again at once.
    let poll = HubClient::new(two.public_url(), Some(polls.token.clone()));
    let mut polled = Vec::new();
    while polled.len() < 40 {
        let answer = poll.get("/v1/device/messages?wait=5&max=16").await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let messages = answer.body["messages"].as_array().unwrap();
        assert!(!messages.is_empty(), "{}", answer.body);
        assert!(messages.iter().all(|message| message["group"] == "room-7" && message.get("seq").is_none()));
        polled.extend(messages.iter().map(|message| usize::try_from(message["data"]["number"].as_u64().unwrap()).unwrap()));
        let entry = &messages.last().unwrap()["entry"];
        let acked = poll.send(poll.request(Method::POST, "/v1/device/acks").json(&json!({"entry": entry}))).await.unwrap();
        assert_eq!(acked.status, 204, "{}", acked.body);
    }
    assert_eq!(polled, all);
    let rest = poll.get("/v1/device/messages?wait=0").await.unwrap();
    assert_eq!(rest.body["messages"], json!([]), "{}", rest.body);

    // Told by number, since all that is kept of each device is how far it has heard.
    until_true(LONG, "all to have it", async || {
        let message = owner.get(&format!("/v1/messages/{}", ids[39])).await.unwrap().body;
        assert_eq!((&message["audience"], message.get("devices")), (&json!("group:room-7"), None), "{message}");
        message["counts"] == json!({"delivered": 4})
    })
    .await;
    for socket in [&mut nobody, &mut theirs] {
        let quiet = tokio::time::timeout(Duration::from_millis(300), socket.next_ever()).await;
        assert!(quiet.is_err(), "{quiet:?}");
    }
}

#[tokio::test]
async fn a_stream_gets_what_a_group_gets_and_its_acks_come_to_any_hub() {
    let world = World::new(Keep::Postgres).await;
    let (one, two) = two(&world).await;
    let owner = one.client_as("acme", "app", OWNER);
    let device = register(&one, "acme", "phone").await;
    join(&owner, "room", &[&device]).await;
    let listener = Listener::new(device.token.clone());
    let mut stream = listener.welcome(address(&one), "window=4").await;
    let to_device = owner.request(Method::POST, "/v1/devices/phone/messages").json(&json!({"number": 100}));
    assert_eq!(owner.send(to_device).await.unwrap().status, 202);
    for number in 0..10 {
        send(&owner, "room", number).await;
    }
    // A window of its own beside that of the device's messages: four come, and more once another hub has their acks.
    let (mut got, mut own, mut entry) = (Vec::new(), None, 0);
    while got.len() < 10 || own.is_none() {
        match stream.next().await {
            Said::Frame(ServerFrame::Deliver(message)) => match &message.logged {
                Some(logged) => {
                    assert_eq!(logged.group.as_deref(), Some("room"));
                    assert!(logged.entry > entry, "order");
                    entry = logged.entry;
                    got.push(number(&message));
                    if got.len() % 4 == 0 {
                        assert_eq!(listener.ack(address(&two), json!({"entry": entry})).await, 204);
                    }
                }
                None => own = Some(message.seq),
            },
            Said::Frame(ServerFrame::Idle) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(got, (0..10).collect::<Vec<_>>());
    // The id of the last event tells of both, and acks both.
    assert_eq!(stream.last, format!("{}.{entry}", own.unwrap()));
    let last = stream.last.clone();
    drop(stream);
    let mut again = listener.resume(address(&two), "", &last).await;
    loop {
        match again.next().await {
            Said::Frame(ServerFrame::Welcome(_)) => {}
            Said::Frame(ServerFrame::Idle) => break,
            other => panic!("{other:?} came after everything was acked"),
        }
    }
    // What was never given is not acked by it.
    send(&owner, "room", 10).await;
    drop(again);
    let mut beyond = listener.resume(address(&one), "", &format!("0.{}", entry + 1000)).await;
    loop {
        match beyond.next().await {
            Said::Frame(ServerFrame::Deliver(message)) => break assert_eq!(number(&message), 10),
            Said::Frame(ServerFrame::Welcome(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn who_joins_while_connected_gets_what_comes_then_and_who_leaves_gets_no_more() {
    let world = World::new(Keep::Postgres).await;
    let (one, two) = two(&world).await;
    let owner = one.client_as("acme", "app", OWNER);
    let (old, new) = (register(&one, "acme", "old").await, register(&one, "acme", "new").await);
    join(&owner, "room", &[&old]).await;
    send(&owner, "room", 1).await;
    // The hub that makes it a member is not the one that has it.
    let mut socket = idle(&two, &new).await;
    join(&owner, "room", &[&new]).await;
    let mut sent = 1;
    // It is told at once, and asks for what it has missed until it knows.
    send(&owner, "room", sent + 1).await;
    sent += 1;
    let came = tokio::time::timeout(LONG, socket.message()).await.expect("it is in the group");
    assert_eq!(number(&came), sent);
    ack(&mut socket, &came).await;
    socket.is_idle().await;
    for _ in 0..5 {
        sent += 1;
        send(&owner, "room", sent).await;
    }
    assert_eq!(numbers(&mut socket, 5).await, (sent - 4..=sent).collect::<Vec<_>>());
    socket.is_idle().await;
    let left = member(&owner, Method::DELETE, "room", "new").await;
    assert_eq!(left.status, 204, "{}", left.body);
    // Its hub may not have heard of that yet: then it is given what is sent in this moment.
    let mut given = 0;
    loop {
        sent += 1;
        send(&owner, "room", sent).await;
        match tokio::time::timeout(Duration::from_millis(500), socket.next_ever()).await {
            Err(_) => break,
            Ok(Said::Frame(ServerFrame::Deliver(message))) => ack(&mut socket, &message).await,
            Ok(Said::Frame(ServerFrame::Idle)) => {}
            Ok(other) => panic!("{other:?}"),
        }
        given += 1;
        assert!(given < 40, "it left long ago");
    }
    let device = owner.get("/v1/devices/new").await.unwrap().body;
    assert_eq!(device["groups"], json!([]), "{device}");
    // Registered again without a word of groups, it stays in those that it is in.
    let put = owner.request(Method::PUT, "/v1/devices/old").json(&json!({"user": "somebody"}));
    let put = owner.send(put).await.unwrap();
    assert_eq!((put.status, &put.body["groups"]), (200, &json!(["room"])), "{}", put.body);
}

#[tokio::test]
async fn a_broadcast_goes_to_all_or_to_those_with_a_label_and_can_be_taken_back() {
    let world = World::new(Keep::Sqlite).await;
    let hub = hub(&world, "").await;
    let owner = hub.client_as("acme", "app", OWNER);
    let caller = hub.client_as("acme", "app", &format!("{OWNER} messages:broadcast"));
    let mut sockets = BTreeMap::new();
    for (id, labels) in [("shop", json!({"app": "shop"})), ("plain", json!({})), ("away", json!({}))] {
        let body = json!({"user": id, "labels": labels});
        let put = owner.send(owner.request(Method::PUT, &format!("/v1/devices/{id}")).json(&body)).await.unwrap();
        let token = put.body["token"].as_str().unwrap().to_owned();
        let device = Registered { tenant: "acme".into(), id: id.into(), token, refresh: String::new() };
        if id != "away" {
            sockets.insert(id, idle(&hub, &device).await);
        }
    }
    let refused = post(&owner, "/v1/broadcasts", 0).await;
    assert_eq!((refused.status, refused.code()), (403, Some("scope-missing")), "{}", refused.body);
    assert_eq!(post(&caller, "/v1/broadcasts", 1).await.status, 202);
    assert_eq!(post(&caller, "/v1/broadcasts?label=app%3Dshop", 2).await.status, 202);
    let all = post(&caller, "/v1/broadcasts", 3).await.body["id"].as_str().unwrap().to_owned();
    assert_eq!(numbers(sockets.get_mut("shop").unwrap(), 3).await, [1, 2, 3]);
    assert_eq!(numbers(sockets.get_mut("plain").unwrap(), 2).await, [1, 3]);
    until_true(LONG, "those who are there to have it", async || {
        owner.get(&format!("/v1/messages/{all}")).await.unwrap().body["counts"] == json!({"delivered": 2, "queued": 1})
    })
    .await;
    let cancelled = owner.send(owner.request(Method::DELETE, &format!("/v1/messages/{all}"))).await.unwrap();
    assert_eq!((cancelled.status, &cancelled.body["cancelled"]), (200, &json!(1)), "{}", cancelled.body);
    let counts = owner.get(&format!("/v1/messages/{all}")).await.unwrap().body;
    assert_eq!((&counts["counts"], &counts["audience"]), (&json!({"delivered": 2, "dropped": 1}), &json!("all")), "{counts}");
    let metrics = HubClient::new(hub.internal_url(), None).get("/metrics").await.unwrap();
    assert_eq!(metrics.status, 200);
}

#[tokio::test]
async fn a_broadcast_that_is_paused_reaches_nobody_until_it_goes_on_also_after_a_kill() {
    let world = World::new(Keep::Postgres).await;
    let (mut one, two) = two(&world).await;
    let caller = two.client_as("acme", "app", &format!("{OWNER} messages:broadcast"));
    let (there, away) = (register(&one, "acme", "there").await, register(&one, "acme", "away").await);
    let mut socket = idle(&one, &there).await;
    let id = post(&caller, "/v1/broadcasts", 1).await.body["id"].as_str().unwrap().to_owned();
    assert_eq!(numbers(&mut socket, 1).await, [1]);
    let path = format!("/v1/messages/{id}");
    let counts = async |want: Value| {
        until_true(LONG, &want.to_string(), async || caller.get(&path).await.unwrap().body["counts"] == want).await;
    };
    counts(json!({"delivered": 1, "queued": 1})).await;
    let turn = async |what: &str| {
        let answer = caller.send(caller.request(Method::POST, &format!("{path}/{what}"))).await.unwrap();
        (answer.status, answer.body)
    };
    for _ in 0..2 {
        let (status, body) = turn("pause").await;
        assert_eq!((status, &body["state"]), (200, &json!("paused")), "{body}");
    }
    counts(json!({"delivered": 1, "paused": 1})).await;
    // Who comes now gets what was sent after it, and nothing of it.
    assert_eq!(post(&caller, "/v1/broadcasts", 2).await.status, 202);
    one.kill9();
    let mut late = connected(&two, &away, 16).await;
    assert_eq!(numbers(&mut late, 1).await, [2]);
    late.is_idle().await;
    let (status, body) = turn("resume").await;
    assert_eq!((status, &body["state"]), (200, &json!("queued")), "{body}");
    let message = late.message().await;
    assert_eq!((number(&message), message.id.to_string()), (1, id.clone()), "by its own id");
    ack(&mut late, &message).await;
    late.is_idle().await;
    counts(json!({"delivered": 1, "queued": 1})).await;
    // A device that had it gets it once more, and knows the id.
    let mut back = connected(&two, &there, 16).await;
    let all = [back.message().await, back.message().await];
    assert_eq!(all.each_ref().map(number), [2, 1]);
    ack(&mut back, &all[1]).await;
    counts(json!({"delivered": 2})).await;
    let direct =
        caller.send(caller.request(Method::POST, "/v1/devices/there/messages").json(&json!({"number": 3}))).await.unwrap();
    let direct = direct.body["id"].as_str().unwrap().to_owned();
    for (id, status, code) in [
        (direct.as_str(), 409, "message-direct"),
        ("67e55044-10b1-426f-9247-bb680e5fe0c8", 404, "message-not-found"),
        ("x", 400, "invalid-message-id"),
    ] {
        let refused = caller.send(caller.request(Method::POST, &format!("/v1/messages/{id}/pause"))).await.unwrap();
        assert_eq!((refused.status, refused.code()), (status, Some(code)), "{}", refused.body);
    }
    assert_eq!(caller.send(caller.request(Method::DELETE, &path)).await.unwrap().status, 200);
    let (status, body) = turn("resume").await;
    assert_eq!((status, &body["code"]), (409, &json!("message-over")), "{body}");
}

#[tokio::test]
async fn a_busy_group_loses_nothing_while_its_hubs_are_killed() {
    const MESSAGES: usize = 120;
    let world = World::new(Keep::Postgres).await;
    let (mut one, mut two) = two(&world).await;
    let owner = two.client_as("acme", "app", OWNER);
    let mut devices = Vec::new();
    for at in 0..6 {
        devices.push(register(&one, "acme", &format!("d{at}")).await);
    }
    join(&owner, "busy", &devices.iter().collect::<Vec<_>>()).await;
    let hubs = [address(&one), address(&two)];
    let clients: Vec<_> = devices
        .iter()
        .enumerate()
        .map(|(at, device)| {
            let device = device.clone();
            tokio::spawn(async move {
                let (mut order, mut times) = (Vec::new(), BTreeMap::<usize, u32>::new());
                let mut hub = at;
                // The last number ends it; what else it has to do, others have to as well.
                while !times.contains_key(&(MESSAGES - 1)) {
                    hub += 1;
                    let Some(mut socket) = Socket::reach(hubs[hub % 2], &device.token).await else {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    };
                    socket.hello(&device.id, Window { messages: 8, ..Window::default() }).await;
                    let mut held = 0;
                    while let Said::Frame(frame) = socket.next_ever().await {
                        let ServerFrame::Deliver(message) = frame else { continue };
                        *times.entry(number(&message)).or_insert_with(|| {
                            order.push(number(&message));
                            0
                        }) += 1;
                        ack(&mut socket, &message).await;
                        held += 1;
                        // Now and then it drops off by itself.
                        if held > 30 + 7 * at || times.contains_key(&(MESSAGES - 1)) {
                            break;
                        }
                    }
                }
                (order, times)
            })
        })
        .collect();
    for number in 0..MESSAGES {
        match number {
            30 => one.kill9(),
            50 => one.start_again().await,
            70 => two.kill9(),
            90 => two.start_again().await,
            _ => {}
        }
        let urls = [one.client_as("acme", "app", OWNER), two.client_as("acme", "app", OWNER)];
        let key = format!("busy-{number}");
        let tries = std::cell::Cell::new(0);
        until(LONG, "a message to be accepted", async || {
            let client = &urls[tries.replace(tries.get() + 1) % 2];
            let request = client.request(Method::POST, "/v1/groups/busy/messages").timeout(Duration::from_secs(10));
            let request = request.header("idempotency-key", &key).json(&json!({"number": number}));
            client.send(request).await.ok().filter(|answer| answer.status == 202)
        })
        .await;
    }
    let all: Vec<usize> = (0..MESSAGES).collect();
    for client in clients {
        let (order, times) = tokio::time::timeout(LONG, client).await.expect("all to come").unwrap();
        assert_eq!(order, all, "once each in its eyes, in order");
        assert!(times.values().all(|times| *times <= 8), "{times:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_about_a_group_is_refused_by_name_and_nothing_is_stored() {
    let world = World::new(Keep::Sqlite).await;
    let hub = hub(&world, "").await;
    let owner = hub.client_as("acme", "app", OWNER);
    let device = register(&hub, "acme", "phone").await;
    for name in ["Room", "a.b", "%23", "*", "a%20b", "-a", "r%C3%B6m", &"x".repeat(64)] {
        let refused = member(&owner, Method::PUT, name, "phone").await;
        assert_eq!((refused.status, refused.code()), (400, Some("invalid-group")), "{name}: {}", refused.body);
        let refused = post(&owner, &format!("/v1/groups/{name}/messages"), 1).await;
        assert_eq!((refused.status, refused.code()), (400, Some("invalid-group")), "{name}: {}", refused.body);
        let named = percent_encoding(name);
        let put = owner.request(Method::PUT, "/v1/devices/phone").json(&json!({"user": "olga", "groups": [named]}));
        let put = owner.send(put).await.unwrap();
        assert_eq!((put.status, put.code()), (400, Some("invalid-device")), "{named}: {}", put.body);
    }
    let refused = member(&owner, Method::PUT, "room", "Phone").await;
    assert_eq!((refused.status, refused.code()), (400, Some("invalid-device")));
    let refused = member(&owner, Method::PUT, "room", "nobody").await;
    assert_eq!((refused.status, refused.code()), (404, Some("device-not-found")));
    let refused = member(&HubClient::new(hub.public_url(), Some(device.token.clone())), Method::PUT, "room", "phone").await;
    assert_eq!((refused.status, refused.code()), (403, Some("scope-missing")), "a device puts itself into no group");
    let refused = post(&owner, "/v1/groups/empty/messages", 1).await;
    assert_eq!((refused.status, refused.code()), (404, Some("no-devices")), "{}", refused.body);
    join(&owner, "room", &[&device]).await;
    for header in ["warren-collapse-key", "warren-delay", "warren-run-at", "warren-receipt", "warren-except"] {
        let request = owner.request(Method::POST, "/v1/groups/room/messages").header(header, "1s").json(&json!({}));
        let refused = owner.send(request).await.unwrap();
        assert_eq!((refused.status, refused.code()), (400, Some("not-supported-yet")), "{header}: {}", refused.body);
    }
    let item = |more: Value| {
        let mut item = json!({"group": "room", "data": 1});
        item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        item
    };
    let batch = [item(json!({})), item(json!({"user": "olga"})), item(json!({"delay": "1s"})), item(json!({"group": "a.b"}))];
    let answer = owner.send(owner.request(Method::POST, "/v1/messages").json(&batch)).await.unwrap();
    let statuses: Vec<_> = answer.body["items"].as_array().unwrap().iter().map(|item| item["status"].clone()).collect();
    assert_eq!(statuses, [json!(202), json!(400), json!(400), json!(400)], "{}", answer.body);

    // It acks what it was not given, or nothing that there is.
    let mut socket = connected(&hub, &device, 16).await;
    let given = socket.message().await;
    let beyond = given.logged.as_ref().unwrap().entry + 1;
    socket.say(&ClientFrame::Ack { up_to: None, seqs: Vec::new(), entry: Some(beyond), gap: None }).await;
    let (code, said) = socket.refusal().await;
    assert_eq!(code, Some(4400), "{said}");
    assert!(said.contains("`entry`"), "{said}");
    let poll = HubClient::new(hub.public_url(), Some(device.token.clone()));
    for body in [json!({"entry": -1}), json!({"entry": "1"}), json!({"entry": 1.5}), json!({})] {
        let refused = poll.send(poll.request(Method::POST, "/v1/device/acks").json(&body)).await.unwrap();
        assert_eq!((refused.status, refused.code()), (400, Some("malformed-json")), "{body}: {}", refused.body);
    }
    // Far beyond the log: it has heard what there is, and gets what comes.
    let acked = poll.send(poll.request(Method::POST, "/v1/device/acks").json(&json!({"entry": 9_000_000}))).await.unwrap();
    assert_eq!(acked.status, 204, "{}", acked.body);
    send(&owner, "room", 7).await;
    let mut socket = connected(&hub, &device, 16).await;
    assert_eq!(numbers(&mut socket, 1).await.last(), Some(&7));
}

fn percent_encoding(name: &str) -> String {
    name.replace("%23", "#").replace("%20", " ").replace("%C3%B6", "ö")
}
