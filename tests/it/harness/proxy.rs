use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;
use warren_tests::broker::Broker;
use warren_tests::proxy::{Forwarded, Mode, Proxy};
use warren_tests::wait::until_true;

const SOON: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(300);

/// A server that sends back what it gets.
async fn echo() -> (SocketAddr, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = async move {
        let mut clients = tokio::task::JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            clients.spawn(async move {
                let (mut from, mut to) = client.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    };
    #[allow(clippy::disallowed_methods)]
    let server = AbortOnDropHandle::new(tokio::spawn(serve));
    (addr, server)
}

/// Sends bytes and waits for as many; `None` when they do not come in time.
async fn round(client: &mut TcpStream, bytes: &[u8], within: Duration) -> Option<std::io::Result<Vec<u8>>> {
    let exchange = async {
        client.write_all(bytes).await?;
        let mut back = vec![0; bytes.len()];
        client.read_exact(&mut back).await?;
        Ok(back)
    };
    tokio::time::timeout(within, exchange).await.ok()
}

async fn is_reset(client: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(SOON, client.read_to_end(&mut rest)).await;
    matches!(read, Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn passing_keeps_order_counts_and_half_closes() {
    let (server, _running) = echo().await;
    let proxy = Proxy::to(server).await;
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    let bytes: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
    let (mut from, mut to) = client.split();
    let mut back = Vec::new();
    let send = async {
        to.write_all(&bytes).await?;
        to.shutdown().await
    };
    tokio::try_join!(send, from.read_to_end(&mut back)).unwrap();
    assert_eq!(back, bytes);
    let counted = Forwarded { client_to_server: 300_000, server_to_client: 300_000 };
    assert_eq!(proxy.forwarded(), counted);
    assert_eq!(proxy.accepted(), 1);
    until_true(SOON, "the connection to be closed", async || proxy.open() == 0).await;
}

#[tokio::test]
async fn delay_applies_to_open_connections_and_does_not_add_up() {
    let (server, _running) = echo().await;
    let proxy = Proxy::seeded(server, 7).await;
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(round(&mut client, b"quick", SOON).await.unwrap().is_ok());
    let (by, jitter) = (Duration::from_millis(100), Duration::from_millis(50));
    proxy.set(Mode::Delay { by, jitter }).await;
    let start = Instant::now();
    assert_eq!(round(&mut client, b"slow", SOON).await.unwrap().unwrap(), b"slow");
    assert!(start.elapsed() >= by * 2, "there and back");
    let start = Instant::now();
    // Far more pieces than would fit if each waited for the one before.
    let bytes = vec![1; 3_000_000];
    let (mut from, mut to) = client.split();
    let mut back = vec![0; bytes.len()];
    tokio::try_join!(to.write_all(&bytes), from.read_exact(&mut back)).unwrap();
    assert!(start.elapsed() < SOON, "took {:?}", start.elapsed());
}

#[tokio::test]
async fn a_blackhole_holds_bytes_back_and_lets_them_go() {
    let (server, _running) = echo().await;
    let proxy = Proxy::to(server).await;
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(round(&mut client, b"before", SOON).await.is_some());
    proxy.set(Mode::BLACKHOLE).await;
    assert!(round(&mut client, b"during", SILENCE).await.is_none());
    let before = proxy.forwarded();
    assert_eq!(before.client_to_server, 6);
    proxy.set(Mode::Blackhole { client_to_server: false, server_to_client: true }).await;
    until_true(SOON, "the request to pass", async || proxy.forwarded().client_to_server == 12).await;
    assert_eq!(proxy.forwarded().server_to_client, 6, "the answer is swallowed");
    proxy.set(Mode::Pass).await;
    let mut late = [0; 6];
    client.read_exact(&mut late).await.unwrap();
    assert_eq!(&late, b"during");
}

#[tokio::test]
async fn reset_refuse_and_cut_end_connections() {
    let (server, _running) = echo().await;
    let proxy = Proxy::to(server).await;
    let addr = proxy.addr();
    let open = async || {
        let mut client = TcpStream::connect(addr).await.unwrap();
        assert!(round(&mut client, b"hello", SOON).await.unwrap().is_ok());
        client
    };
    let mut client = open().await;
    proxy.set(Mode::Reset).await;
    assert!(is_reset(&mut client).await, "an open connection is reset");
    // The reset may overtake the end of connect.
    match TcpStream::connect(addr).await {
        Ok(mut client) => assert!(is_reset(&mut client).await, "and a new one"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }

    proxy.set(Mode::Pass).await;
    let mut client = open().await;
    proxy.set(Mode::Refuse).await;
    assert!(is_reset(&mut client).await);
    let refused = TcpStream::connect(addr).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    proxy.set(Mode::Pass).await;
    let (mut one, mut other) = (open().await, open().await);
    proxy.cut_all();
    assert!(is_reset(&mut one).await && is_reset(&mut other).await);
    drop(open().await);
}

#[tokio::test]
async fn a_cut_comes_after_exactly_so_many_bytes() {
    let (server, _running) = echo().await;
    let proxy = Proxy::to(server).await;
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(round(&mut client, &[0; 100], SOON).await.unwrap().is_ok());
    proxy.set(Mode::CutAfter { client_to_server: None, server_to_client: Some(1000) }).await;
    client.write_all(&[1; 5000]).await.unwrap();
    let mut got = Vec::new();
    let error = client.read_to_end(&mut got).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(got.len(), 1000);
    assert_eq!(proxy.forwarded().server_to_client, 1100);
}

#[tokio::test]
async fn a_real_client_of_a_real_broker_feels_it() {
    let broker = Broker::shared().await;
    let vhost = broker.vhost().await;
    let proxy = Proxy::to(broker.amqp_addr()).await;
    let url = proxy.through(&vhost.url());
    let connect = async || lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await;
    let connection = connect().await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    proxy.set(Mode::Refuse).await;
    until_true(SOON, "the client to notice the cut", async || !connection.status().connected()).await;
    assert!(channel.basic_qos(1, Default::default()).await.is_err());
    assert!(connect().await.is_err());
    proxy.set(Mode::Pass).await;
    assert!(connect().await.unwrap().status().connected());
}
