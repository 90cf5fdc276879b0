//! Devices on the move: each goes from connection to connection and from hub to hub, acks as chance has it, and loses what was under way.

use std::net::SocketAddr;
use std::time::Duration;

use mobile_delivery::protocol::{ClientFrame, How, ServerFrame, Window};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::diary::{Diary, Dice};
use crate::devices::sessions::socket::{Said, Socket};
use crate::devices::sessions::stream::{Listener, Stream};

/// Whoever hears nothing for so long comes anew. A hub that has lost its broker takes two seconds to begin without it.
const SILENCE: Duration = Duration::from_secs(5);

/// Before the next try to connect.
const AGAIN: Duration = Duration::from_millis(50);

/// What is special about a device.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nature {
    /// It takes its time with each message.
    pub(super) slow: bool,
    /// Two programs run as it, and take each other's place.
    pub(super) twice: bool,
}

/// How a device moves.
pub(super) struct Pace<'a> {
    pub(super) hubs: &'a [SocketAddr],
    pub(super) dice: Dice,
}

impl Pace<'_> {
    fn hub(&mut self) -> SocketAddr {
        self.hubs[self.dice.roll(self.hubs.len())]
    }
}

/// Until all is handled and the hub says that it has every ack.
pub(super) async fn roam(mut pace: Pace<'_>, diary: &Diary) {
    let http = Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    let listener = Listener::new(diary.device.token.clone());
    // What an `EventSource` would say it had last.
    let mut last = String::new();
    loop {
        let way = match diary.transport {
            "any" => ["socket", "stream", "poll"][pace.dice.roll(3)],
            one => one,
        };
        let (to, window) = (pace.hub(), if diary.nature.slow { 2 } else { 1 + pace.dice.roll(20) as u16 });
        let done = match way {
            "socket" => match Socket::reach(to, &diary.device.token).await {
                Some(mut socket) => {
                    socket.hello(diary.id(), Window { messages: window, bytes: 65_536 }).await;
                    visit(&mut socket, &mut pace.dice, diary).await
                }
                None => false,
            },
            "stream" => match reach(&listener, to, window, &last, &mut pace.dice, diary).await {
                Some(mut stream) => {
                    let done = listen(&mut stream, &listener, &mut pace, diary).await;
                    last.clone_from(&stream.last);
                    done
                }
                None => false,
            },
            _ => poll(&http, &mut pace, diary).await,
        };
        if done {
            return;
        }
        if way != "poll" {
            // So that of two programs each has its time.
            sleep(AGAIN * (1 + pace.dice.roll(4) as u32)).await;
        }
    }
}

/// A stream at a hub that is there; half of them say what they had last.
async fn reach(listener: &Listener, to: SocketAddr, window: u16, last: &str, dice: &mut Dice, diary: &Diary) -> Option<Stream> {
    let (acks, said) = if dice.roll(2) == 0 { ("", last) } else { ("&acks=post", "1") };
    let asking = listener.asks(to, &format!("window={window}{acks}")).header("last-event-id", said).send();
    let answer = timeout(SILENCE, asking).await.ok()?.ok()?;
    let status = answer.status().as_u16();
    assert!(matches!(status, 200 | 409 | 503), "{}: {status}", diary.id());
    (status == 200).then(|| Stream::of(answer))
}

/// One stream, acked at any hub; whether there is nothing more to come.
async fn listen(stream: &mut Stream, listener: &Listener, pace: &mut Pace<'_>, diary: &Diary) -> bool {
    let mut unacked: Vec<(u64, String)> = Vec::new();
    for _ in 0..3 + pace.dice.roll(60) {
        if unacked.len() > pace.dice.roll(2) {
            let to = pace.hub();
            let (acks, left) = match pace.dice.roll(3) {
                0 => {
                    let mut left = unacked.clone();
                    let (_, id) = left.remove(pace.dice.roll(left.len()));
                    (json!({"ids": [id]}), left)
                }
                _ => (json!({"up_to": unacked.iter().map(|(seq, _)| seq).max()}), Vec::new()),
            };
            // One that a hub did not take is said again.
            if listener.acks(to, acks).await == Some(204) {
                unacked = left;
            }
        }
        let Ok(said) = timeout(SILENCE, stream.next_ever()).await else {
            if unacked.is_empty() {
                return false;
            }
            continue;
        };
        match said {
            Said::Frame(ServerFrame::Deliver(message)) => {
                if diary.nature.slow {
                    sleep(Duration::from_millis(pace.dice.roll(60) as u64)).await;
                }
                let id = message.id.to_string();
                diary.take(&id, message.seq, &serde_json::from_slice(&message.payload).unwrap());
                unacked.push((message.seq, id));
            }
            Said::Frame(ServerFrame::Idle) if diary.is_full() => return true,
            Said::Frame(ServerFrame::Gap(gap)) => panic!("nothing was dropped: {gap:?}"),
            Said::Frame(_) => {}
            Said::Closed(code) => {
                assert!(!matches!(code, Some(4100..=4199 | 4400..=4499) if code != Some(4409)), "{}: {code:?}", diary.id());
                return false;
            }
        }
    }
    false
}

/// One connection; whether there is nothing more to come.
async fn visit(socket: &mut Socket, dice: &mut Dice, diary: &Diary) -> bool {
    let mut unacked: Vec<u64> = Vec::new();
    for _ in 0..3 + dice.roll(60) {
        // A full window is acked before anything is waited for.
        if unacked.len() > dice.roll(2) {
            let frame = match dice.roll(4) {
                0 => ClientFrame::Nack {
                    seq: unacked.remove(0),
                    how: How::Later(Duration::from_millis(dice.roll(20) as u64)),
                    reason: None,
                },
                1 => {
                    ClientFrame::Ack { up_to: None, seqs: vec![unacked.remove(dice.roll(unacked.len()))], entry: None, gap: None }
                }
                _ => ClientFrame::Ack { up_to: unacked.drain(..).max(), seqs: Vec::new(), entry: None, gap: None },
            };
            socket.say(&frame).await;
        }
        let Ok(said) = timeout(SILENCE, socket.next_ever()).await else {
            if unacked.is_empty() {
                return false;
            }
            socket.say(&ClientFrame::Ack { up_to: None, seqs: std::mem::take(&mut unacked), entry: None, gap: None }).await;
            continue;
        };
        match said {
            Said::Frame(ServerFrame::Deliver(message)) => {
                if diary.nature.slow {
                    sleep(Duration::from_millis(dice.roll(60) as u64)).await;
                }
                diary.take(&message.id.to_string(), message.seq, &serde_json::from_slice(&message.payload).unwrap());
                unacked.push(message.seq);
            }
            Said::Frame(ServerFrame::Idle) if diary.is_full() => return true,
            Said::Frame(ServerFrame::Gap(gap)) => panic!("nothing was dropped: {gap:?}"),
            Said::Frame(_) => {}
            Said::Closed(code) => {
                assert!(!matches!(code, Some(4100..=4199 | 4400..=4499) if code != Some(4409)), "{}: {code:?}", diary.id());
                return false;
            }
        }
    }
    // Into the tunnel, with whatever it has.
    false
}

/// One poll, of any hub, acked at any; whether there is nothing more to come.
async fn poll(http: &Client, pace: &mut Pace<'_>, diary: &Diary) -> bool {
    let to = |hub: SocketAddr, path: &str| format!("http://{hub}/v1/device/{path}");
    // Two programs that wait for nothing would end each other's waiting for ever.
    let wait = u8::from(!diary.is_full());
    let most = 1 + pace.dice.roll(if diary.nature.slow { 8 } else { 30 });
    let url = to(pace.hub(), &format!("messages?wait={wait}&max={most}"));
    let Some((200, polled)) = ask(http.get(url), diary).await else {
        sleep(AGAIN).await;
        return false;
    };
    assert!(polled["gap"].is_null(), "nothing was dropped: {polled}");
    let messages = polled["messages"].as_array().unwrap();
    if messages.is_empty() && diary.is_full() {
        // Nothing comes while what it has not acked is leased: it leaves once the hub knows that it has all.
        let (url, body) = (to(pace.hub(), "acks"), json!({"up_to": diary.highest()}).to_string());
        if let Some((204, _)) = ask(http.post(url).body(body), diary).await {
            return true;
        }
    }
    for message in messages {
        diary.take(message["id"].as_str().unwrap(), message["seq"].as_u64().unwrap(), &message["data"]);
    }
    if diary.nature.slow {
        sleep(Duration::from_millis(pace.dice.roll(100) as u64)).await;
    }
    // Now and then the switch is off before it acks.
    if !messages.is_empty() && pace.dice.roll(5) > 0 {
        let ids: Vec<&Value> = messages.iter().map(|message| &message["id"]).collect();
        let (url, body) = (to(pace.hub(), "acks"), json!({"ids": ids}).to_string());
        ask(http.post(url).body(body), diary).await;
    }
    false
}

/// The status and the answer; `None` of a hub that is away.
async fn ask(request: RequestBuilder, diary: &Diary) -> Option<(u16, Value)> {
    let response = request.bearer_auth(&diary.device.token).send().await.ok()?;
    let status = response.status().as_u16();
    assert!(matches!(status, 200 | 204 | 409 | 503), "{}: {status}", diary.id());
    Some((status, response.json().await.unwrap_or_default()))
}
