//! On a real store.

use broker_topology::Kind;
use uuid::Uuid;

use super::*;
use crate::kinds::Worker;
use database::clock;
use database::sqlite::Sqlite;

use crate::store::{Job, NewJob, Payload, STEPS, SqliteStore, Status};

const K: &str = "k";
const NORMAL: Priority = Priority::Normal;

struct Ground {
    store: Arc<SqliteStore>,
    destinations: Arc<Destinations>,
    windows: Windows,
    kinds: Kinds,
    _folder: tempfile::TempDir,
}

fn spec(window: u32, priority: Option<Priority>) -> KindSpec {
    KindSpec { window, priority, ..KindSpec::new(Kind::parse(K).unwrap(), Worker::Http) }
}

impl Ground {
    async fn new(window: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = Sqlite::open(&folder.path().join("warren.db"), &[STEPS], true).await.unwrap();
        let store = Arc::new(SqliteStore::on(Arc::new(file)).await.unwrap());
        let kinds = Kinds::new([spec(window, Some(NORMAL))]);
        let destinations = Destinations::open(store.clone(), [(K.to_owned(), "d".to_owned())]).await.unwrap();
        let pauses = Pauses::load(store.clone()).await.unwrap();
        let windows = Windows::new(kinds.clone(), destinations.clone(), pauses);
        Self { store, destinations, windows, kinds, _folder: folder }
    }

    async fn count(&self, sharers: u32, held: usize) -> bool {
        self.windows.count(&*self.store, sharers, |_, _| held).await
    }

    /// Counts as soon as it may.
    async fn count_soon(&self) -> bool {
        tokio::time::sleep_until(self.windows.next_count().unwrap()).await;
        self.count(1, 0).await
    }

    /// Stores a job that is published, and not ended.
    async fn publish(&self, priority: Priority) {
        let status = Status::accepted(clock::now(), i64::MAX);
        let job = Job { id: Uuid::now_v7(), kind: K.into(), tenant: "a".into(), version: 1, priority, status };
        let payload =
            Payload { subject: String::new(), content_type: String::new(), body: Default::default(), traceparent: None };
        let id = job.id;
        self.store.insert(&[NewJob { job, payload, key: None, tags: Default::default(), callback: None }]).await.unwrap();
        self.store.mark_published(&[(id, 1)], clock::now()).await.unwrap();
    }

    fn taken(&self, class: Priority) -> usize {
        std::iter::repeat_with(|| self.windows.take(K, class)).take_while(|taken| *taken).count()
    }
}

#[tokio::test]
async fn no_more_comes_in_than_the_window_leaves() {
    let ground = Ground::new(8).await;
    assert_eq!(ground.taken(NORMAL), 0, "nothing before the first count");
    for priority in [NORMAL, NORMAL, NORMAL, Priority::High] {
        ground.publish(priority).await;
    }
    // Two processes; one row is here already, and on its way.
    ground.count(2, 1).await;
    assert_eq!((ground.taken(NORMAL), ground.taken(Priority::High)), (2, 0));
    assert_eq!(ground.windows.room(K, NORMAL), 0);
    ground.windows.put_back(K, NORMAL);
    assert_eq!(ground.taken(NORMAL), 1);
}

#[tokio::test]
async fn a_window_is_counted_again_when_half_of_it_is_used_and_when_somebody_waits() {
    let ground = Ground::new(8).await;
    ground.count(1, 0).await;
    assert!((0..3).all(|_| ground.windows.take(K, NORMAL)));
    assert!(ground.windows.next_count().is_none(), "there is enough");
    assert!(ground.windows.take(K, NORMAL));
    assert!(!ground.count_soon().await, "nobody waits");
    assert_eq!(ground.windows.room(K, NORMAL), 8, "none of them was published");

    for _ in 0..8 {
        ground.publish(NORMAL).await;
    }
    assert_eq!(ground.taken(NORMAL), 8);
    ground.count_soon().await;
    assert_eq!((ground.windows.room(K, NORMAL), ground.windows.next_count().is_some()), (0, false), "full, and nobody waits");
    ground.windows.want(K, NORMAL);
    assert!(!ground.count_soon().await);
    ground.kinds.replace([spec(9, Some(NORMAL))]);
    assert!(ground.count_soon().await, "there is room for who waits");
    assert_eq!((ground.taken(NORMAL), ground.windows.next_count().is_some()), (1, true));
}

#[tokio::test]
async fn a_kind_that_is_no_more_is_not_counted_for_ever() {
    let ground = Ground::new(8).await;
    ground.kinds.replace([]);
    ground.count(1, 0).await;
    ground.windows.want(K, NORMAL);
    assert!(ground.windows.next_count().is_some());
    assert!(!ground.count(1, 0).await);
    assert!(ground.windows.next_count().is_none());
}

#[tokio::test]
async fn what_may_be_tried_comes_in_one_by_one_and_what_came_before_goes_back() {
    let ground = Ground::new(100).await;
    ground.count(1, 0).await;
    assert!(ground.windows.closed().is_empty());
    assert!(ground.windows.take(K, NORMAL), "free");

    ground.destinations.hold("d", "failing", Duration::from_secs(60)).await;
    assert!(!ground.windows.take(K, NORMAL) && ground.windows.room(K, NORMAL) == 0);
    assert_eq!(ground.windows.closed(), [K.to_owned()].into());

    // Another process holds it for a moment only, and that has passed before it is seen here.
    let ground = Ground::new(100).await;
    ground.count(1, 0).await;
    assert!(ground.windows.take(K, NORMAL) && ground.windows.closed().is_empty());
    ground.destinations.hold("d", "failing", Duration::ZERO).await;
    assert_eq!(ground.windows.closed(), [K.to_owned()].into(), "what came while it was free");
    assert_eq!(ground.windows.room(K, NORMAL), 1);
    assert_eq!((ground.taken(NORMAL), ground.taken(Priority::High)), (1, 0), "both classes together");
    assert!(ground.windows.closed().is_empty(), "this one may go");
}
