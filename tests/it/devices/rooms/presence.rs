//! Who is there, and what is signalled.

use mobile_delivery::protocol::{Present, Signal};

use super::*;

fn watch(rooms: &[&str]) -> ClientFrame {
    ClientFrame::Watch { groups: rooms.iter().map(|room| (*room).to_owned()).collect() }
}

fn typing(room: &str, data: Option<&str>) -> ClientFrame {
    let signal = Signal { group: room.to_owned(), from: None, kind: "typing".to_owned(), data: data.map(str::to_owned) };
    ClientFrame::Signal(Box::new(signal))
}

impl Talker {
    async fn present(&mut self) -> Present {
        self.next(|frame| match frame {
            ServerFrame::Present(present) => Some((**present).clone()),
            _ => None,
        })
        .await
    }

    /// Watches a room; who is there.
    async fn watches(&mut self, room: &str) -> Vec<String> {
        self.socket.say(&watch(&[room])).await;
        let present = self.present().await;
        assert!(present.all && present.away.is_empty() && present.group == room, "{present:?}");
        ids(&present.here)
    }

    async fn signal(&mut self) -> Signal {
        self.next(|frame| match frame {
            ServerFrame::Signal(signal) => Some((**signal).clone()),
            _ => None,
        })
        .await
    }
}

fn ids(authors: &[Author]) -> Vec<String> {
    authors.iter().map(|author| author.device.clone()).collect()
}

#[tokio::test]
async fn who_watches_knows_who_is_there_wherever_they_are() {
    let world = World::new(Keep::Postgres).await;
    let (one, mut two) = two(&world).await;
    let devices = registered(&one, &["ada", "bob", "cy", "dan"]).await;
    let [ada, bob, cy, dan] = &devices[..] else { unreachable!() };
    let room = Room::open(&one, "room", &[ada, bob, cy], json!({})).await;
    let mut watches = Talker::at(&one, ada).await;
    assert_eq!(watches.watches("room").await, ["ada"]);
    let _stranger = Talker::at(&one, dan).await;
    let second = Talker::at(&two, bob).await;
    let here = watches.present().await;
    assert_eq!((ids(&here.here), ids(&here.away), here.all), (vec!["bob".to_owned()], vec![], false));
    assert_eq!(here.here[0].user, "acme-bob");
    let mut third = Talker::at(&two, cy).await;
    assert_eq!(ids(&watches.present().await.here), ["cy"]);
    assert_eq!(third.watches("room").await, ["ada", "bob", "cy"]);

    // Gone for a moment: nobody is told. Gone: all who watch.
    drop(second);
    let second = Talker::at(&one, bob).await;
    let quiet = tokio::time::timeout(Duration::from_secs(6), watches.present()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    drop(second);
    for talker in [&mut watches, &mut third] {
        let away = talker.present().await;
        assert_eq!((ids(&away.here), ids(&away.away)), (vec![], vec!["bob".to_owned()]));
    }

    // In and out of the room while connected.
    room.member(Method::PUT, dan).await;
    assert_eq!(ids(&watches.present().await.here), ["dan"]);
    room.member(Method::DELETE, dan).await;
    assert_eq!(ids(&watches.present().await.away), ["dan"]);

    // A process that dies says nothing: what it had is gone for all that.
    two.kill9();
    assert_eq!(ids(&watches.present().await.away), ["cy"]);
    // Who does not watch any more hears nothing.
    watches.socket.say(&watch(&[])).await;
    let _back = Talker::at(&one, bob).await;
    let quiet = tokio::time::timeout(Duration::from_secs(1), watches.present()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

#[tokio::test]
async fn signals_go_to_those_who_watch_and_are_kept_nowhere() {
    let world = World::new(Keep::Postgres).await;
    let (one, two) = two(&world).await;
    let devices = registered(&one, &["ada", "bob", "cy", "eve"]).await;
    let [ada, bob, cy, eve] = &devices[..] else { unreachable!() };
    let room = Room::open(&one, "room", &[ada, bob, cy], json!({})).await;
    let (mut first, mut second) = (Talker::at(&one, ada).await, Talker::at(&two, bob).await);
    let (mut near, mut stranger) = (Talker::at(&one, cy).await, Talker::at(&two, eve).await);
    first.socket.say(&typing("room", None)).await;
    let refused = first.refused().await;
    assert_eq!((refused.code.as_str(), refused.group.as_deref()), ("not-watched", Some("room")));
    for talker in [&mut first, &mut second] {
        talker.watches("room").await;
    }
    stranger.socket.say(&watch(&["room"])).await;
    assert_eq!(stranger.refused().await.code, "not-a-member");
    first.socket.say(&typing("room", Some("{\"x\":1.50}"))).await;
    let heard = second.signal().await;
    let from = Some(Author { device: "ada".to_owned(), user: "acme-ada".to_owned() });
    let want = Signal { group: "room".to_owned(), from, kind: "typing".to_owned(), data: Some("{\"x\":1.50}".to_owned()) };
    assert_eq!(heard, want, "as it was said, by whom it was said");
    // In the same process, too; who does not watch, and who has said it, hears nothing.
    near.watches("room").await;
    second.socket.say(&typing("room", None)).await;
    assert_eq!((first.signal().await.from, near.signal().await.from), {
        let bob = Some(Author { device: "bob".to_owned(), user: "acme-bob".to_owned() });
        (bob.clone(), bob)
    });
    for talker in [&mut first, &mut second, &mut stranger] {
        let quiet = tokio::time::timeout(Duration::from_millis(400), talker.signal()).await;
        assert!(quiet.is_err(), "{quiet:?}");
    }
    // More than may be: dropped without a word, and the session goes on.
    for _ in 0..200 {
        first.socket.say(&typing("room", None)).await;
    }
    near.signal().await;
    let mut came = 1;
    while tokio::time::timeout(Duration::from_millis(500), near.signal()).await.is_ok() {
        came += 1;
    }
    assert!(came <= 25, "{came} of 200 came");
    // Nothing of it is in the room, and a closed one is no place for them.
    let back = as_device(&one, cy).get("/v1/device/groups/room/messages").await.unwrap().body;
    assert_eq!(back["messages"], json!([]));
    assert_eq!(room.says(&json!({})).await.status, 200);
    let refused = first.refused().await;
    assert_eq!((refused.code.as_str(), refused.group.as_deref()), ("publish-not-allowed", Some("room")), "within the round");
}
