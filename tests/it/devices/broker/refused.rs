use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use warren_tests::wait::until_true;

use super::ground::Ground;
use crate::world::LONG;

#[tokio::test(flavor = "multi_thread")]
async fn no_device_is_let_into_a_broker_that_is_too_old() {
    let ground = Ground::lay_on(false, None).await;
    let phone = ground.register("phone-1", "amqp").await;
    let mut device = ground.amqp("acme/phone-1", phone["token"].as_str().unwrap());
    assert_eq!(device.connects(), !ground.is_old);
    assert_eq!(ground.answered("user", "broker").await > 0, ground.is_old);

    // The hub has nothing for it, and its way stays.
    let own = warren_tests::hub::HubClient::new(ground.hub.public_url(), Some(phone["token"].as_str().unwrap().to_owned()));
    let polled = own.get("/v1/device/messages?wait=0").await.unwrap();
    assert_eq!((polled.status, polled.code()), (409, Some("via-differs")), "{}", polled.body);
    for (body, status, code) in [
        (json!({"user": "olga"}), 409, "via-differs"),
        (json!({"user": "olga", "via": "mqtt"}), 409, "via-differs"),
        (json!({"user": "olga", "via": "AMQP"}), 400, "invalid-device"),
    ] {
        let again = ground.owner.request(Method::PUT, "/v1/devices/phone-1").json(&body);
        let refused = ground.owner.send(again).await.unwrap();
        assert_eq!((refused.status, refused.code()), (status, Some(code)), "{}", refused.body);
    }

    // What nobody but a broker asks, asked in ways that no broker has: refused, and nothing falls over.
    let asks = [
        ("user", ""),
        ("user", "username=acme%2Fphone-1"),
        ("user", "username=acme%2Fphone-1&username=acme%2Fphone-2&password=x"),
        ("vhost", "username=acme%2Fphone-1"),
        ("vhost", "username=acme%2Fphone-9&vhost=t%2F1"),
        ("resource", "username=acme%2Fphone-1&vhost=t%2F1&resource=queue&name=%00%0A&permission=read"),
        ("topic", "username=%FF%FE&vhost=t%2F1&name=amq.topic&permission=read&routing_key=%23"),
    ];
    let client = reqwest::Client::new();
    for (path, body) in
        asks.map(|(path, body)| (path, body.to_owned())).into_iter().chain([("user", "x=".to_owned() + &"y".repeat(1 << 20))])
    {
        let asked = client.post(format!("{}/auth/{path}", ground.hub.internal_url())).body(body.clone()).send().await.unwrap();
        let short: String = body.chars().take(80).collect();
        assert_eq!((asked.status().as_u16(), asked.text().await.unwrap().as_str()), (200, "deny"), "{path} {short}");
    }
    let public = client.post(format!("{}/auth/user", ground.hub.public_url())).body("username=x").send().await.unwrap();
    assert_eq!(public.status().as_u16(), 404, "devices cannot ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_out_for_good_once_what_the_broker_remembers_is_over() {
    const TTL: Duration = Duration::from_secs(5);
    let ground = Ground::lay_on(true, Some(TTL)).await;
    let phone = ground.register("phone-1", "amqp").await;
    let (token, queue) = (phone["token"].as_str().unwrap(), phone["broker"]["queue"].as_str().unwrap());
    let mut device = ground.amqp("acme/phone-1", token);
    assert!(device.connects());
    let sent = ground.send("phone-1", 1).await;
    device.does(json!(["take", queue, 1, 20]));
    assert_eq!(device.message()["data"], "1");
    ground.handed(&sent).await;

    let revoked = Instant::now();
    let asked = ground.owner.request(Method::POST, "/v1/devices/phone-1/revoke");
    assert_eq!(ground.owner.send(asked).await.unwrap().status, 200);
    assert_eq!(device.refused(json!(["wait", 20])), Some(320), "its connection is closed");
    // The broker goes by what it was told before. Who is let in by that is put out by the next look.
    let mut late = ground.amqp("acme/phone-1", token);
    let let_in = tokio::task::block_in_place(|| late.connects());
    until_true(LONG, "it to be refused", async || {
        let mut client = ground.amqp("acme/phone-1", token);
        tokio::task::block_in_place(|| !client.connects())
    })
    .await;
    let took = revoked.elapsed();
    assert!(took < TTL + Duration::from_secs(10), "{took:?}");
    if let_in {
        assert_eq!(late.refused(json!(["wait", 30])), Some(320), "so is that connection");
    }
    for _ in 0..3 {
        assert!(!ground.amqp("acme/phone-1", token).connects());
    }
    assert!(ground.answered("user", "revoked").await > 0);
}
