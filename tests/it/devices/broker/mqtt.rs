use serde_json::json;

use super::ground::Ground;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_subscribes_to_its_own_topic_and_gets_what_was_sent_while_it_was_away() {
    let ground = Ground::lay("").await;
    for (n, version) in ["3", "5"].into_iter().enumerate() {
        let id = format!("meter-{n}");
        let registered = ground.register(&id, "mqtt").await;
        let token = registered["token"].as_str().unwrap();
        let (name, topic) = (format!("acme/{id}"), registered["broker"]["topic"].as_str().unwrap().to_owned());
        let env = [("VERSION", version)];
        let before = ground.send(&id, 1).await;

        let mut device = ground.mqtt(&name, &name, token, &env);
        assert!(device.connects());
        let answer = device.does(json!(["subscribe", topic, 1]));
        assert_eq!(answer["well"], true, "{answer}");
        let first = device.message();
        assert_eq!((&first["data"], &first["topic"], &first["qos"]), (&json!("1"), &json!(topic), &json!(1)));
        assert_eq!(ground.handed(&before).await["inferred"], true);

        drop(device);
        for number in 2..=4 {
            let sent = ground.send(&id, number).await;
            ground.handed(&sent).await;
        }
        let mut device = ground.mqtt(&name, &name, token, &env);
        assert!(device.connects());
        let got: Vec<_> = (0..3).map(|_| device.message()["data"].as_str().unwrap().to_owned()).collect();
        assert_eq!(got, ["2", "3", "4"], "in order, without subscribing again");
    }
}
