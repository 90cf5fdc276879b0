//! A device that follows the rules of ADR 43: by rows first, then by its queue, and back to the rows when one is missing.

use std::time::Duration;

use broker_topology::Device;
use database::clock;
use messaging::devices::{Attachment, Delivery, Event, LaneError, Lanes};
use mobile_delivery::lane::{lane_of, queue_of};
use mobile_delivery::store::{Ack, Claim, Claimed, Limit, MAIN, Number, Outcome, Stores, Temperature, Tier, Transport, Which};
use tokio::time::timeout;
use uuid::Uuid;

use super::SOON;
use super::ground::{Ground, Process, again};

const WINDOW: u16 = 32;

pub(super) struct Phone {
    stores: Stores,
    lanes: Lanes,
    pub(super) number: Number,
    id: String,
    fence: i64,
    attachment: Option<Attachment>,
    cursor: i64,
    /// What it got, in order, once each.
    pub(super) got: Vec<i64>,
    /// What came by its queue: seq, and the one before.
    pub(super) carried: Vec<Delivery>,
    /// How often it looked into the store.
    pub(super) reads: usize,
}

impl Phone {
    /// Connects by way of `process`; it has got everything up to `cursor` before.
    pub(super) async fn connect(ground: &Ground, process: &Process, id: &str, cursor: i64) -> Self {
        let number = ground.device(id).await;
        let claim = Claim { device: number, process: process.me, session: Uuid::now_v7(), transport: Transport::Socket };
        let claimed = again(|| ground.stores.sessions.claim(std::slice::from_ref(&claim), clock::now())).await.remove(0);
        let Claimed::Yours { fence, temperature, .. } = claimed else { panic!("{id} is not let in: {claimed:?}") };
        let mut phone = Self {
            stores: ground.stores.clone(),
            lanes: process.lanes.clone(),
            number,
            id: id.to_owned(),
            fence,
            attachment: None,
            cursor,
            got: Vec::new(),
            carried: Vec::new(),
            reads: 0,
        };
        if temperature != Temperature::Hot {
            phone.declare().await;
        }
        phone.attach().await;
        phone.read().await;
        phone
    }

    fn queue(&self) -> Device {
        queue_of(self.number, Tier::Standard)
    }

    async fn declare(&self) {
        let device = again(|| self.stores.devices.get("acme", &self.id)).await.unwrap();
        // Whoever cools in another process may take the queue away between its declare and its bindings: a session comes back as well.
        while let Err(error) = self.lanes.ensure(lane_of(&device)).await {
            assert!(matches!(error, LaneError::Refused { code: 404, .. }), "{}: {error}", self.id);
        }
        again(|| self.stores.lanes.warm(self.number, MAIN, None, clock::now())).await.unwrap();
    }

    async fn attach(&mut self) {
        self.attachment = None;
        loop {
            match self.lanes.attach(self.queue(), WINDOW).await {
                Ok(attachment) => break self.attachment = Some(attachment),
                Err(LaneError::Gone { .. } | LaneError::Away { .. }) => self.declare().await,
                Err(error) => panic!("{}: {error}", self.id),
            }
        }
    }

    fn give(&mut self, seq: i64) {
        assert!(seq > self.cursor, "{}: {seq} after {}", self.id, self.cursor);
        self.cursor = seq;
        self.got.push(seq);
    }

    /// Reads what it has not got yet, and says that it has.
    async fn read(&mut self) {
        self.reads += 1;
        loop {
            let limit = Limit { messages: 100, bytes: 1 << 20 };
            let page = again(|| self.stores.sessions.pending(self.number, self.cursor, limit, clock::now())).await;
            page.messages.iter().for_each(|given| self.give(given.seq));
            if !page.more {
                break;
            }
        }
        self.settle().await;
    }

    async fn settle(&self) {
        let which = Which::UpTo { seq: self.cursor, given: self.cursor };
        let ack = Ack { device: self.number, fence: self.fence, which, outcome: Outcome::Delivered };
        again(|| self.stores.sessions.settle(std::slice::from_ref(&ack), clock::now())).await;
    }

    /// Goes on until it has got `seq`, by what its queue brings.
    pub(super) async fn until(&mut self, seq: i64) {
        let going = async {
            while self.cursor < seq {
                self.next().await;
            }
        };
        if timeout(SOON, going).await.is_err() {
            panic!("{} waits for {seq} and has {:?}", self.id, self.got);
        }
    }

    /// Goes on for a moment, whatever comes.
    pub(super) async fn linger(&mut self, moment: Duration) {
        let _ = timeout(moment, async {
            loop {
                self.next().await;
            }
        })
        .await;
    }

    async fn next(&mut self) {
        match self.attachment.as_mut().unwrap().next().await {
            Some(Event::Delivery(delivery)) => {
                let (tag, seq, after) = (delivery.tag, delivery.seq.unwrap(), delivery.after.unwrap_or(0));
                self.carried.push(delivery);
                if seq > self.cursor && after <= self.cursor {
                    self.give(seq);
                    self.settle().await;
                } else if seq > self.cursor {
                    self.read().await;
                }
                self.attachment.as_mut().unwrap().ack(&[tag]).await;
            }
            Some(Event::Reattached) => self.read().await,
            Some(Event::Gone(_)) => {
                self.declare().await;
                self.attach().await;
                self.read().await;
            }
            None => panic!("{}: its process drains", self.id),
        }
    }

    /// Leaves, with all acked that it has got; its queue is free when this returns.
    pub(super) async fn leave(mut self) -> (Vec<i64>, i64) {
        // A moment to linger may have ended between the two.
        self.settle().await;
        if let Some(attachment) = self.attachment.take() {
            attachment.detach().await;
        }
        let ending = [(self.number, self.fence)];
        again(|| self.stores.sessions.release(&ending, clock::now())).await;
        (self.got, self.cursor)
    }
}

/// A device that has a queue and nobody connected.
pub(super) async fn hot(ground: &Ground, process: &Process, id: &str) -> Number {
    let phone = Phone::connect(ground, process, id, 0).await;
    let number = phone.number;
    phone.leave().await;
    number
}
