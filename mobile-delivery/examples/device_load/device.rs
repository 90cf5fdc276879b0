//! Devices: each a task that is connected for as long as it can be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, interval_at, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// How often a device is heard of.
const HEARTBEAT: Duration = Duration::from_secs(25);

/// For the answer to a handshake, and for the `idle` after it.
const ANSWER: Duration = Duration::from_secs(30);

/// Before another try.
const REST: Duration = Duration::from_millis(200);

type Socket = WebSocketStream<TcpStream>;

/// A registered device.
pub struct Member {
    pub id: String,
    pub token: String,
}

/// What of a frame of the server concerns these devices.
#[derive(Deserialize)]
struct Heard {
    frame: String,
    #[serde(default)]
    seq: u64,
    entry: Option<u64>,
    data: Option<Data>,
    /// Of what the device has published: the number of the message.
    #[serde(rename = "ref")]
    reference: Option<String>,
}

/// What a device hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A message came, of this number.
    Got(usize),
    /// The message of this number, which it has published, is stored.
    Published(usize),
}

#[derive(Deserialize)]
struct Data {
    n: usize,
}

/// All devices.
pub struct Fleet {
    count: usize,
    begun: Instant,
    round: watch::Sender<u32>,
    /// The way to each of them: frames to say.
    mouths: Vec<mpsc::UnboundedSender<String>>,
    /// The round in which a device has had its `idle`, when, and how often it has tried.
    idle: mpsc::UnboundedReceiver<(u32, Instant, u32)>,
}

impl Fleet {
    /// Begins to connect all of them at once; `hears` what they hear of.
    pub fn start(address: &str, members: Vec<Arc<Member>>, hears: impl Fn(News) + Clone + Send + Sync + 'static) -> Self {
        let (count, begun) = (members.len(), Instant::now());
        let (round, _) = watch::channel(0);
        let (tell, idle) = mpsc::unbounded_channel();
        let mut mouths = Vec::with_capacity(count);
        for member in members {
            let (mouth, say) = mpsc::unbounded_channel();
            mouths.push(mouth);
            let (address, round) = (address.to_owned(), round.subscribe());
            tokio::spawn(Device { member, address, round, say, tell: tell.clone(), hears: hears.clone() }.run());
        }
        Self { count, begun, round, mouths, idle }
    }

    /// Has the device of this place say a frame.
    pub fn say(&self, at: usize, frame: String) {
        let _ = self.mouths[at].send(frame);
    }

    /// Breaks all connections.
    pub fn cut(&mut self) {
        self.begun = Instant::now();
        self.round.send_modify(|round| *round += 1);
    }

    /// Waits until all have had their `idle` since they began, or were cut off; answers how many seconds that took, and how many tries in all.
    pub async fn idle(&mut self, patience: Duration) -> (f64, u32) {
        let round = *self.round.borrow();
        let (mut there, mut last, mut tries) = (0, self.begun, 0);
        let all = async {
            while there < self.count {
                let (of, at, tried) = self.idle.recv().await.expect("devices");
                if of == round {
                    (there, last, tries) = (there + 1, last.max(at), tries + tried);
                }
            }
        };
        let came = timeout(patience, all).await;
        assert!(came.is_ok(), "{there} of {} devices were idle after {patience:?}", self.count);
        ((last - self.begun).as_secs_f64(), tries)
    }
}

struct Device<F> {
    member: Arc<Member>,
    address: String,
    round: watch::Receiver<u32>,
    say: mpsc::UnboundedReceiver<String>,
    tell: mpsc::UnboundedSender<(u32, Instant, u32)>,
    hears: F,
}

/// Why a connection is over.
enum Over {
    Cut,
    Broken,
}

impl<F: Fn(News) + Send + Sync> Device<F> {
    async fn run(mut self) {
        let (mut tries, mut of) = (0, *self.round.borrow_and_update());
        loop {
            tries += 1;
            if let Some(socket) = self.connect().await
                && let Over::Cut = self.stay(socket, of, tries).await
            {
                (tries, of) = (0, *self.round.borrow_and_update());
                continue;
            }
            sleep(REST).await;
        }
    }

    /// Connected, and its `hello` sent.
    async fn connect(&self) -> Option<Socket> {
        let stream = TcpStream::connect(&self.address).await.ok()?;
        // What is cut off leaves no port behind that is taken for a minute.
        stream.set_zero_linger().ok()?;
        stream.set_nodelay(true).ok()?;
        let mut request = format!("ws://{}/v1/device/socket", self.address).into_client_request().ok()?;
        request.headers_mut().insert("sec-websocket-protocol", "warren.device.v1".parse().ok()?);
        request.headers_mut().insert("authorization", format!("Bearer {}", self.member.token).parse().ok()?);
        let small = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let opening = tokio_tungstenite::client_async_with_config(request, stream, Some(small));
        let (mut socket, _) = timeout(ANSWER, opening).await.ok()?.ok()?;
        let hello = format!(r#"{{"frame":"hello","version":1,"device":"{}"}}"#, self.member.id);
        socket.send(Message::text(hello)).await.ok()?;
        Some(socket)
    }

    async fn stay(&mut self, mut socket: Socket, of: u32, tries: u32) -> Over {
        let mut ping: Interval = interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
        let mut idle = false;
        let late = sleep(ANSWER);
        tokio::pin!(late);
        loop {
            let said = tokio::select! {
                biased;
                _ = self.round.changed() => return Over::Cut,
                said = socket.next() => said,
                Some(frame) = self.say.recv() => {
                    if socket.send(Message::text(frame)).await.is_err() {
                        return Over::Broken;
                    }
                    continue;
                }
                _ = ping.tick() => {
                    if socket.send(Message::text(r#"{"frame":"ping"}"#)).await.is_err() {
                        return Over::Broken;
                    }
                    continue;
                }
                () = &mut late, if !idle => return Over::Broken,
            };
            let text = match said {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                _ => return Over::Broken,
            };
            let at = Instant::now();
            let heard: Heard = serde_json::from_str(&text).expect("a frame");
            match heard.frame.as_str() {
                "idle" if !idle => {
                    idle = true;
                    let _ = self.tell.send((of, at, tries));
                }
                "deliver" => {
                    (self.hears)(News::Got(heard.data.map_or(usize::MAX, |data| data.n)));
                    let ack = match heard.entry {
                        Some(entry) => format!(r#"{{"frame":"ack","entry":{entry}}}"#),
                        None => format!(r#"{{"frame":"ack","up_to":{}}}"#, heard.seq),
                    };
                    if socket.send(Message::text(ack)).await.is_err() {
                        return Over::Broken;
                    }
                }
                "published" => {
                    let n = heard.reference.and_then(|reference| reference.parse().ok());
                    (self.hears)(News::Published(n.expect("its number")));
                }
                "refused" => eprintln!("{text}"),
                _ => {}
            }
        }
    }
}
