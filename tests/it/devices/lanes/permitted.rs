//! Lanes under a user that may do no more than `docs/permissions.md` says.

use broker_topology::Names;
use messaging::devices::{Lane, Sent};

use super::*;
use crate::permissions::{Deed, Users};

#[tokio::test]
async fn a_process_that_serves_devices_needs_what_the_page_says_and_has_no_more() {
    for user in ["warren-devices", "warren-hub"] {
        let stage = Stage::set().await;
        let users = Users::create(&stage.vhost, "").await;
        let url = users.url("", user);
        let (lanes, _, stop) = lanes(&url, Names::default(), quick());
        let lane = Lane { keys: vec![Names::user_key("acme", "ann")], broadcast: true, ..Lane::of(standard(1)) };
        lanes.ensure(lane.clone()).await.unwrap();
        let line = lanes.line(lane.device);
        assert_eq!(line.publish(vec![message(1), message(2)]).await, [Sent::Queued, Sent::Queued]);
        let mut session = lanes.attach(lane.device, 10).await.unwrap();
        let first = delivered(&mut session).await;
        session.ack(&[first.tag]).await;
        assert_eq!(session.detach().await, 1);
        lanes.leave(&lane).await.unwrap();
        assert_eq!(lanes.retire(&lane).await.unwrap().drained, ["m-2"]);
        Deed::Get("warren.devices.dropped").is_allowed(&url).await;
        for deed in [Deed::Declare("jobs.mine"), Deed::Declare("warren.mine"), Deed::Delete("warren.devices.dropped")] {
            deed.is_refused(&url).await;
        }
        stop.cancel();
    }
}
