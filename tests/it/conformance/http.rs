use warren_tests::ports::free_port;
use warren_tests::process::folder;

use super::{Ran, junit, payloads, run, script};

const ALL: [&str; 9] =
    ["normal", "duplicate", "slow", "retry", "poison", "oversize", "late-result", "crash-and-restart", "drain"];

async fn whole(folder: &std::path::Path, service: &str) -> Ran {
    let (url, payloads) = (format!("http://127.0.0.1:{}/reports", free_port()), payloads());
    let mut arguments = vec!["http", &url, "--json", "--junit", "junit.xml", "--timeout", "15s", "--grace", "5s"];
    arguments.extend(payloads.iter().map(String::as_str));
    run(folder, &arguments, &["python3".to_owned(), script(service)]).await
}

#[tokio::test]
async fn a_service_that_keeps_what_it_did_passes() {
    let folder = folder("service");
    let ran = whole(folder.path(), "service.py").await;
    assert_eq!((ran.code, ran.cases("pass")), (Some(0), ALL.map(str::to_owned).to_vec()), "{ran}");
    assert_eq!(junit(&folder.path().join("junit.xml")), ALL);
}

#[tokio::test]
async fn a_sloppy_service_fails_what_it_should_and_nothing_else() {
    let folder = folder("service");
    let ran = whole(folder.path(), "sloppy_service.py").await;
    let failed = ["duplicate", "retry", "poison", "drain"];
    assert_eq!((ran.code, ran.cases("fail")), (Some(1), failed.map(str::to_owned).to_vec()), "{ran}");
    assert!(ran.reason("duplicate").contains("different bodies"), "{ran}");
    assert!(ran.reason("retry").contains("the second attempt was answered 500"), "{ran}");
    assert!(ran.reason("poison").contains("answer 4xx"), "{ran}");
    assert!(ran.reason("drain").contains("after SIGTERM"), "{ran}");
}
