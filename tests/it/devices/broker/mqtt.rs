use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::wait::until_true;

use super::ground::{Client, Ground};
use crate::world::LONG;

/// A device that is registered, and how it comes.
struct Meter {
    id: String,
    name: String,
    topic: String,
    token: String,
}

impl Meter {
    async fn new(ground: &Ground, id: &str) -> Self {
        let registered = ground.register(id, "mqtt").await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let broker = &registered["broker"];
        let (name, topic, token) = (text(&broker["username"]), text(&broker["topic"]), text(&registered["token"]));
        Self { id: id.to_owned(), name, topic, token }
    }

    fn comes(&self, ground: &Ground, version: &str, clean: bool) -> Client {
        let env = [("VERSION", version), ("CLEAN", if clean { "1" } else { "0" })];
        let mut client = ground.mqtt(&self.name, &self.name, &self.token, &env);
        assert!(client.connects(), "{}", self.id);
        client
    }

    fn subscribes(&self, client: &mut Client) {
        let answer = client.does(json!(["subscribe", self.topic, 1]));
        assert_eq!(answer["well"], true, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_gets_over_mqtt_what_was_sent_while_it_was_away_and_while_the_hub_was_killed() {
    let mut ground = Ground::lay().await;
    for version in ground.mqtt_versions() {
        let meter = Meter::new(&ground, &format!("meter-{version}")).await;
        let before = ground.send(&meter.id, 1).await;
        assert_eq!(ground.fate(&before).await["state"], "queued", "nobody has it before there is a session");

        let mut device = meter.comes(&ground, version, false);
        meter.subscribes(&mut device);
        let first = device.message();
        assert_eq!((&first["data"], &first["topic"], &first["qos"]), (&json!("1"), &json!(meter.topic), &json!(1)));
        assert_eq!(ground.handed(&before).await["inferred"], true);

        drop(device);
        for number in 2..=3 {
            let sent = ground.send(&meter.id, number).await;
            ground.handed(&sent).await;
        }
        ground.hub.kill9();
        ground.hub.start_again().await;
        let sent = ground.send(&meter.id, 4).await;
        ground.handed(&sent).await;
        let mut device = meter.comes(&ground, version, false);
        let got: Vec<_> = (0..3).map(|_| device.message()["data"].clone()).collect();
        assert_eq!(got, ["2", "3", "4"], "in order, without subscribing again");
        device.does(json!(["leave"]));

        // A session that ends with its connection has no queue while the device is away: messages wait in the store.
        drop(meter.comes(&ground, version, true));
        let missed = ground.send(&meter.id, 5).await;
        let mut device = meter.comes(&ground, version, true);
        meter.subscribes(&mut device);
        assert_eq!(device.message()["data"], "5");
        ground.handed(&missed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_devices_token_opens_its_own_topic_and_no_other_over_mqtt() {
    let ground = Ground::lay().await;
    let (meter, other) = (Meter::new(&ground, "meter-1").await, Meter::new(&ground, "meter-2").await);
    let version = ground.mqtt_versions()[0];
    let mut theirs = other.comes(&ground, version, false);
    other.subscribes(&mut theirs);

    let own = meter.topic.as_str();
    let attacks = [
        json!(["subscribe", other.topic, 1]),
        json!(["subscribe", "#", 1]),
        json!(["subscribe", "device/#", 1]),
        json!(["subscribe", "device/+", 1]),
        json!(["subscribe", "device/meter-2", 1]),
        json!(["subscribe", format!("{own}/#"), 1]),
        json!(["subscribe", own, 0]),
        json!(["publish", other.topic, 1]),
        json!(["publish", own, 1]),
        json!(["publish", "warren/devices", 1]),
    ];
    for attack in attacks {
        let mut client = meter.comes(&ground, version, true);
        let answer = client.does(attack.clone());
        assert_eq!(answer["well"], false, "{attack} {answer}");
    }
    let sent = ground.send("meter-2", 7).await;
    assert_eq!(theirs.message()["data"], "7", "nothing of an attack came before it");
    ground.handed(&sent).await;

    // Clients that are not what their token says.
    let vhost = format!("{}:acme/meter-1", ground.world.vhost.name());
    for (user, client, token) in [
        (meter.name.as_str(), "acme/meter-2", meter.token.as_str()),
        (&meter.name, "meter-1", &meter.token),
        (&meter.name, "#", &meter.token),
        (&meter.name, &meter.name, &other.token),
        (&other.name, &other.name, &meter.token),
        ("acme/METER-1", "acme/METER-1", &meter.token),
        ("acme/meter.1", "acme/meter.1", &meter.token),
        ("/:acme/meter-1", &meter.name, &meter.token),
    ] {
        assert!(!ground.mqtt(user, client, token, &[]).connects(), "{user} {client}");
    }
    assert!(ground.mqtt(&vhost, &meter.name, &meter.token, &[]).connects(), "MQTT may name the virtual host");
    let phone = ground.register("phone-1", "amqp").await;
    let token = phone["token"].as_str().unwrap();
    assert!(!ground.mqtt("acme/phone-1", "acme/phone-1", token, &[]).connects(), "it comes by another way");
    assert!(!ground.amqp(&meter.name, &meter.token).connects());

    // Who is revoked is put out, and not let in again.
    let mut there = meter.comes(&ground, version, true);
    let revoked = ground.owner.request(Method::POST, "/v1/devices/meter-1/revoke");
    assert_eq!(ground.owner.send(revoked).await.unwrap().status, 200);
    assert_eq!(there.does(json!(["wait", 20]))["well"], true, "its connection is closed");
    until_true(LONG, "it to be refused", async || {
        let mut client = ground.mqtt(&meter.name, &meter.name, &meter.token, &[]);
        tokio::task::block_in_place(|| !client.connects())
    })
    .await;
    assert!(ground.answered("user", "revoked").await > 0);
}
