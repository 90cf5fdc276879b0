//! nginx with the configuration that is deployed, on ports of this machine.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use warren_tests::process::{Process, folder, workspace};
use warren_tests::{free_port, wait};

/// Long on a busy machine.
const SOON: Duration = Duration::from_secs(30);

pub(super) struct Nginx {
    pub(super) process: Process,
    port: u16,
    folder: TempDir,
}

impl Nginx {
    /// In front of what listens on these ports, instead of the addresses of `api` and `devices`.
    pub(super) async fn start(jobs: &[u16], devices: &[u16]) -> Self {
        let folder = folder("nginx");
        let port = free_port();
        let read = |name: &str| std::fs::read_to_string(workspace().join("deploy/nginx").join(name)).unwrap();
        // Exactly these words are others here; whatever else the files say is what is deployed.
        let replaced = |text: String, what: &str, with: &str| {
            assert_eq!(text.matches(what).count(), 1, "`{what}` is once in the configuration");
            text.replace(what, with)
        };
        let main = replaced(read("nginx.conf"), "listen 8080 ", &format!("listen 127.0.0.1:{port} "));
        let main = main.replace(" /tmp/", &format!(" {}/", folder.path().display()));
        let servers = |text, name: &str, ports: &[u16]| {
            let here: String = ports.iter().map(|port| format!("server 127.0.0.1:{port} max_fails=2 fail_timeout=5s;")).collect();
            replaced(text, &format!("server {name}:8080 resolve max_fails=2 fail_timeout=5s;"), &here)
        };
        let upstream = servers(servers(read("upstream.conf"), "api", jobs), "devices", devices);
        // Docker's.
        let upstream = replaced(upstream, "resolver 127.0.0.11 valid=5s ipv6=off;", "");
        std::fs::write(folder.path().join("nginx.conf"), main).unwrap();
        std::fs::write(folder.path().join("upstream.conf"), upstream).unwrap();

        let command = |test: bool| {
            let mut command = Command::new(program());
            command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
            // As root it would become somebody who may not look into this folder; for others the line is void.
            let user = if nix::unistd::geteuid().is_root() { "user root; " } else { "" };
            command.args(["-g", &format!("{user}daemon off;")]);
            if test {
                command.arg("-t");
            }
            command
        };
        let checked = command(true).output();
        let checked =
            checked.expect("these tests need nginx: install the package nginx-light, or run scripts/install-test-tools");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let process = Process::start_in("nginx", command(false), folder.path());
        let nginx = Self { process, port, folder };
        let live = nginx.url("/nginx-live");
        wait::until_true(SOON, "nginx to answer", async || reqwest::get(&live).await.is_ok_and(|answer| answer.status() == 200))
            .await;
        nginx
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Each request as it was logged.
    pub(super) fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("nginx.out")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}

/// Debian keeps it where only root looks.
fn program() -> &'static str {
    ["/usr/sbin/nginx", "/opt/homebrew/bin/nginx"]
        .into_iter()
        .find(|path| std::path::Path::new(path).is_file())
        .unwrap_or("nginx")
}

/// A client at another address of this machine: not the one that nginx is known by.
pub(super) fn client_at(last: u8) -> reqwest::Client {
    let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    reqwest::Client::builder().local_address(address).timeout(Duration::from_secs(60)).build().unwrap()
}

#[tokio::test]
async fn what_nginx_answers_itself_is_a_problem_document() {
    let nginx = Nginx::start(&[free_port(), free_port()], &[free_port()]).await;
    let client = reqwest::Client::new();
    let answer = client.get(nginx.url("/v1/kinds")).header("x-request-id", "mine").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(
        (&answer.headers()["retry-after"], &answer.headers()["x-request-id"]),
        (&"2".parse().unwrap(), &"mine".parse().unwrap())
    );
    let problem: Value = answer.json().await.unwrap();
    assert_eq!((&problem["type"], &problem["status"]), (&json!("about:blank"), &json!(503)));

    let answer = client.post(nginx.url("/v1/orders")).header("content-length", (10 << 20).to_string()).body("").send().await;
    // It may close while the client still sends.
    if let Ok(answer) = answer {
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["status"], 413);
    }
    let entry = nginx.log().into_iter().find(|entry| entry["request_id"] == "mine").unwrap();
    assert_eq!((&entry["status"], &entry["path"]), (&json!(503), &json!("/v1/kinds")));
}

#[tokio::test]
async fn bodies_that_wait_are_bounded_by_address() {
    let nginx = Nginx::start(&[free_port()], &[free_port()]).await;
    let address: SocketAddr = nginx.url("").trim_start_matches("http://").parse().unwrap();
    // A head is enough to be counted: the body is waited for.
    let send = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "POST /v1/jobs HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n").unwrap();
        stream
    };
    let waiting: Vec<TcpStream> = (0..512).map(|_| send()).collect();
    let client = reqwest::Client::new();
    wait::until_true(SOON, "the 513th to be refused", async || {
        let answer = client.post(nginx.url("/v1/jobs")).body("{}").send().await.unwrap();
        let status = answer.status();
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["status"], status.as_u16());
        status == StatusCode::TOO_MANY_REQUESTS
    })
    .await;
    // Another address, and whoever only reads, is not counted: the hub is asked, which is away.
    let other = client_at(2).post(nginx.url("/v1/jobs")).body("{}").send().await.unwrap();
    let reads = client.get(nginx.url("/v1/jobs")).send().await.unwrap();
    assert_eq!([other.status(), reads.status()], [StatusCode::SERVICE_UNAVAILABLE; 2]);
    drop(waiting);
}

#[tokio::test]
async fn a_websocket_goes_through_in_both_directions() {
    let device = TcpListener::bind("127.0.0.1:0").unwrap();
    let nginx = Nginx::start(&[free_port()], &[device.local_addr().unwrap().port()]).await;
    // What the hub's side of an upgrade is, seen from nginx: a 101, and then bytes both ways.
    let hub = std::thread::spawn(move || {
        let (mut stream, _) = device.accept().unwrap();
        let head = head(&mut stream);
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nhello").unwrap();
        let mut got = [0; 4];
        stream.read_exact(&mut got).unwrap();
        stream.write_all(&got).unwrap();
        head
    });
    let address: SocketAddr = nginx.url("").trim_start_matches("http://").parse().unwrap();
    let talk = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let request = "GET /v1/device/socket HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nForwarded: for=1.2.3.4\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let answer = head(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(b"ping").unwrap();
        let mut pong = [0; 4];
        stream.read_exact(&mut pong).unwrap();
        (hello, pong)
    });
    let (hello, pong) = talk.await.unwrap();
    assert_eq!((&hello, &pong), (b"hello", b"ping"));
    let head = hub.join().unwrap().to_ascii_lowercase();
    for line in ["upgrade: websocket", "connection: upgrade", "x-forwarded-for: 127.0.0.1", "host: h"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
    assert!(!head.contains("\r\nforwarded:"), "{head}");
    let id = head.split("\r\nx-request-id: ").nth(1).unwrap().split("\r\n").next().unwrap();
    assert_eq!(id.len(), 32, "a request without an id was given one: {head}");
}

/// Up to the empty line, and no byte further.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}
