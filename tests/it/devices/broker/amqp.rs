use reqwest::Method;
use serde_json::json;
use warren_tests::wait::until_true;

use super::ground::Ground;
use crate::world::LONG;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_consumes_its_own_queue_and_nothing_else_of_the_broker_is_open_to_it() {
    let ground = Ground::lay().await;
    let (phone, other) = (ground.register("phone-1", "amqp").await, ground.register("phone-2", "amqp").await);
    let text = |of: &serde_json::Value, name: &str| of[name].as_str().unwrap().to_owned();
    let (token, queue, others) = (text(&phone, "token"), text(&phone["broker"], "queue"), text(&other["broker"], "queue"));
    assert_eq!(phone["broker"]["username"], "acme/phone-1");

    // What is sent while it was never there.
    let ids = [ground.send("phone-1", 1).await, ground.send("phone-1", 2).await];
    let kept = ground.send("phone-2", 1).await;
    let fate = ground.handed(&ids[1]).await;
    assert_eq!((&fate["inferred"], fate.get("reason")), (&json!(true), None), "{fate}");
    ground.handed(&kept).await;

    let mut device = ground.amqp("acme/phone-1", &token);
    assert!(device.connects());
    assert_eq!(device.does(json!(["take", queue, 2, 10]))["answer"], 2);
    let messages = [device.message(), device.message()];
    let data: Vec<_> = messages.iter().map(|message| message["data"].as_str().unwrap()).collect();
    assert_eq!(data, ["1", "2"]);
    assert_eq!((&messages[0]["id"], &messages[0]["mode"]), (&json!(ids[0]), &json!(2)), "{messages:?}");
    assert!(messages[0]["expiration"].as_str().unwrap().parse::<u64>().unwrap() > 27 * 86_400_000, "{messages:?}");

    let jobs = "jobs.demo.echo";
    let nothing = json!({});
    let attacks = [
        json!(["get", others]),
        json!(["take", others, 1, 1]),
        json!(["get", jobs]),
        json!(["purge", others]),
        json!(["delete", others]),
        json!(["delete", queue]),
        json!(["declare", others]),
        json!(["declare", "device.standard.*"]),
        json!(["declare", "mine"]),
        json!(["exchange", "mine"]),
        json!(["bind", queue, "warren.devices", "device.2"]),
        json!(["bind", queue, "warren.events", "#"]),
        json!(["bind", others, "warren.devices", "device.1"]),
        json!(["unbind", queue, "warren.devices", "device.1"]),
        json!(["publish", "", others, nothing]),
        json!(["publish", "", queue, nothing]),
        json!(["publish", "warren.devices", "device.2", nothing]),
        json!(["publish", "", "nowhere", {"CC": [others], "BCC": [jobs]}]),
        json!(["publish", "amq.topic", "device.2", {"BCC": [others]}]),
        json!(["publish", "warren.broadcast", "", nothing]),
    ];
    for attack in attacks {
        assert_eq!(device.refused(attack.clone()), Some(403), "{attack}");
    }
    // Older brokers tell anybody.
    let peeks = [json!(["passive", others]), json!(["passive", jobs])];
    for peek in peeks {
        let refused = device.refused(peek.clone());
        assert_eq!(refused, (!ground.is_old).then_some(403), "{peek}");
    }
    assert_eq!(ground.world.vhost.queue_depth(&others).await, Some(1), "nothing was taken or added");
    assert_eq!(ground.world.vhost.queue_depth(&queue).await, Some(0));

    // Who is not this device, and what is no name.
    let token_2 = text(&other, "token");
    for (user, token) in [
        ("acme/phone-1", token_2.as_str()),
        ("acme/phone-1", ""),
        ("acme/phone-1", "guess"),
        ("other/phone-1", &token),
        ("phone-1", &token),
        ("acme/*", &token),
        ("acme/Phone-1", &token),
        ("acme/phone.1", &token),
        ("acme/#", &token),
    ] {
        assert!(!ground.amqp(user, token).connects(), "{user}");
    }
    let hubs = ground.register("laptop", "hub").await;
    assert!(!ground.amqp("acme/laptop", hubs["token"].as_str().unwrap()).connects(), "the hub has its messages");
    assert!(ground.answered("user", "token").await > 0 && ground.answered("user", "name").await > 0);
    assert!(ground.answered("resource", "resource").await >= 18);

    // What is in its queue is on disk.
    let late = ground.send("phone-1", 3).await;
    ground.handed(&late).await;
    drop(device);
    ground.broker.kill9();
    ground.broker.start_again().await;
    ground.point().await;
    let mut device = ground.amqp("acme/phone-1", &token);
    assert!(device.connects());
    device.does(json!(["take", queue, 1, 10]));
    assert_eq!(device.message()["data"], "3");
    let more = ground.send("phone-1", 4).await;
    device.does(json!(["take", queue, 1, 20]));
    let message = device.message();
    assert_eq!((&message["data"], &message["id"]), (&json!("4"), &json!(more)), "{message}");

    // Who is removed is put out, and its queue goes.
    let removed = ground.owner.send(ground.owner.request(Method::DELETE, "/v1/devices/phone-1")).await.unwrap();
    assert_eq!(removed.status, 204);
    assert_eq!(device.refused(json!(["wait", 20])), Some(320), "its connection is closed");
    assert!(!ground.amqp("acme/phone-1", &token).connects());
    until_true(LONG, "the queue to go", async || ground.world.vhost.queue_depth(&queue).await.is_none()).await;
    until_true(LONG, "the hub to be well", async || ground.owner.get("/health").await.is_ok_and(|health| health.status == 200))
        .await;
}
