//! A service that works on both queues of a kind: what goes first, and that the rest is never left out.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use broker_topology::{Kind, Names, Priority};
use messaging::connection::BrokerOptions;
use messaging::handler::{Context, Handler, Outcome};
use messaging::message::{Message, Route, Run};
use messaging::service::{Service, ServiceError, WorkSpec};
use messaging::wire::Outbound;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warren_tests::wait::until_true;

use super::{LONG, Stage};

const NORMAL: &str = "jobs.test.rush";
const HIGH: &str = "jobs.test.rush.high";

/// Notes who starts, and goes on when it is let through.
#[derive(Clone)]
struct Gate {
    started: Arc<Mutex<Vec<String>>>,
    pass: Arc<Semaphore>,
}

#[async_trait]
impl Handler<Message> for Gate {
    async fn handle(&self, cx: &Context, _: Message) -> Outcome {
        self.started.lock().unwrap().push(cx.id.clone());
        self.pass.acquire().await.unwrap().forget();
        Outcome::done()
    }
}

struct Rush {
    stage: Stage,
    gate: Gate,
    drain: CancellationToken,
    service: JoinHandle<Result<(), ServiceError>>,
}

impl Rush {
    /// With `normal` normal and `high` high jobs on the broker before the service starts, and all it may prefetch in its hands.
    async fn begin(spec: WorkSpec, normal: usize, high: usize) -> Self {
        let stage = Stage::set().await;
        let (kind, names) = (Kind::parse("test.rush").unwrap(), Names::default());
        let owned = broker_topology::work_queue(&names, &kind, "rush").and(broker_topology::high_queue(&names, &kind, "rush"));
        let all = broker_topology::core(&names).and(owned);
        messaging::apply::apply(&stage.link, &all, messaging::apply::Mode::Declare).await.unwrap();
        let gate = Gate { started: Arc::default(), pass: Arc::new(Semaphore::new(0)) };
        let broker = BrokerOptions::new(stage.vhost.url(), "rush");
        let service = Service::new("rush", broker, stage.pool.clone(), names).job(&kind, gate.clone(), spec);
        let drain = CancellationToken::new();
        let this = |service| Self { stage, gate, drain: drain.clone(), service };
        let service = TaskTracker::new().spawn(service.run(drain.clone()));
        let rush = this(service);
        until_true(LONG, "both queues to be consumed", async || {
            rush.stage.vhost.consumers(NORMAL).await == Some(1) && rush.stage.vhost.consumers(HIGH).await == Some(1)
        })
        .await;
        rush.publish(Priority::Normal, normal).await;
        rush.publish(Priority::High, high).await;
        rush
    }

    async fn publish(&self, priority: Priority, count: usize) {
        let kind = Kind::parse("test.rush").unwrap();
        let jobs = (0..count).map(|_| {
            let message = Message {
                id: format!("{priority}-{}", uuid::Uuid::now_v7()),
                kind: kind.to_string(),
                source: "/warren/test".to_owned(),
                time: jiff::Timestamp::now(),
                content_type: "application/json".to_owned(),
                traceparent: None,
                run: Some(Run { epoch: 1, attempt: 1 }),
                tenant: String::new(),
                headers: Default::default(),
                body: bytes::Bytes::from_static(b"{}"),
            };
            Outbound::new(Route::new("warren.jobs", priority.key(&kind)), &message).unwrap()
        });
        for published in self.stage.publisher.publish_all(jobs.collect()).await {
            published.unwrap();
        }
    }

    /// Starts so far: (normal, high).
    fn starts(&self) -> (usize, usize) {
        let started = self.gate.started.lock().unwrap();
        let high = started.iter().filter(|id| id.starts_with("high")).count();
        (started.len() - high, high)
    }

    async fn end(self) {
        self.gate.pass.add_permits(1_000_000);
        self.drain.cancel();
        self.service.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_high_job_overtakes_thousands_of_normal_ones() {
    let spec = WorkSpec { prefetch: 25, concurrency: 1, priority: true, ..WorkSpec::default() };
    let rush = Rush::begin(spec, 3000, 0).await;
    until_true(LONG, "one to run and the prefetch to be used", async || {
        rush.starts() == (1, 0) && rush.stage.vhost.queue_depth(NORMAL).await == Some(3000 - 5)
    })
    .await;
    rush.publish(Priority::High, 1).await;
    // Ready no more: it is with the service, or on its way.
    until_true(LONG, "it to be delivered", async || rush.stage.vhost.queue_depth(HIGH).await == Some(0)).await;
    let mut passed = 0;
    while rush.starts().1 == 0 {
        assert!(passed < 5, "{passed} normal jobs started while a high one waited");
        passed += 1;
        rush.gate.pass.add_permits(1);
        until_true(LONG, "the next start", async || {
            let (normal, high) = rush.starts();
            normal + high > passed
        })
        .await;
    }
    rush.end().await;
}

#[tokio::test]
async fn one_limit_holds_for_both_queues_and_either_may_use_all_of_it() {
    let spec = WorkSpec { prefetch: 8, concurrency: 4, priority: true, ..WorkSpec::default() };
    for (normal, high) in [(20, 0), (0, 20), (20, 20)] {
        let rush = Rush::begin(spec, normal, high).await;
        until_true(LONG, "every slot to be used", async || {
            let (normal, high) = rush.starts();
            normal + high == 4
        })
        .await;
        let held = async |queue, of: usize| of - rush.stage.vhost.queue_depth(queue).await.unwrap() as usize;
        until_true(LONG, "the prefetch to be used", async || {
            (held(NORMAL, normal).await, held(HIGH, high).await) == (normal.min(4), high.min(4))
        })
        .await;
        let (normal, high) = rush.starts();
        assert_eq!(normal + high, 4, "no slot is made for the other queue");
        rush.end().await;
    }
}

#[tokio::test]
async fn a_flood_of_high_jobs_does_not_keep_normal_ones_from_their_fifth() {
    const NORMALS: usize = 60;
    let spec = WorkSpec { prefetch: 64, concurrency: 4, priority: true, ..WorkSpec::default() };
    let rush = Rush::begin(spec, NORMALS, 400).await;
    until_true(LONG, "both prefetches to be used", async || {
        let ready = (rush.stage.vhost.queue_depth(NORMAL).await, rush.stage.vhost.queue_depth(HIGH).await);
        ready == (Some(NORMALS as u32 - 12), Some(400 - 48))
    })
    .await;
    rush.gate.pass.add_permits(1_000_000);
    let flood = std::cell::Cell::new(400);
    until_true(LONG, "every normal job to start", async || {
        // The flood never ends: whenever it runs low there is more.
        if flood.get() - rush.starts().1 < 300 {
            rush.publish(Priority::High, 300).await;
            flood.set(flood.get() + 300);
        }
        rush.starts().0 == NORMALS
    })
    .await;
    assert!(rush.starts().1 < flood.get(), "the flood ended before it could be seen");
    let started = rush.gate.started.lock().unwrap().clone();
    let last = started.iter().rposition(|id| id.starts_with("normal")).unwrap();
    let high = started[..last].iter().filter(|id| id.starts_with("high")).count();
    // The guard counts what waits in the process; while the broker brings more of one class the other may run on.
    assert!((2 * NORMALS..6 * NORMALS).contains(&high), "{NORMALS} normal and {high} high jobs were started");
    rush.end().await;
}
