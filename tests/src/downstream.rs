//! A slow service behind Warren: a real HTTP server on a free port that does as it is told, and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use futures::StreamExt;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What it does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers with a status, headers and a body.
    Status(u16, Vec<(&'static str, String)>, &'static str),
    /// Answers 200 with `"late"` after so long.
    Late(Duration),
    /// Answers 200 with so many bytes, told beforehand or not.
    Large(usize, bool),
    /// Takes the request and answers nothing, or 503 once [`Downstream::let_go`] is called.
    Hang,
    /// Takes the request and answers this status once [`Downstream::let_go`] is called.
    Held(u16),
    /// Begins an answer of 200 and breaks it off.
    Broken,
}

/// One request it got.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When.
    pub at: Instant,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Asked {
    /// A header's text; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Clone)]
struct Shared {
    reply: Arc<Mutex<Reply>>,
    let_go: Arc<Notify>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// The service. It ends with the runtime it was started on.
pub struct Downstream {
    address: SocketAddr,
    shared: Shared,
}

impl Downstream {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(reply: Reply) -> Self {
        let shared = Shared { reply: Arc::new(Mutex::new(reply)), let_go: Arc::default(), asked: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().fallback(answer).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, shared }
    }

    /// An answer with this status and nothing more.
    pub fn status(status: u16) -> Reply {
        Reply::Status(status, Vec::new(), "")
    }

    /// Does otherwise from here on.
    pub fn set(&self, reply: Reply) {
        *self.shared.reply.lock().unwrap() = reply;
    }

    /// Ends the requests that hang now.
    pub fn let_go(&self) {
        self.shared.let_go.notify_waiters();
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

async fn answer(State(shared): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    shared.asked.lock().unwrap().push(Asked { at: Instant::now(), method, uri, headers, body });
    let reply = shared.reply.lock().unwrap().clone();
    let of = |status: u16, body: Body| {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    };
    match reply {
        Reply::Status(status, headers, body) => {
            let mut response = of(status, Body::from(body));
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Reply::Late(wait) => {
            tokio::time::sleep(wait).await;
            of(200, Body::from("\"late\""))
        }
        Reply::Large(size, told) => {
            let bytes = vec![b'x'; size];
            match told {
                true => of(200, Body::from(bytes)),
                false => {
                    let chunks: Vec<Result<Bytes, std::io::Error>> =
                        bytes.chunks(4096).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
                    of(200, Body::from_stream(futures::stream::iter(chunks)))
                }
            }
        }
        Reply::Hang => {
            shared.let_go.notified().await;
            of(503, Body::empty())
        }
        Reply::Held(status) => {
            shared.let_go.notified().await;
            of(status, Body::empty())
        }
        Reply::Broken => {
            let parts = futures::stream::iter([Ok(Bytes::from_static(b"{\"half\":"))]);
            let torn = futures::stream::once(async {
                // The beginning is on the wire by then.
                tokio::time::sleep(Duration::from_millis(200)).await;
                Err(std::io::Error::other("torn"))
            });
            of(200, Body::from_stream(parts.chain(torn)))
        }
    }
}
