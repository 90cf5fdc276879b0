//! One message after the other to one device.

use messaging::devices::{Lane, Sent};
use messaging::publisher::PublishError;

use super::*;

#[tokio::test]
async fn what_is_queued_is_there_in_order_and_a_device_without_a_queue_is_cold() {
    let stage = Stage::set().await;
    let device = standard(3);
    let cold = stage.lanes.line(device);
    let sent = cold.publish((1..=3).map(message).collect()).await;
    assert_eq!(sent, [Sent::Cold, Sent::Held, Sent::Held]);
    stage.lanes.ensure(Lane::of(device)).await.unwrap();
    assert_eq!(cold.publish(vec![message(4)]).await, [Sent::Held], "until somebody decides how to go on");
    let line = stage.lanes.line(device);
    let (one, two) = tokio::join!(line.publish((1..=20).map(message).collect()), line.publish((21..=40).map(message).collect()));
    assert!(one.iter().chain(&two).all(|sent| *sent == Sent::Queued));
    let mut session = stage.lanes.attach(device, 100).await.unwrap();
    for seq in 1..=40 {
        let got = delivered(&mut session).await;
        assert_eq!((got.seq, got.after, got.redelivered), (Some(seq), (seq > 1).then_some(seq - 1), false));
        assert_eq!((got.message.id.as_str(), got.message.tenant.as_str()), (format!("m-{seq}").as_str(), "acme"));
        assert_eq!(&got.message.body[..], b"{\"hello\": \"device\"}");
    }
    assert_eq!(stage.count("warren_device_publishes_total", "queued"), 40);
    assert_eq!(stage.count("warren_device_publishes_total", "cold"), 1);
    assert_eq!(stage.count("warren_device_publishes_total", "held"), 3);
}

#[tokio::test]
async fn what_amqp_cannot_carry_holds_its_own_device_only() {
    let stage = Stage::set().await;
    let (one, two) = (stage.declared(1).await, stage.declared(2).await);
    let line = stage.lanes.line(one);
    let sent = line.publish(vec![message(1), named(&"x".repeat(256), 2), message(3)]).await;
    assert_eq!(sent[0], Sent::Queued);
    assert!(matches!(sent[1], Sent::Failed(PublishError::Unsendable(_))), "{sent:?}");
    assert_eq!(sent[2], Sent::Held);
    stage.fill(two, 2).await;
}
