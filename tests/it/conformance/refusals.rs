use serde_json::json;
use warren_tests::broker::Broker;
use warren_tests::hub::{HubOptions, HubProcess};
use warren_tests::ports::free_port;
use warren_tests::process::folder;

use super::run;
use crate::world::settled;

fn nothing() -> Vec<String> {
    vec!["true".to_owned()]
}

/// The kit never plays with what may be real.
#[tokio::test]
async fn it_refuses_to_play_where_a_hub_is_and_plays_beside_it() {
    let (vhost, folder) = (Broker::shared().await.vhost().await, folder("refused"));
    let hub = HubProcess::start(&HubOptions { broker_url: vhost.url(), ..HubOptions::default() }).await;
    settled(&hub).await;
    let url = vhost.url();
    let ran = run(folder.path(), &["amqp", "reports.build", "--amqp-url", &url], &nothing()).await;
    assert_eq!(ran.code, Some(2), "{ran}");
    assert!(ran.stderr.contains("somebody consumes `warren.results`") && ran.stderr.contains("--prefix"), "{ran}");
    let beside = ["amqp", "reports.build", "--amqp-url", &url, "--prefix", "kit.", "--case", "slow"];
    let ran = run(folder.path(), &beside, &nothing()).await;
    assert_eq!(ran.code, Some(3), "{ran}");
}

#[tokio::test]
async fn messages_that_wait_are_left_alone() {
    let (vhost, folder) = (Broker::shared().await.vhost().await, folder("refused"));
    let url = vhost.url();
    let arguments = ["amqp", "reports.build", "--amqp-url", &url, "--case", "slow"];
    assert_eq!(run(folder.path(), &arguments, &nothing()).await.code, Some(3), "it declares what it needs");
    for queue in ["jobs.reports.build", "warren.results", "jobs.reports.build.dead"] {
        assert!(vhost.publish("", queue, json!({"delivery_mode": 2}), b"real").await);
        let ran = run(folder.path(), &arguments, &nothing()).await;
        assert_eq!(ran.code, Some(2), "{ran}");
        assert!(ran.stderr.contains(&format!("1 messages wait in `{queue}`")), "{ran}");
        assert_eq!(vhost.queue_depth(queue).await, Some(1));
        vhost.purge(queue).await;
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_told_in_one_sentence() {
    let folder = folder("refused");
    std::fs::write(folder.path().join("broken.json"), "{").unwrap();
    let away = format!("amqp://127.0.0.1:{}", free_port());
    let nowhere = format!("http://127.0.0.1:{}/", free_port());
    let cases: [(&[&str], &str); 6] = [
        (&["amqp", "reports.build", "--amqp-url", &away], "start the broker"),
        (&["amqp", "reports.build", "--payload", "broken.json"], "it is no JSON"),
        (&["amqp", "reports.build", "--payload", "quick=broken.json"], "there is no payload `quick`"),
        (&["amqp", "Reports"], "is not a kind"),
        (&["http", &nowhere], "nobody listens"),
        (&["http", &nowhere, "--case", "progress"], "there is no case `progress` here"),
    ];
    for (arguments, why) in cases {
        let ran = run(folder.path(), arguments, &[]).await;
        assert_eq!(ran.code, Some(2), "{ran}");
        assert!(ran.stderr.contains(why), "{why}: {ran}");
    }
}
