//! Small bodies that would unfold to very much: nothing is ever unfolded.

use std::io::Write as _;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::json;
use warren_tests::hub::HubProcess;

use super::{ECHO, hub_with, metric};

const MIB: usize = 1 << 20;

/// Unfolds to nearly a gigabyte of spaces, and is smaller than a body may be.
fn bomb() -> Vec<u8> {
    let mut gzip = Command::new("gzip").arg("-9c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = gzip.stdin.take().unwrap();
    let writing = std::thread::spawn(move || input.write_all(&[b' '; MIB]).unwrap());
    let one = gzip.wait_with_output().unwrap().stdout;
    writing.join().unwrap();
    // Members follow each other in one stream (RFC 1952).
    one.repeat(900)
}

async fn memory(hub: &HubProcess) -> f64 {
    metric(hub, "process_resident_memory_bytes").await
}

#[tokio::test]
async fn what_is_compressed_is_refused_and_never_unfolded() {
    let hub = hub_with(&[]).await;
    let (client, admin) = (hub.client(), hub.admin());
    let bomb = bomb();
    assert!(bomb.len() < MIB && bomb.len() > 800_000, "{}", bomb.len());
    let id = client.accepted("demo.echo", &json!({})).await;
    let job = format!("/v1/jobs/{id}");
    let throw = async |encoding: &str, body: &[u8]| {
        for (method, path) in [(Method::POST, ECHO), (Method::POST, "/v1/jobs"), (Method::PATCH, job.as_str())] {
            let request = client.request(method, path).header("content-type", "application/json");
            match client.send(request.header("content-encoding", encoding).body(body.to_vec())).await {
                Ok(answer) => {
                    let told = (answer.status, answer.code());
                    assert_eq!(told, (415, Some("unsupported-content-encoding")), "{path} {encoding}: {}", answer.body);
                }
                // The answer comes before the body was taken: who is still writing may find the connection closed.
                Err(error) => assert!(body.len() > 1 << 16, "{path} {encoding}: {error}"),
            }
        }
        // The operators' API takes small bodies, as they come.
        let edit = format!("/admin/dead-letters/{id}/edit");
        for path in ["/admin/kinds/demo.echo/pause", &edit] {
            let request = admin.request(Method::POST, path).header("content-encoding", encoding);
            if let Ok(answer) = admin.send(request.body(body.to_vec())).await {
                assert!((400..500).contains(&answer.status), "{path} {encoding}: {} {}", answer.status, answer.body);
            }
        }
    };
    let small = &bomb[..bomb.len() / 100];
    throw("gzip", &bomb).await;
    let before = memory(&hub).await;
    assert!(before > 0.0, "the metric is there");
    for encoding in ["gzip", "br", "deflate", "zstd", "x-gzip", "gzip, gzip", "identity, br", "GZIP", "compress"] {
        throw(encoding, small).await;
        throw(encoding, &bomb).await;
    }
    let grown = memory(&hub).await - before;
    assert!(grown < 64.0 * MIB as f64, "it grew by {grown} bytes");
    assert_eq!(client.submit("demo.echo", &json!({}), None).await.unwrap().status, 202);
}
