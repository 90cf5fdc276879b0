//! A courier before real servers on this machine, with names that lead where the test says.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use api_ack::callbacks::CallbackSettings;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::*;

/// Names whose addresses are others each time they are asked for; the last ones stay.
struct Turning {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: AtomicUsize,
}

impl Turning {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers.iter().rev().map(|one| one.iter().map(|ip| ip.parse().unwrap()).collect()).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Lookup for Turning {
    async fn lookup(&self, _: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop().unwrap() } else { answers.last().cloned().unwrap() };
        Ok(answer.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }
}

/// A server that counts its connections and answers each request with `answer`, then closes.
async fn server(answer: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let (count, tasks) = (seen.clone(), TaskTracker::new());
    tasks.clone().spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            tasks.spawn(async move {
                let _ = socket.read(&mut [0; 4096]).await;
                let _ = socket.write_all(answer).await;
            });
        }
    });
    (address, seen)
}

fn rules(networks: &[&str], own: &[SocketAddr], port: u16) -> CallbackRules {
    CallbackRules::new(CallbackSettings {
        allow_http: true,
        ports: vec![port],
        allow_networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        own: own.to_vec(),
        ..CallbackSettings::default()
    })
}

async fn call(courier: &HttpCourier, port: u16) -> Reply {
    let post = Post {
        url: format!("http://receiver.example:{port}/hook"),
        id: "job_1".to_owned(),
        timestamp: 1,
        signature: "v1,x".to_owned(),
        body: Bytes::from_static(b"{}"),
        traceparent: None,
        timeout: Duration::from_secs(2),
    };
    courier.post(&post).await
}

fn why(reply: Reply) -> String {
    match reply {
        Reply::Failed(why) => why,
        Reply::Answered { status, .. } => panic!("it was answered {status}"),
    }
}

const OK: &[u8] = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_name_is_resolved_once_for_each_connection_and_turning_it_changes_nothing() {
    let (address, seen) = server(OK).await;
    let rules = rules(&["127.0.0.1/32"], &[], address.port());
    // First where it may lead, then where it may not.
    let names = Turning::new(&[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.1"]]);
    let courier = HttpCourier::resolving(rules, None, names.clone()).unwrap();
    assert_eq!(call(&courier, address.port()).await, Reply::Answered { status: 204, retry_after: None });
    assert_eq!(
        (names.asked.load(Ordering::Relaxed), seen.load(Ordering::Relaxed)),
        (1, 1),
        "what was looked at was connected to"
    );
    let refused = why(call(&courier, address.port()).await);
    assert!(refused.contains("refused: `receiver.example` leads to an address that is loopback"), "{refused}");
    assert_eq!(call(&courier, address.port()).await, Reply::Answered { status: 204, retry_after: None });
    assert_eq!((names.asked.load(Ordering::Relaxed), seen.load(Ordering::Relaxed)), (3, 2));
}

#[tokio::test]
async fn one_address_that_is_refused_is_enough_whatever_stands_beside_it() {
    let (address, seen) = server(OK).await;
    for addresses in [&["127.0.0.1", "10.0.0.1"], &["169.254.169.254", "127.0.0.1"], &["127.0.0.1", "fd00::1"]] {
        let rules = rules(&["127.0.0.1/32"], &[], address.port());
        let courier = HttpCourier::resolving(rules, None, Turning::new(&[addresses])).unwrap();
        let refused = why(call(&courier, address.port()).await);
        assert!(refused.starts_with("connect-failed: ") && refused.contains("refused: `receiver.example` leads to"), "{refused}");
    }
    assert_eq!(seen.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_hub_itself_is_not_called_by_any_name() {
    let (address, seen) = server(OK).await;
    let rules = rules(&["127.0.0.0/8"], &[address], address.port());
    let courier = HttpCourier::resolving(rules.clone(), None, Turning::new(&[&["127.0.0.1"], &["::ffff:127.0.0.1"]])).unwrap();
    for _ in 0..2 {
        let refused = why(call(&courier, address.port()).await);
        assert!(refused.contains("this hub itself"), "{refused}");
    }
    assert_eq!(seen.load(Ordering::Relaxed), 0);
    let all = own([address, "0.0.0.0:8081".parse().unwrap(), "[::]:8082".parse().unwrap()]);
    for here in [address, "127.0.0.1:8081".parse().unwrap(), "127.0.0.1:8082".parse().unwrap()] {
        assert!(all.contains(&here), "{here} in {all:?}");
    }
}

#[tokio::test]
async fn answers_have_their_bounds() {
    // No end to the head; no end to the body; a body that breaks off.
    let head: &'static [u8] = Box::leak([b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'a'; 1 << 20]].concat().into_boxed_slice());
    let body: &'static [u8] = Box::leak(
        [b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n".as_slice(), &[b'a'; 1 << 20]].concat().into_boxed_slice(),
    );
    let torn = b"HTTP/1.1 202 Accepted\r\ncontent-length: 10\r\n\r\n123";
    for (answer, status) in [(head, None), (body, Some(200)), (torn.as_slice(), Some(202))] {
        let (address, _) = server(answer).await;
        let rules = rules(&["127.0.0.1/32"], &[], address.port());
        let courier = HttpCourier::resolving(rules, None, Turning::new(&[&["127.0.0.1"]])).unwrap();
        let reply = call(&courier, address.port()).await;
        match status {
            Some(status) => assert_eq!(reply, Reply::Answered { status, retry_after: None }),
            None => assert!(why(reply).starts_with("request-failed: ")),
        }
    }
}
