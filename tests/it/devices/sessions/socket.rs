//! A device on a WebSocket, as a program of a team would be: it reads frames and writes them, and nothing is hidden from it.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use mobile_delivery::protocol::{ClientFrame, Hello, SUBPROTOCOL, ServerFrame, Token, Window};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;

use super::SOON;
use super::ground::token;

pub(in crate::devices) struct Socket(pub(in crate::devices) WebSocketStream<TcpStream>);

/// What comes.
#[derive(Debug)]
pub(in crate::devices) enum Said {
    Frame(ServerFrame),
    /// With this code; `None` when the connection broke.
    Closed(Option<u16>),
}

impl Socket {
    /// Connected, and has said nothing yet.
    pub(in crate::devices) async fn open(to: SocketAddr, bearer: Option<&str>) -> Self {
        Self::over(TcpStream::connect(to).await.unwrap(), to, bearer).await
    }

    /// Connected, if there is somebody to connect to.
    pub(in crate::devices) async fn reach(to: SocketAddr, bearer: &str) -> Option<Self> {
        let connecting = async {
            let stream = TcpStream::connect(to).await.ok()?;
            let (socket, _) = tokio_tungstenite::client_async(request(to, Some(bearer)), stream).await.ok()?;
            Some(Self(socket))
        };
        tokio::time::timeout(SOON, connecting).await.ok().flatten()
    }

    /// With as little room for what is not read as there can be.
    pub(in crate::devices) async fn narrow(to: SocketAddr, bearer: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::over(socket.connect(to).await.unwrap(), to, Some(bearer)).await
    }

    async fn over(stream: TcpStream, to: SocketAddr, bearer: Option<&str>) -> Self {
        let (socket, response) = tokio_tungstenite::client_async(request(to, bearer), stream).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], SUBPROTOCOL);
        Self(socket)
    }

    /// Connected and welcome.
    pub(in crate::devices) async fn welcome(to: SocketAddr, id: &str, window: Window) -> Self {
        let mut socket = Self::open(to, Some(&token(id))).await;
        socket.hello(id, window).await;
        match socket.next().await {
            Said::Frame(ServerFrame::Welcome(_)) => socket,
            other => panic!("{other:?} came instead of a welcome"),
        }
    }

    /// Connected, welcome, and caught up with nothing.
    pub(in crate::devices) async fn idle(to: SocketAddr, id: &str) -> Self {
        let mut socket = Self::welcome(to, id, Window::default()).await;
        socket.is_idle().await;
        socket
    }

    pub(in crate::devices) async fn hello(&mut self, id: &str, window: Window) {
        self.greet(id, None, window).await;
    }

    pub(in crate::devices) async fn hello_with(&mut self, id: &str, token: &str) {
        self.greet(id, Some(Token(token.to_owned())), Window::default()).await;
    }

    async fn greet(&mut self, id: &str, token: Option<Token>, window: Window) {
        // It sends no pings, and a test may wait for a broker to start.
        let heartbeat = Some(Duration::from_secs(600));
        let hello = Hello { device: id.to_owned(), token, window, heartbeat, seen: Vec::new(), agent: None, one_way: false };
        self.say(&ClientFrame::Hello(Box::new(hello))).await;
    }

    pub(in crate::devices) async fn say(&mut self, frame: &ClientFrame) {
        self.text(&frame.encode()).await;
    }

    /// Whatever it is; that the other side is gone shows in what comes next.
    pub(in crate::devices) async fn text(&mut self, text: &str) {
        let _ = self.0.send(Message::text(text)).await;
    }

    pub(in crate::devices) async fn ack(&mut self, up_to: u64) {
        self.say(&ClientFrame::Ack { up_to: Some(up_to), seqs: Vec::new(), entry: None, gap: None }).await;
    }

    /// What comes next, soon.
    pub(in crate::devices) async fn next(&mut self) -> Said {
        tokio::time::timeout(SOON, self.next_ever()).await.expect("a frame")
    }

    pub(in crate::devices) async fn next_ever(&mut self) -> Said {
        loop {
            return match self.0.next().await {
                Some(Ok(Message::Text(text))) => match ServerFrame::decode(text.as_str()).unwrap() {
                    Some(frame) => Said::Frame(frame),
                    None => continue,
                },
                Some(Ok(Message::Close(frame))) => {
                    // Reading on sends the answer.
                    while let Some(Ok(_)) = self.0.next().await {}
                    Said::Closed(frame.map(|frame| frame.code.into()))
                }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => Said::Closed(None),
            };
        }
    }

    pub(in crate::devices) async fn is_idle(&mut self) {
        match self.next().await {
            Said::Frame(ServerFrame::Idle) => {}
            other => panic!("{other:?} came instead of idle"),
        }
    }

    /// The next message, which comes before anything else.
    pub(in crate::devices) async fn message(&mut self) -> mobile_delivery::protocol::Message {
        match self.next().await {
            Said::Frame(ServerFrame::Deliver(message)) => *message,
            other => panic!("{other:?} came instead of a message"),
        }
    }

    pub(in crate::devices) async fn messages(&mut self, count: usize) -> Vec<mobile_delivery::protocol::Message> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            all.push(self.message().await);
        }
        all
    }

    /// With which code it closes, and what was said to be wrong before.
    pub(in crate::devices) async fn refusal(mut self) -> (Option<u16>, String) {
        let mut said = String::new();
        loop {
            match self.next().await {
                Said::Frame(ServerFrame::Error { detail, .. }) => said = detail,
                Said::Frame(_) => {}
                Said::Closed(code) => return (code, said),
            }
        }
    }

    /// Reads until it closes.
    pub(in crate::devices) async fn closes(&mut self) -> Option<u16> {
        loop {
            if let Said::Closed(code) = self.next().await {
                return code;
            }
        }
    }
}

fn request(to: SocketAddr, bearer: Option<&str>) -> Request {
    let mut request = format!("ws://{to}/v1/device/socket").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse().unwrap());
    if let Some(bearer) = bearer {
        request.headers_mut().insert("authorization", format!("Bearer {bearer}").parse().unwrap());
    }
    request
}
