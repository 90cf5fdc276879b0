//! What a receiver gets, and what its answers make of it.

use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::downstream::{Asked, Downstream, Reply};
use warren_tests::hub::{ALL_SCOPES, HubClient, token};
use warren_tests::ports::free_port;
use warren_tests::process::{Process, binary, workspace};
use warren_tests::wait::{until, until_true};

use super::{SECRET, accepted, hub, settings, stands, submit};
use crate::http_worker::Stage;
use crate::tls::certificates::Authority;
use crate::world::{KINDS, Keep, LONG};

/// A newer secret, and one that nobody has.
const NEWER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const FALSE: &str = "whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

/// What `docs/callbacks.md` gives receivers of a language: the block that begins with this line.
fn from_the_page(first: &str) -> String {
    let page = std::fs::read_to_string(workspace().join("docs/callbacks.md")).unwrap();
    let block = page.split("```").find(|block| block.contains(first));
    let block = block.unwrap_or_else(|| panic!("docs/callbacks.md has no `{first}`"));
    block.split_once('\n').unwrap().1.to_owned()
}

/// Whether the page's receiver takes what was sent, in Python and in Node.
fn verified(asked: &Asked, secret: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let input = json!({
        "secret": secret,
        "headers": {
            "webhook-id": asked.header("webhook-id"),
            "webhook-timestamp": asked.header("webhook-timestamp"),
            "webhook-signature": asked.header("webhook-signature"),
        },
        "body": BASE64_STANDARD.encode(&asked.body),
    });
    let run = |program: &str, file: &str, text: String| {
        let path = folder.path().join(file);
        std::fs::write(&path, text).unwrap();
        let done = Command::new(program).arg(&path).arg(input.to_string()).output().unwrap();
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim() == "true"
    };
    let python = from_the_page("import hashlib")
        + "\nimport json, sys\ngiven = json.loads(sys.argv[1])\n\
           print(str(verify(given['secret'], given['headers'], base64.b64decode(given['body']))).lower())\n";
    let by_python = run("python3", "receiver.py", python);
    // Not every machine has Node.
    if Command::new("node").arg("--version").output().is_ok() {
        let node = from_the_page("const crypto = require")
            + "\nconst given = JSON.parse(process.argv[2]);\n\
               console.log(verify(given.secret, given.headers, Buffer.from(given.body, 'base64')));\n";
        assert_eq!(run("node", "receiver.js", node), by_python);
    }
    by_python
}

async fn called(receiver: &Downstream, times: usize) -> Vec<Asked> {
    until(LONG, "the calls", async || Some(receiver.asked()).filter(|asked| asked.len() >= times)).await
}

#[tokio::test]
async fn the_end_of_a_job_is_told_signed_and_in_the_words_of_the_api() {
    let receiver = Downstream::start(Downstream::status(204)).await;
    let stage = Stage::set(Keep::Postgres).await;
    let toml = settings(&[&receiver], "");
    let mut hub = hub(&stage, &toml).await;
    let client = hub.client();
    let url = format!("{}/hook?token=canary", receiver.origin());
    let id = accepted(&client, "demo.echo", &url).await;
    let job = stands(&client, &id, "delivered").await;
    assert_eq!(
        (&job["callback"]["url"], &job["callback"]["calls"][0]["status"]),
        (&json!(format!("{}/hook", receiver.origin())), &json!(204))
    );
    assert!(job["callback"]["next_at"].is_null() && job["callback"]["calls"][0]["error"].is_null(), "{job}");

    let asked = &called(&receiver, 1).await[0];
    assert_eq!((asked.method.as_str(), asked.uri.to_string().as_str()), ("POST", "/hook?token=canary"));
    assert_eq!(asked.header("content-type"), "application/json");
    assert_eq!(asked.header("webhook-id"), format!("job_{}_1", id.replace('-', "")));
    assert!(verified(asked, SECRET));
    assert!(!verified(asked, FALSE));
    assert!(!verified(&Asked { body: b"{}".as_slice().into(), ..asked.clone() }, SECRET));
    let told: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!((&told["type"], &told["timestamp"]), (&json!("job.succeeded"), &job["ended_at"]));
    for field in [
        "id",
        "kind",
        "tenant",
        "state",
        "epoch",
        "attempt",
        "tags",
        "result",
        "error",
        "reason",
        "accepted_at",
        "ended_at",
        "links",
    ] {
        assert_eq!(told["data"][field], job[field], "{field}: {told}");
    }

    // A rotation: both sign, and then the newer one alone. The receiver needs no more than one of them.
    let path = hub.folder().join("warren.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let both = format!("{text}\n[[callback_secret]]\ntenant = \"acme\"\nsecret = \"{NEWER}\"\n");
    let newer = text.replace(SECRET, NEWER);
    for (at, (file, good)) in [(both, vec![SECRET, NEWER]), (newer, vec![NEWER])].into_iter().enumerate() {
        std::fs::write(&path, file).unwrap();
        hub.process().signal(Signal::SIGHUP);
        until_true(LONG, "the reload", async || hub.log().matches("the configuration was read again").count() == at + 1).await;
        let id = accepted(&client, "demo.echo", &url).await;
        stands(&client, &id, "delivered").await;
        let asked = called(&receiver, at + 2).await.pop().unwrap();
        for secret in [SECRET, NEWER, FALSE] {
            assert_eq!(verified(&asked, secret), good.contains(&secret), "{secret}: {}", asked.header("webhook-signature"));
        }
    }
    let log = hub.log();
    for secret in ["canary", &SECRET[6..], &NEWER[6..]] {
        assert!(!log.contains(secret));
    }
}

#[tokio::test]
async fn what_fails_is_told_again_under_the_same_id_until_it_is_given_up_and_can_be_redriven() {
    let receiver = Downstream::start(Downstream::status(503)).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let hub = hub(&stage, &settings(&[&receiver], "")).await;
    let client = hub.client();
    let id = accepted(&client, "demo.echo", &format!("{}/hook", receiver.origin())).await;
    let job = stands(&client, &id, "failed").await;
    let calls = job["callback"]["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 4, "{job}");
    assert!(calls.iter().all(|call| call["status"] == 503 && call["error"] == "http-503: answered 503"), "{job}");
    let asked = receiver.asked();
    assert!(asked.iter().all(|one| one.header("webhook-id") == asked[0].header("webhook-id") && one.body == asked[0].body));
    assert!(
        asked.windows(2).all(|pair| pair[1].at - pair[0].at >= std::time::Duration::from_millis(790)),
        "a fifth less at most"
    );

    // The operator sees it, and calls again once the receiver is back.
    let operator = HubClient::new(hub.admin_url(), Some(token("*", "olga", ALL_SCOPES)));
    let listed = operator.get("/admin/callbacks?state=failed").await.unwrap().body;
    assert_eq!((&listed["items"][0]["job"], listed["items"].as_array().unwrap().len()), (&json!(id), 1), "{listed}");
    receiver.set(Downstream::status(200));
    let mut command = Command::new(binary("warren"));
    command.args(["callbacks", "redrive", &id, "--note", "they are back", "--admin-url", &hub.admin_url()]);
    let done = command.env("WARREN_TOKEN", token("*", "olga", ALL_SCOPES)).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    stands(&client, &id, "delivered").await;
    assert_eq!(called(&receiver, 5).await[4].header("webhook-id"), asked[0].header("webhook-id"));
    let shown = operator.get(&format!("/admin/callbacks/{id}")).await.unwrap().body;
    let record = &shown["record"][0];
    assert_eq!(
        (&record["actor"], &record["action"], &record["note"]),
        (&json!("olga"), &json!("redrive"), &json!("they are back"))
    );
    let stranger = HubClient::new(hub.admin_url(), Some(token("other", "eve", ALL_SCOPES)));
    assert_eq!(stranger.get(&format!("/admin/callbacks/{id}")).await.unwrap().code(), Some("callback-not-found"));
    assert_eq!(stranger.get("/admin/callbacks").await.unwrap().body["items"], json!([]));

    let metrics = reqwest::get(format!("{}/metrics", hub.internal_url())).await.unwrap().text().await.unwrap();
    for line in [
        "warren_callbacks_total{result=\"failed\"} 3",
        "warren_callbacks_total{result=\"given_up\"} 1",
        "warren_callbacks_total{result=\"delivered\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn an_address_that_says_410_is_left_alone_until_an_operator_says_otherwise() {
    let receiver = Downstream::start(Downstream::status(410)).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let hub = hub(&stage, &settings(&[&receiver], "")).await;
    let client = hub.client();
    let url = format!("{}/hook", receiver.origin());
    let first = accepted(&client, "demo.echo", &url).await;
    stands(&client, &first, "disabled").await;
    let second = accepted(&client, "demo.echo", &url).await;
    let job = stands(&client, &second, "disabled").await;
    assert_eq!((receiver.asked().len(), &job["callback"]["calls"]), (1, &json!([])), "the second was never called");

    let operator = HubClient::new(hub.admin_url(), Some(token("*", "olga", ALL_SCOPES)));
    let post = async |path: &str, body: Value| operator.send(operator.request(Method::POST, path).json(&body)).await.unwrap();
    let refused = post(&format!("/admin/callbacks/{second}/redrive"), json!({})).await;
    assert_eq!((refused.status, refused.code()), (409, Some("callback-disabled")), "{}", refused.body);
    let disabled = operator.get("/admin/callbacks/disabled").await.unwrap().body;
    assert_eq!((&disabled["items"][0]["url"], &disabled["items"][0]["job"]), (&json!(url), &json!(first)), "{disabled}");
    assert_eq!(post("/admin/callbacks/enable", json!({"tenant": "other", "url": url})).await.code(), Some("callback-not-found"));
    receiver.set(Downstream::status(200));
    assert_eq!(post("/admin/callbacks/enable", json!({"tenant": "acme", "url": url, "note": "moved"})).await.status, 200);
    assert_eq!(post(&format!("/admin/callbacks/{second}/redrive"), json!({})).await.status, 200);
    stands(&client, &second, "delivered").await;
    let third = accepted(&client, "demo.echo", &url).await;
    stands(&client, &third, "delivered").await;
}

#[tokio::test]
async fn every_end_is_told_a_kinds_own_callback_too_and_the_end_after_a_redrive() {
    let receiver = Downstream::start(Downstream::status(200)).await;
    let stage = Stage::set(Keep::Postgres).await;
    let url = format!("{}/kind", receiver.origin());
    let kind = format!("[[kind]]\nname = \"test.away\"\nworker = \"amqp\"\ncallback = \"{url}\"\n");
    let hub = hub(&stage, &(settings(&[&receiver], "") + &kind)).await;
    let client = hub.client();
    let of = |asked: &[Asked], id: &str| -> Vec<String> {
        let told = asked.iter().map(|one| serde_json::from_slice::<Value>(&one.body).unwrap());
        told.filter(|told| told["data"]["id"] == *id).map(|told| told["type"].as_str().unwrap().to_owned()).collect()
    };
    // Nobody works on this kind: one is cancelled, one expires.
    let cancelled = client.accepted("test.away", &json!({})).await;
    let waiting = client.job(&cancelled).await.unwrap().body;
    assert_eq!(waiting["callback"], json!({"url": url, "state": "waiting", "calls": []}));
    client.send(client.request(Method::POST, &format!("/v1/jobs/{cancelled}/cancel"))).await.unwrap();
    let soon = jiff::Timestamp::now() + std::time::Duration::from_secs(2);
    let request = client.request(Method::POST, "/v1/kinds/test.away/jobs").json(&json!({}));
    let expired = client.send(request.header("warren-deadline", soon.to_string())).await.unwrap().job_id().unwrap().to_owned();
    stands(&client, &cancelled, "delivered").await;
    stands(&client, &expired, "delivered").await;
    assert_eq!(
        (of(&receiver.asked(), &cancelled), of(&receiver.asked(), &expired)),
        (vec!["job.cancelled".to_owned()], vec!["job.expired".to_owned()])
    );

    // A job that dies and is redriven ends twice, and each end is told under an id of its own.
    let service = Downstream::start(Downstream::status(422)).await;
    let call = crate::http_worker::kind("test.call", &service, "");
    let stage = Stage::set(Keep::Sqlite).await;
    let hub = super::hub(&stage, &(settings(&[&receiver], "") + &call)).await;
    let client = hub.client();
    let id = accepted(&client, "test.call", &url).await;
    stands(&client, &id, "delivered").await;
    let operator = HubClient::new(hub.admin_url(), Some(token("*", "olga", ALL_SCOPES)));
    let letter = until(LONG, "the letter", async || {
        let letters = operator.get("/admin/dead-letters?state=open").await.ok()?.body;
        letters["items"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    service.set(Downstream::status(200));
    let redrive = operator.request(Method::POST, &format!("/admin/dead-letters/{letter}/redrive")).json(&json!({}));
    assert_eq!(operator.send(redrive).await.unwrap().status, 200);
    until_true(LONG, "the second end", async || of(&receiver.asked(), &id) == ["job.dead", "job.succeeded"]).await;
    let ids: Vec<String> = receiver.asked().iter().rev().take(2).map(|asked| asked.header("webhook-id").to_owned()).collect();
    assert!(ids[0].ends_with("_2") && ids[1].ends_with("_1"), "{ids:?}");
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it_and_one_that_hangs_costs_others_nothing() {
    let (asks, hangs, well) = (
        Downstream::start(Reply::Status(429, vec![("retry-after", "4".to_owned())], "")).await,
        Downstream::start(Reply::Hang).await,
        Downstream::start(Downstream::status(200)).await,
    );
    let stage = Stage::set(Keep::Sqlite).await;
    let hub = hub(&stage, &settings(&[&asks, &hangs, &well], "timeout = \"2s\"\nconcurrency = 4\nper_host = 2\n")).await;
    let client = hub.client();
    for _ in 0..8 {
        accepted(&client, "demo.echo", &hangs.origin()).await;
    }
    let patient = accepted(&client, "demo.echo", &asks.origin()).await;
    let first = called(&asks, 1).await.remove(0);
    asks.set(Downstream::status(200));
    let quick = accepted(&client, "demo.echo", &well.origin()).await;
    stands(&client, &quick, "delivered").await;
    let stuck = hangs.asked().len();
    assert!(stuck < 24, "the other one was served while these hang: {stuck}");
    stands(&client, &patient, "delivered").await;
    assert!(called(&asks, 2).await[1].at - first.at >= std::time::Duration::from_secs(4));
}

#[tokio::test]
async fn without_a_secret_or_with_a_wrong_one_nothing_goes_out() {
    let receiver = Downstream::start(Downstream::status(200)).await;
    let stage = Stage::set(Keep::Sqlite).await;
    let hub = hub(&stage, &settings(&[&receiver], "")).await;
    let other = hub.client_as("other", "bob", ALL_SCOPES);
    let refused = submit(&other, "demo.echo", &receiver.origin()).await;
    assert_eq!((refused.status, refused.code()), (422, Some("callback-secret-missing")), "{}", refused.body);

    let file = hub.folder().join("other.toml");
    let text = std::fs::read_to_string(hub.folder().join("warren.toml")).unwrap();
    std::fs::write(&file, text.replace(SECRET, "whsec_c2hvcnQ=")).unwrap();
    let done = Command::new(binary("warren")).args(["config", "check", "--config"]).arg(&file).output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && told.contains("`callback_secret[0].secret` must be `whsec_`"), "{told}");
    assert_eq!(receiver.asked().len(), 0);
}

/// A receiver over TLS that answers 204 and writes down what it was sent.
const OVER_TLS: &str = r#"
import http.server, ssl, sys
certificate, port, seen = sys.argv[1:]


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with open(seen, "ab") as file:
            file.write(self.headers["webhook-id"].encode() + b" " + body + b"\n")
        self.send_response(204)
        self.end_headers()


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

#[tokio::test]
async fn over_tls_a_receiver_is_called_by_its_name_and_a_stranger_is_not_told_anything() {
    let (authority, stranger) = (Authority::new("the right authority"), Authority::new("another authority"));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("ca.pem"), authority.pem()).unwrap();
    std::fs::write(file("receiver.py"), OVER_TLS).unwrap();
    let mut ports = Vec::new();
    let mut receivers = Vec::new();
    for (name, by) in [("good", &authority), ("bad", &stranger)] {
        let signed = by.server("localhost");
        std::fs::write(file(name), signed.certificate + &signed.key).unwrap();
        let port = free_port();
        let mut command = Command::new("python3");
        command.arg(file("receiver.py")).arg(file(name)).arg(port.to_string()).arg(file(&format!("{name}.seen")));
        receivers.push(Process::start("python3", command));
        until_true(LONG, "the receiver", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        ports.push(port.to_string());
    }
    let stage = Stage::set(Keep::Sqlite).await;
    let toml = format!(
        "{KINDS}\n[callbacks]\nallow_networks = [\"127.0.0.0/8\", \"::1/128\"]\nports = [{}]\ndelays = []\nca_file = \"{}\"\n\
         [[callback_secret]]\ntenant = \"acme\"\nsecret = \"{SECRET}\"\n",
        ports.join(", "),
        file("ca.pem").display()
    );
    let hub = hub(&stage, &toml).await;
    let client = hub.client();
    let id = accepted(&client, "demo.echo", &format!("https://localhost:{}/hook", ports[0])).await;
    stands(&client, &id, "delivered").await;
    assert!(std::fs::read_to_string(file("good.seen")).unwrap().contains(&id));
    let id = accepted(&client, "demo.echo", &format!("https://localhost:{}/hook", ports[1])).await;
    let job = stands(&client, &id, "failed").await;
    let error = job["callback"]["calls"][0]["error"].as_str().unwrap();
    assert!(error.starts_with("connect-failed: ") && error.contains("UnknownIssuer"), "{error}");
    assert!(!file("bad.seen").exists());
}
