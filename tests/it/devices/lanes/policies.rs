//! Whether the policies of a broker bound the queues of devices.

use broker_topology::{LivePolicy, unfit_policies};
use serde_json::json;
use warren_tests::broker::Broker;

use super::*;

/// The policies of the virtual host, and its operator policies.
async fn seen(stage: &Stage) -> (Vec<LivePolicy>, Vec<LivePolicy>) {
    let management = Broker::shared().await.management();
    let vhost = stage.vhost.name().replace('/', "%2F");
    let read = async |sort: &str| serde_json::from_value(management.get(&format!("/api/{sort}/{vhost}")).await).unwrap();
    (read("policies").await, read("operator-policies").await)
}

#[tokio::test]
async fn what_the_broker_says_of_its_policies_is_what_holds_for_a_device() {
    let stage = Stage::set().await;
    let codes = async || {
        let (policies, operators) = seen(&stage).await;
        unfit_policies(&stage.names, &policies, &operators).into_iter().map(|found| found.code).collect::<Vec<_>>()
    };
    assert_eq!(codes().await, [""; 0]);
    // One that goes before and says less: each tier is told of, and the broker agrees.
    let device = stage.declared(1).await;
    let higher = json!({"pattern": r"^device\.", "apply-to": "queues", "priority": 50, "definition": {"expires": 86_400_000}});
    let vhost = stage.vhost.name().replace('/', "%2F");
    let management = Broker::shared().await.management();
    management.call("PUT", &format!("/api/policies/{vhost}/loud"), Some(higher)).await;
    assert_eq!(codes().await, ["device-policy-wrong"; 2]);
    warren_tests::wait::until_true(SOON, "the broker to heed it", async || {
        stage.effective(device).await == json!({"expires": 86_400_000})
    })
    .await;
    for policy in ["loud", "warren.devices.lite"] {
        management.call("DELETE", &format!("/api/policies/{vhost}/{policy}"), None).await;
    }
    assert_eq!(codes().await, ["device-policy-missing"]);
}

#[tokio::test]
async fn what_goes_over_a_limit_is_dropped_from_the_head_and_kept_where_it_is_told() {
    let stage = Stage::set().await;
    let definition = json!({"max-length": 3, "max-length-bytes": 1_000_000, "message-ttl": 86_400_000, "overflow": "drop-head",
        "dead-letter-exchange": "warren.devices.dead"});
    let tuned = json!({"pattern": r"^device\.standard\.[0-9]+$", "apply-to": "queues", "priority": 10, "definition": definition});
    let path = format!("/api/policies/{}/warren.devices.standard", stage.vhost.name().replace('/', "%2F"));
    Broker::shared().await.management().call("PUT", &path, Some(tuned)).await;
    let device = stage.declared(9).await;
    stage.fill(device, 5).await;
    let mut session = stage.lanes.attach(device, 10).await.unwrap();
    assert_eq!(seqs(&mut session, 3).await, [3, 4, 5]);
    let dropped = "warren.devices.dropped";
    warren_tests::wait::until_true(SOON, "the dropped ones", async || stage.vhost.queue_depth(dropped).await == Some(2)).await;
    let told = stage.vhost.get_messages(dropped, 2).await;
    assert_eq!(told.iter().map(|message| message.message_id().unwrap()).collect::<Vec<_>>(), ["m-1", "m-2"]);
    assert_eq!(Names::device_of_key(&told[0].routing_key), Some(9));
}
