//! Connections that are slow, idle, too many, or in the way of a drain.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use warren_tests::hub::{ALL_SCOPES, HubProcess, token};
use warren_tests::wait::until_true;

use super::{PATIENCE, connect, head, hub_under, hub_with, metric, one, problem, rest, send};

const CUT: &str = "warren_connections_cut_total";

pub(super) async fn cut(hub: &HubProcess, reason: &str) -> f64 {
    metric(hub, &format!("{CUT}{{listener=\"public\",reason=\"{reason}\"}}")).await
}

pub(super) async fn open(hub: &HubProcess) -> f64 {
    metric(hub, "warren_connections{listener=\"public\"}").await
}

/// A byte now and then is not enough: the deadline is for the whole head.
async fn drip(mut stream: TcpStream) -> String {
    let (mut reader, mut writer) = stream.split();
    let dripping = async {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        for byte in head(2).bytes().cycle() {
            tick.tick().await;
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        let mut answer = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::select! {
        () = dripping => unreachable!("it never ends"),
        answer = tokio::time::timeout(PATIENCE, reading) => answer.expect("the hub to close"),
    }
}

#[tokio::test]
async fn a_slow_head_is_cut_off_at_its_deadline_while_others_are_served() {
    let hub = hub_with(&[("LISTEN__HEAD_DEADLINE", "3s")]).await;
    let begun = Instant::now();
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let stream = connect(&hub).await;
        slow.spawn(async move { (drip(stream).await, begun.elapsed()) });
    }
    let client = hub.client();
    let mut served = 0;
    while cut(&hub, "slow-head").await == 0.0 {
        client.accepted("demo.echo", &json!({"served": served})).await;
        served += 1;
    }
    assert!(served > 0, "none was served beside the slow ones");
    while let Some(cut) = slow.join_next().await {
        let (answer, after) = cut.unwrap();
        assert!(after >= Duration::from_secs(3) && after < PATIENCE, "{after:?}");
        let document = problem(&answer, 408, "head-too-slow");
        assert!(document["detail"].as_str().unwrap().contains("within 3 s"), "{document}");
    }
    assert_eq!(cut(&hub, "slow-head").await, 100.0);
    let page = client.get("/problems/head-too-slow").await.unwrap();
    assert_eq!(page.status, 200);
}

/// Also when the head is the second one of its connection, or no byte of the first one ever comes.
#[tokio::test]
async fn every_head_has_its_deadline() {
    let hub = hub_with(&[("LISTEN__HEAD_DEADLINE", "500ms"), ("LISTEN__IDLE", "1h")]).await;
    let mut used = connect(&hub).await;
    send(&mut used, &format!("{}\r\n{{}}", head(2))).await;
    assert!(one(&mut used).await.starts_with("HTTP/1.1 202 "));
    send(&mut used, "GET /live HT").await;
    problem(&rest(&mut used).await, 408, "head-too-slow");

    let mut silent = connect(&hub).await;
    assert_eq!(rest(&mut silent).await, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_used_one_is_not() {
    let hub = hub_with(&[("LISTEN__IDLE", "3s")]).await;
    let mut idle = connect(&hub).await;
    let mut used = connect(&hub).await;
    send(&mut idle, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(one(&mut idle).await.starts_with("HTTP/1.1 200 "));
    let begun = Instant::now();
    let keeping = async {
        while begun.elapsed() < Duration::from_secs(7) {
            send(&mut used, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await;
            assert!(one(&mut used).await.starts_with("HTTP/1.1 200 "));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let closing = async {
        assert_eq!(rest(&mut idle).await, "");
        begun.elapsed()
    };
    let ((), closed) = tokio::join!(keeping, closing);
    assert!(closed >= Duration::from_secs(2) && closed < PATIENCE, "{closed:?}");
    assert_eq!(cut(&hub, "idle").await, 1.0);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let hub = hub_with(&[("LISTEN__MAX_CONNECTIONS", "3")]).await;
    until_true(PATIENCE, "the harness's own connections to go", async || open(&hub).await == 0.0).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(&hub).await;
        send(&mut stream, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(one(&mut stream).await.starts_with("HTTP/1.1 200 "));
        held.push(stream);
    }
    let mut beyond = connect(&hub).await;
    send(&mut beyond, &format!("{}\r\n{{}}", head(2))).await;
    let answer = rest(&mut beyond).await;
    problem(&answer, 503, "too-many-connections");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    assert_eq!((open(&hub).await, cut(&hub, "full").await), (3.0, 1.0));
    // A place that is left is free, and those that hold one were not hurt.
    held.pop();
    until_true(PATIENCE, "the place to be free", async || open(&hub).await == 2.0).await;
    let mut next = connect(&hub).await;
    for stream in held.iter_mut().chain([&mut next]) {
        send(stream, &format!("{}\r\n{{}}", head(2))).await;
        assert!(one(stream).await.starts_with("HTTP/1.1 202 "));
    }
}

/// What comes beyond the limit costs no place, no task and no memory for longer than a farewell.
#[tokio::test]
async fn a_flood_of_connections_is_bounded_and_passes() {
    let hub = hub_with(&[("LISTEN__MAX_CONNECTIONS", "20"), ("LISTEN__HEAD_DEADLINE", "5m")]).await;
    let mut flood = Vec::new();
    for _ in 0..400 {
        flood.push(connect(&hub).await);
    }
    until_true(PATIENCE, "the flood to be turned away", async || cut(&hub, "full").await >= 380.0).await;
    assert!(open(&hub).await <= 20.0);
    drop(flood);
    let client = hub.client();
    until_true(PATIENCE, "the hub to serve again", async || {
        client.submit("demo.echo", &json!({}), None).await.is_ok_and(|answer| answer.status == 202)
    })
    .await;
}

/// The admin listener has its deadline for bodies too, and few connections to lose.
#[tokio::test]
async fn a_slow_body_does_not_hold_an_operators_connection() {
    let hub = hub_with(&[]).await;
    let (token, address) = (token("acme", "operator", ALL_SCOPES), hub.admin_url().replace("http://", ""));
    let slow = async |what: &str, body: &str| {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let path = format!("/admin/dead-letters/01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77/{what}");
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 20\r\n\r\n");
        send(&mut stream, &format!("{head}{body}")).await;
        let answer = one(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body-too-slow"), "{what}: {answer}");
    };
    tokio::join!(slow("discard", "{\"reason\""), slow("edit", "{\"n\""));
}

/// No file descriptors: the loop waits for some to come back, and the hub lives on.
#[tokio::test]
async fn without_file_descriptors_it_waits_for_some() {
    let mut hub = hub_under(&["sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"], &[("LISTEN__HEAD_DEADLINE", "5m")]).await;
    assert!(hub.log().contains("or lower listen.max_connections"), "it says so beforehand");
    let mut flood = Vec::new();
    for _ in 0..100 {
        flood.push(connect(&hub).await);
    }
    until_true(PATIENCE, "the hub to run out", async || hub.log().contains("no connection can be accepted right now")).await;
    assert!(hub.process().poll().is_none(), "{}", hub.process().tail());
    drop(flood);
    let client = hub.client();
    until_true(PATIENCE, "the hub to serve again", async || {
        client.submit("demo.echo", &json!({}), None).await.is_ok_and(|answer| answer.status == 202)
    })
    .await;
}

/// The soft limit, which shells hand out, does not bound what the configuration allows.
#[tokio::test]
async fn it_makes_room_for_its_connections() {
    let hub = hub_under(&["sh", "-c", "ulimit -Sn 64; exec \"$@\"", "sh"], &[]).await;
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = connect(&hub).await;
        send(&mut stream, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(one(&mut stream).await.starts_with("HTTP/1.1 200 "));
        held.push(stream);
    }
    assert!(open(&hub).await >= 200.0);
}

/// Answers pile up for a client that reads none of them: only as far as the buffers go, and not for ever.
#[tokio::test]
async fn a_client_that_does_not_take_its_answers_is_cut_off() {
    let hub = hub_with(&[("LISTEN__IDLE", "1s")]).await;
    let mut greedy = connect(&hub).await;
    let asking = async {
        // The hub stops reading when nothing can be written.
        let request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
        while greedy.write_all(&request).await.is_ok() {}
    };
    let cutting = until_true(PATIENCE, "the greedy client to be cut off", async || cut(&hub, "stalled").await == 1.0);
    tokio::time::timeout(PATIENCE, async { tokio::join!(asking, cutting) }).await.expect("both to end");
}

#[tokio::test]
async fn a_drain_lets_what_is_in_flight_end_and_closes_what_is_idle() {
    let mut hub = hub_with(&[("LISTEN__HEAD_DEADLINE", "5m"), ("LISTEN__IDLE", "1h")]).await;
    let mut half = connect(&hub).await;
    send(&mut half, "GET /live HT").await;
    let mut fresh = connect(&hub).await;
    let mut idle = connect(&hub).await;
    send(&mut idle, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await;
    one(&mut idle).await;
    let mut flying = connect(&hub).await;
    send(&mut flying, &format!("{}Expect: 100-continue\r\n\r\n", head(7))).await;
    // The hub asks for the body: the request is being answered.
    let mut go_on = [0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut flying, &mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    let address = hub.public_url().replace("http://", "");
    let leaving = hub.terminate(PATIENCE);
    let ending = async {
        assert_eq!(rest(&mut idle).await, "", "the idle one is closed");
        assert_eq!((rest(&mut fresh).await, rest(&mut half).await), (String::new(), String::new()), "so is what has not begun");
        until_true(PATIENCE, "no new connection to be taken", async || TcpStream::connect(&address).await.is_err()).await;
        send(&mut flying, "{\"n\":1}").await;
        rest(&mut flying).await
    };
    let (status, answer) = tokio::join!(leaving, ending);
    assert!(answer.starts_with("HTTP/1.1 202 ") && answer.contains("connection: close\r\n"), "{answer}");
    assert!(status.success(), "{status}");
}

/// One that takes no answer keeps nobody waiting, and one that takes a little now and then no longer.
#[tokio::test]
async fn a_drain_does_not_wait_for_who_takes_no_answer() {
    let mut hub = hub_with(&[("LISTEN__IDLE", "1h")]).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&hub).await;
        let asking = async {
            let request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
            while stream.write_all(&request).await.is_ok() {}
        };
        // The hub stops reading when nothing can be written; then nothing more can be asked.
        assert!(tokio::time::timeout(Duration::from_secs(3), asking).await.is_err(), "the hub reads on and on");
        streams.push(stream);
    }
    let mut trickling = streams.pop().unwrap();
    let trickle = async {
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        let mut some = vec![0; 64 << 10];
        loop {
            tick.tick().await;
            if tokio::io::AsyncReadExt::read_exact(&mut trickling, &mut some).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let begun = Instant::now();
    let status = tokio::select! {
        status = hub.terminate(PATIENCE) => status,
        () = trickle => unreachable!("it never ends"),
    };
    assert!(status.success(), "{status}");
    // The grace of 25 s is for work, and nobody works.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(!hub.log().contains("some work did not end in time"), "{}", hub.process().tail());
}
