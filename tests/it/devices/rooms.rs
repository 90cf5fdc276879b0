//! What devices say to each other in rooms, over two real hubs: messages, signals, who is there, and what is read back.

mod presence;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use mobile_delivery::protocol::{Author, ClientFrame, Message, Publish, Refused, ServerFrame, Window};
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::hub::{Answer, HubClient, HubProcess};
use warren_tests::wait::until_true;

use super::fleet::{OWNER, Registered, address, hub, put, register};
use super::sessions::socket::{Said, Socket};
use crate::world::{Keep, LONG, World};

/// A room with devices in it, and the back end that has made it.
struct Room {
    owner: HubClient,
    name: &'static str,
}

impl Room {
    async fn open(hub: &HubProcess, name: &'static str, members: &[&Registered], more: Value) -> Self {
        let room = Self { owner: hub.client_as("acme", "app", OWNER), name };
        for device in members {
            room.member(Method::PUT, device).await;
        }
        let mut rules = json!({"publish": "members", "history": 100});
        rules.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let said = room.says(&rules).await;
        assert_eq!((said.status, &said.body["publish"]), (200, &json!("members")), "{}", said.body);
        room
    }

    async fn says(&self, rules: &Value) -> Answer {
        self.owner.send(self.owner.request(Method::PUT, &format!("/v1/groups/{}", self.name)).json(rules)).await.unwrap()
    }

    async fn member(&self, method: Method, device: &Registered) {
        let path = format!("/v1/groups/{}/members/{}", self.name, device.id);
        assert_eq!(self.owner.send(self.owner.request(method, &path)).await.unwrap().status, 204);
    }
}

/// A device that talks: what it hears that is not what it waits for is kept.
struct Talker {
    socket: Socket,
    kept: VecDeque<ServerFrame>,
}

impl Talker {
    async fn at(hub: &HubProcess, device: &Registered) -> Self {
        let mut socket = Socket::open(address(hub), Some(&device.token)).await;
        socket.hello(&device.id, Window { messages: 64, ..Window::default() }).await;
        let Said::Frame(ServerFrame::Welcome(_)) = socket.next().await else { panic!("no welcome") };
        Self { socket, kept: VecDeque::new() }
    }

    async fn publish(&mut self, room: &str, reference: &str, text: &str) {
        self.socket.say(&published(room, reference, text)).await;
    }

    /// The next frame that `wanted` makes something of.
    async fn next<T>(&mut self, mut wanted: impl FnMut(&ServerFrame) -> Option<T>) -> T {
        for at in 0..self.kept.len() {
            if let Some(got) = wanted(&self.kept[at]) {
                self.kept.remove(at);
                return got;
            }
        }
        loop {
            match self.socket.next().await {
                Said::Frame(frame) => match wanted(&frame) {
                    Some(got) => return got,
                    None => self.kept.push_back(frame),
                },
                closed @ Said::Closed(_) => panic!("{closed:?}, after {:?}", self.kept),
            }
        }
    }

    /// The id of what was published under this name.
    async fn published(&mut self, reference: &str) -> String {
        self.next(|frame| match frame {
            ServerFrame::Published(published) if published.reference == reference => Some(published.id.to_string()),
            ServerFrame::Refused(refused) if refused.reference.as_deref() == Some(reference) => panic!("{refused:?}"),
            _ => None,
        })
        .await
    }

    async fn refused(&mut self) -> Refused {
        self.next(|frame| match frame {
            ServerFrame::Refused(refused) => Some((**refused).clone()),
            _ => None,
        })
        .await
    }

    /// The next message, acked.
    async fn message(&mut self) -> Message {
        let message = self
            .next(|frame| match frame {
                ServerFrame::Deliver(message) => Some((**message).clone()),
                _ => None,
            })
            .await;
        let entry = Some(message.logged.as_ref().expect("an entry of the log").entry);
        self.socket.say(&ClientFrame::Ack { up_to: None, seqs: Vec::new(), entry, gap: None }).await;
        message
    }

    async fn messages(&mut self, count: usize) -> Vec<(u64, String, Option<String>)> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            all.push(said(&self.message().await));
        }
        all
    }

    async fn is_quiet(&mut self) {
        let kept = self.kept.iter().find(|frame| matches!(frame, ServerFrame::Deliver(_)));
        assert!(kept.is_none(), "{kept:?}");
        let quiet = tokio::time::timeout(Duration::from_millis(400), self.message()).await;
        assert!(quiet.is_err(), "{quiet:?}");
    }
}

fn published(room: &str, reference: &str, text: &str) -> ClientFrame {
    ClientFrame::Publish(Box::new(Publish {
        reference: reference.to_owned(),
        group: room.to_owned(),
        kind: "chat.message".to_owned(),
        content_type: "application/json".to_owned(),
        payload: Bytes::from(json!({"text": text}).to_string()),
    }))
}

/// Its place, its text, and the device that has said it.
fn said(message: &Message) -> (u64, String, Option<String>) {
    let logged = message.logged.as_ref().expect("an entry of the log");
    let body: Value = serde_json::from_slice(&message.payload).unwrap();
    let from = logged.from.as_ref().map(|Author { device, user }| {
        assert_eq!(*user, format!("acme-{device}"));
        device.clone()
    });
    (logged.entry, body["text"].as_str().unwrap_or_default().to_owned(), from)
}

async fn two(world: &World) -> (HubProcess, HubProcess) {
    tokio::join!(hub(world, ""), hub(world, ""))
}

async fn registered(hub: &HubProcess, ids: &[&str]) -> Vec<Registered> {
    let mut devices = Vec::new();
    for id in ids {
        devices.push(register(hub, "acme", id).await);
    }
    devices
}

fn as_device(hub: &HubProcess, device: &Registered) -> HubClient {
    HubClient::new(hub.public_url(), Some(device.token.clone()))
}

async fn post(client: &HubClient, room: &str, key: &str, body: &Value) -> Answer {
    let request = client.request(Method::POST, &format!("/v1/device/groups/{room}/messages"));
    client.send(request.header("idempotency-key", key).header("warren-type", "chat.message").json(body)).await.unwrap()
}

#[tokio::test]
async fn all_members_hear_all_in_one_order_who_said_it_and_nobody_else_does() {
    let world = World::new(Keep::Postgres).await;
    let (one, two) = two(&world).await;
    let devices = registered(&one, &["ada", "bob", "cy", "late", "stranger"]).await;
    let [ada, bob, cy, late, stranger] = &devices[..] else { unreachable!() };
    let room = Room::open(&one, "room-7", &[ada, bob, cy], json!({})).await;
    let (mut first, mut second) = (Talker::at(&one, ada).await, Talker::at(&two, bob).await);
    let mut nobody = Talker::at(&two, stranger).await;
    // At the same time, at two hubs, and a back end among them; cy has no socket.
    for number in 0..8 {
        first.publish("room-7", &format!("a{number}"), &format!("ada {number}")).await;
        second.publish("room-7", &format!("b{number}"), &format!("bob {number}")).await;
    }
    let by_request = as_device(&two, cy);
    let answer = post(&by_request, "room-7", "c0", &json!({"text": "cy 0"})).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let note = room.owner.request(Method::POST, "/v1/groups/room-7/messages").json(&json!({"text": "the house"}));
    assert_eq!(room.owner.send(note).await.unwrap().status, 202);
    let heard = first.messages(18).await;
    assert_eq!(second.messages(18).await, heard, "one order for all");
    assert!(heard.windows(2).all(|two| two[0].0 < two[1].0), "{heard:?}");
    for (who, count) in [(Some("ada"), 8), (Some("bob"), 8), (Some("cy"), 1), (None, 1)] {
        let own: Vec<&str> = heard.iter().filter(|(.., from)| from.as_deref() == who).map(|(_, text, _)| text.as_str()).collect();
        let want: Vec<String> = match who {
            Some(who) => (0..count).map(|number| format!("{who} {number}")).collect(),
            None => vec!["the house".to_owned()],
        };
        assert_eq!(own, want, "in the order in which each has said them");
    }
    for number in 0..8 {
        first.published(&format!("a{number}")).await;
    }
    nobody.is_quiet().await;
    nobody.publish("room-7", "x", "let me in").await;
    let refused = nobody.refused().await;
    assert_eq!((refused.reference.as_deref(), refused.code.as_str(), refused.retry_after_ms), (Some("x"), "not-a-member", None));

    // Who polls has it too; who comes late reads back what was said, and hears what is said from now on.
    let polled = by_request.get("/v1/device/messages?wait=5&max=64").await.unwrap().body;
    let places: Vec<u64> =
        polled["messages"].as_array().unwrap().iter().map(|message| message["entry"].as_u64().unwrap()).collect();
    assert_eq!(places, heard.iter().map(|(entry, ..)| *entry).collect::<Vec<_>>());
    room.member(Method::PUT, late).await;
    let reader = as_device(&two, late);
    let back = reader.get("/v1/device/groups/room-7/messages?limit=10").await.unwrap();
    assert_eq!((back.status, &back.body["more"]), (200, &json!(true)), "{}", back.body);
    let before = back.body["messages"][0]["entry"].as_u64().unwrap();
    let older = reader.get(&format!("/v1/device/groups/room-7/messages?before={before}")).await.unwrap().body;
    let all = older["messages"].as_array().unwrap().iter().chain(back.body["messages"].as_array().unwrap());
    let all: Vec<(u64, &str, Option<&str>)> = all
        .map(|message| {
            let from = message["from"]["device"].as_str();
            (message["entry"].as_u64().unwrap(), message["data"]["text"].as_str().unwrap(), from)
        })
        .collect();
    let want: Vec<_> = heard.iter().map(|(entry, text, from)| (*entry, text.as_str(), from.as_deref())).collect();
    assert_eq!((all, &older["more"]), (want, &json!(false)));
    let mut joined = Talker::at(&one, late).await;
    joined.publish("room-7", "l0", "hello").await;
    let id = joined.published("l0").await;
    let message = joined.message().await;
    assert_eq!((said(&message).1, message.id.to_string()), ("hello".to_owned(), id.clone()));
    assert_eq!(first.messages(1).await, second.messages(1).await);
    until_true(LONG, "all but cy to have it", async || {
        let record = room.owner.get(&format!("/v1/messages/{id}")).await.unwrap().body;
        record["counts"]["delivered"] == json!(3)
    })
    .await;

    // What a device may see of its groups.
    let own = reader.get("/v1/device/groups").await.unwrap().body;
    assert_eq!(own, json!({"groups": [{"group": "room-7", "publish": true, "history": 100}]}));
    let members = reader.get("/v1/device/groups/room-7/members").await.unwrap().body;
    let there: BTreeMap<&str, bool> = members["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| (member["device"].as_str().unwrap(), member["present"].as_bool().unwrap()))
        .collect();
    assert_eq!(there.keys().copied().collect::<Vec<_>>(), ["ada", "bob", "cy", "late"]);
    assert!(there["ada"] && there["bob"] && there["late"], "{there:?}");
}

#[tokio::test]
async fn what_was_not_answered_is_said_again_and_heard_once_whatever_dies() {
    let world = World::new(Keep::Postgres).await;
    let (mut one, two) = two(&world).await;
    let devices = registered(&one, &["ada", "bob", "cy"]).await;
    let [ada, bob, cy] = &devices[..] else { unreachable!() };
    Room::open(&one, "room", &[ada, bob, cy], json!({})).await;
    let mut hears = Talker::at(&two, bob).await;

    // An answer that is lost: the same again, elsewhere, is the same message.
    let mut lost = Talker::at(&one, ada).await;
    lost.publish("room", "m-1", "once").await;
    let first = hears.message().await;
    drop(lost);
    let mut again = Talker::at(&two, ada).await;
    again.publish("room", "m-1", "once").await;
    assert_eq!(again.published("m-1").await, first.id.to_string());
    again.publish("room", "m-1", "something else").await;
    assert_eq!(again.refused().await.code, "idempotency-key-reused");
    let by_request = post(&as_device(&two, ada), "room", "m-1", &json!({"text": "once"})).await;
    assert_eq!((by_request.status, &by_request.body["id"]), (202, &json!(first.id)), "whichever way it comes");
    drop(again);

    // The hub dies while twenty are on their way: what has no answer is said once more to the other one.
    let mut talks = Talker::at(&one, ada).await;
    for number in 0..10 {
        talks.publish("room", &format!("k{number}"), &format!("{number}")).await;
    }
    talks.published("k0").await;
    for number in 10..20 {
        talks.publish("room", &format!("k{number}"), &format!("{number}")).await;
    }
    one.kill9();
    drop(talks);
    let mut talks = Talker::at(&two, ada).await;
    let mut ids = BTreeSet::new();
    for number in 0..20 {
        loop {
            talks.publish("room", &format!("k{number}"), &format!("{number}")).await;
            let reference = format!("k{number}");
            let answer = talks
                .next(|frame| match frame {
                    ServerFrame::Published(published) if published.reference == reference => Some(Ok(published.id)),
                    ServerFrame::Refused(refused) if refused.reference.as_deref() == Some(&reference) => {
                        Some(Err(refused.clone()))
                    }
                    _ => None,
                })
                .await;
            match answer {
                Ok(id) => {
                    ids.insert(id);
                    break;
                }
                Err(refused) => {
                    assert_eq!(refused.code, "rate-limited", "{refused:?}");
                    tokio::time::sleep(Duration::from_millis(refused.retry_after_ms.unwrap())).await;
                }
            }
        }
    }
    assert_eq!(ids.len(), 20);
    let mut heard = BTreeMap::new();
    let mut order = Vec::new();
    while heard.len() < 20 {
        let message = hears.message().await;
        let (entry, text, _) = said(&message);
        assert!(heard.insert(message.id, text).is_none(), "twice: {message:?}");
        order.push(entry);
    }
    assert_eq!(heard.keys().copied().collect::<BTreeSet<_>>(), ids);
    assert_eq!(heard.values().collect::<BTreeSet<_>>().len(), 20, "each once");
    hears.is_quiet().await;
    // Who was away all the time gets the same in the same order.
    let mut away = Talker::at(&two, cy).await;
    let places: Vec<u64> = away.messages(21).await.into_iter().map(|(entry, ..)| entry).collect();
    assert_eq!(places[1..], order[..]);
}

#[tokio::test]
async fn nobody_publishes_where_or_faster_than_may_be_and_what_is_wrong_is_said() {
    let world = World::new(Keep::Sqlite).await;
    let hub = hub(&world, "publish_rate = \"10/m\"").await;
    let devices = registered(&hub, &["ada", "bob", "cy", "dan"]).await;
    let [ada, bob, cy, dan] = &devices[..] else { unreachable!() };
    let room = Room::open(&hub, "room", &[ada, bob], json!({"ttl": "1h"})).await;
    let news = Room { owner: hub.client_as("acme", "app", OWNER), name: "news" };
    news.member(Method::PUT, dan).await;
    let mut talks = Talker::at(&hub, ada).await;

    // A burst of twenty, then ten in a minute; another device has its own.
    for number in 0..22 {
        talks.publish("room", &format!("m{number}"), "hello").await;
    }
    let refused = talks.refused().await;
    assert_eq!((refused.code.as_str(), refused.reference.as_deref()), ("rate-limited", Some("m20")));
    assert!(refused.retry_after_ms.is_some_and(|wait| (1..=6000).contains(&wait)), "{refused:?}");
    assert_eq!(talks.refused().await.reference.as_deref(), Some("m21"));
    assert_eq!(talks.messages(20).await.len(), 20);
    let answer = post(&as_device(&hub, ada), "room", "k", &json!({"text": "too fast"})).await;
    assert_eq!((answer.status, &answer.body["code"]), (429, &json!("rate-limited")));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(post(&as_device(&hub, bob), "room", "k", &json!({"text": "mine"})).await.status, 202);
    assert_eq!(said(&talks.message().await).2.as_deref(), Some("bob"));

    let reader = as_device(&hub, cy);
    for (path, status, code) in [
        ("/v1/device/groups/news/messages", 403, "not-a-member"),
        ("/v1/device/groups/news/members", 403, "not-a-member"),
        ("/v1/device/groups/Room/messages", 400, "invalid-group"),
        ("/v1/device/groups/a.b/members", 400, "invalid-group"),
        ("/v1/device/groups/%2A/members", 400, "invalid-group"),
        ("/v1/device/groups/room/messages?limit=0", 400, "invalid-parameter"),
        ("/v1/device/groups/room/messages?limit=101", 400, "invalid-parameter"),
        ("/v1/device/groups/room/messages?before=-1", 400, "invalid-parameter"),
    ] {
        let answer = reader.get(path).await.unwrap();
        assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{path}: {}", answer.body);
    }
    // What it asks is counted with it.
    let mut limited = reader.get("/v1/device/groups").await.unwrap();
    for _ in 0..20 {
        limited = reader.get("/v1/device/groups").await.unwrap();
    }
    assert_eq!((limited.status, &limited.body["code"]), (429, &json!("rate-limited")));
    let reader = as_device(&hub, bob);
    for (group, status, code) in [("news", 403, "not-a-member"), ("nowhere", 403, "not-a-member"), ("x%23", 400, "invalid-group")]
    {
        let answer = post(&reader, group, "k2", &json!({"text": "?"})).await;
        assert_eq!((answer.status, &answer.body["code"]), (status, &json!(code)), "{group}: {}", answer.body);
    }
    let answer = reader
        .send(
            reader.request(Method::POST, "/v1/device/groups/room/messages").header("content-type", "application/json").body("{"),
        )
        .await
        .unwrap();
    assert_eq!((answer.status, &answer.body["code"]), (400, &json!("malformed-json")));
    assert_eq!(put(&reader, "other", "eve").await.status, 403, "a device registers nobody");
    // In the group, but its devices may not.
    let answer = post(&as_device(&hub, dan), "news", "k3", &json!({"text": "?"})).await;
    assert_eq!((answer.status, &answer.body["code"]), (403, &json!("publish-not-allowed")), "{}", answer.body);
    for (rules, must) in [
        (json!({"publish": "everybody"}), "members"),
        (json!({"publish": "members", "history": 1001}), "1000"),
        (json!({"history": -1}), "history"),
        (json!({"ttl": "1y"}), "ttl"),
        (json!({"ttl": "29d"}), "28 days"),
        (json!({"open": true}), "open"),
        (json!(["members"]), "map"),
    ] {
        let answer = room.says(&rules).await;
        assert_eq!(answer.status, 400, "{rules}: {}", answer.body);
        let said = answer.body["detail"].as_str().unwrap();
        assert!(said.contains(must), "{rules}: {said}");
    }
    let as_it_was = room.owner.get("/v1/groups/room").await.unwrap().body;
    let want = json!({"group": "room", "publish": "members", "history": 100, "ttl": "PT1H", "members": 2, "present": 1});
    assert_eq!(as_it_was, want);
    // No frame at all is worth an end of the session, with the field.
    talks.socket.text(r##"{"frame":"publish","ref":"a","group":"#","data":1}"##).await;
    let (code, said) = talks.socket.refusal().await;
    assert_eq!(code, Some(4400));
    assert!(said.contains("`group`"), "{said}");
}

#[tokio::test]
async fn a_room_that_is_closed_or_left_is_quiet_for_who_is_out() {
    let world = World::new(Keep::Postgres).await;
    let hub = hub(&world, "").await;
    let devices = registered(&hub, &["ada", "bob"]).await;
    let [ada, bob] = &devices[..] else { unreachable!() };
    let room = Room::open(&hub, "room", &[ada, bob], json!({})).await;
    let (mut first, mut second) = (Talker::at(&hub, ada).await, Talker::at(&hub, bob).await);
    first.publish("room", "1", "one").await;
    assert_eq!((first.messages(1).await.len(), second.messages(1).await.len()), (1, 1));
    room.member(Method::DELETE, bob).await;
    second.publish("room", "2", "still here?").await;
    assert_eq!(second.refused().await.code, "not-a-member", "from that moment");
    // What was sent in that moment may still come.
    let mut came = true;
    for number in 0.. {
        first.publish("room", &format!("p{number}"), "gone").await;
        first.message().await;
        came = came && tokio::time::timeout(Duration::from_millis(300), second.message()).await.is_ok();
        if !came && number > 2 {
            break;
        }
        assert!(number < 10, "bob hears of a room that it is out of");
    }
    let reader = as_device(&hub, bob);
    assert_eq!(reader.get("/v1/device/groups/room/messages").await.unwrap().status, 403);
    assert_eq!(room.says(&json!({})).await.status, 200);
    first.publish("room", "3", "closed?").await;
    assert_eq!(first.refused().await.code, "publish-not-allowed");
    // A back end takes back what a device has said: it is gone from the history too.
    assert_eq!(room.says(&json!({"publish": "members", "history": 10})).await.status, 200);
    first.publish("room", "4", "a slip").await;
    let id = first.published("4").await;
    let withdrawn = room.owner.send(room.owner.request(Method::DELETE, &format!("/v1/messages/{id}"))).await.unwrap();
    assert_eq!(withdrawn.status, 200, "{}", withdrawn.body);
    let back = as_device(&hub, ada).get("/v1/device/groups/room/messages").await.unwrap().body;
    let texts: Vec<&str> =
        back["messages"].as_array().unwrap().iter().map(|message| message["data"]["text"].as_str().unwrap()).collect();
    assert!(texts.contains(&"one") && !texts.contains(&"a slip"), "{texts:?}");
}

#[tokio::test]
async fn a_device_that_is_another_users_now_speaks_as_that_one() {
    let world = World::new(Keep::Postgres).await;
    let (one, two) = two(&world).await;
    let devices = registered(&one, &["ada", "bob"]).await;
    let [ada, bob] = &devices[..] else { unreachable!() };
    let room = Room::open(&one, "room", &[ada, bob], json!({})).await;
    let (mut hears, mut talks) = (Talker::at(&one, bob).await, Talker::at(&two, ada).await);
    talks.publish("room", "1", "as I was").await;
    let from = async |hears: &mut Talker| hears.message().await.logged.unwrap().from.unwrap().user;
    assert_eq!(from(&mut hears).await, "acme-ada");
    assert_eq!(put(&room.owner, "ada", "zoe").await.status, 200);
    // It is told to come back, whatever it says until then.
    talks.publish("room", "2", "as I am").await;
    assert_eq!(from(&mut hears).await, "zoe");
    let closed = loop {
        if let Said::Closed(code) = talks.socket.next().await {
            break code;
        }
    };
    assert_eq!(closed, Some(4205));
}
