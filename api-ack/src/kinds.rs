//! The kinds of job this hub accepts, and how each is treated.

mod existing;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use broker_topology::{Kind, Priority};
use messaging::retry::RetryPolicy;

use crate::schema::Schema;

pub use existing::{Completion, Existing, Format};

pub use door::media::{JSON, is_json};

/// How jobs of one kind are treated.
#[derive(Clone, Debug, PartialEq)]
pub struct KindSpec {
    /// Its name.
    pub kind: Kind,
    /// For people.
    pub description: String,
    /// Jobs published and not ended, over all processes; what is accepted beyond it waits in the store.
    pub window: u32,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// The same with what comes before it, such as the wait for a turn.
    pub attempt: Duration,
    /// How long after acceptance a job is given up.
    pub deadline: Duration,
    /// The class of a job that asks for none. `None`: the kind has one queue, and no job of it can be high.
    pub priority: Option<Priority>,
    /// How long an ended job is kept; without it as long as all others ([`crate::sweeper::Retention::jobs`]).
    pub retention: Option<Duration>,
    /// When a failed attempt is tried again.
    pub retry: RetryPolicy,
    /// Who does the work.
    pub worker: Worker,
    /// Where its messages go, if not to a queue of Warren's.
    pub existing: Option<Existing>,
    /// Handlers at one time, in one process.
    pub concurrency: usize,
    /// Deliveries without an ack, in one process.
    pub prefetch: u16,
    /// Whether the hub acks a delivery once its start is durable, since an attempt takes longer than the broker waits for an ack.
    pub early: bool,
    /// How long a job may wait for its start; one that would wait longer is not accepted. Without it jobs wait.
    pub max_wait: Option<Duration>,
    /// Who is told of the end of a job that names nobody.
    pub callback: Option<String>,
    /// Whether a request must carry an `Idempotency-Key`.
    pub key_required: bool,
    /// Addresses of its own, such as `/v1/orders`, beside `/v1/kinds/{kind}/jobs`.
    pub routes: Vec<String>,
    /// Media types taken, in lower case and without parameters. The first is meant when a request names none.
    pub content_types: Vec<String>,
    /// What a JSON body must look like.
    pub schema: Option<Arc<Schema>>,
}

/// Who does the work of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Worker {
    /// A handler in a hub process with the role `worker`.
    Rust,
    /// A service that consumes the work queue and reports on `warren.results`.
    Amqp,
    /// A call over HTTP, made by a hub process with the role `worker`.
    Http,
}

impl KindSpec {
    /// A kind with the defaults: window 10,000, timeout 30 s, deadline 24 h, the default retry policy, 64 handlers (the hub's configuration says 32).
    pub fn new(kind: Kind, worker: Worker) -> Self {
        Self {
            kind,
            description: String::new(),
            window: 10_000,
            timeout: Duration::from_secs(30),
            attempt: Duration::from_secs(30),
            deadline: Duration::from_secs(24 * 3600),
            priority: None,
            retention: None,
            retry: RetryPolicy::default(),
            worker,
            existing: None,
            concurrency: 64,
            prefetch: 256,
            early: false,
            max_wait: None,
            callback: None,
            key_required: false,
            routes: Vec::new(),
            content_types: vec![JSON.to_owned()],
            schema: None,
        }
    }
}

/// One state of the kinds: equal to itself, and to none that a replacement made.
#[derive(Clone, Debug)]
pub struct Revision(Arc<Table>);

impl PartialEq for Revision {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// All kinds by name. Cheap to clone; all clones see a replacement at once.
#[derive(Clone, Debug, Default)]
pub struct Kinds(Arc<RwLock<Arc<Table>>>);

#[derive(Debug, Default)]
struct Table {
    by_name: BTreeMap<String, Arc<KindSpec>>,
    by_route: BTreeMap<String, Arc<KindSpec>>,
}

impl Table {
    fn new(specs: impl IntoIterator<Item = KindSpec>) -> Self {
        let by_name: BTreeMap<String, Arc<KindSpec>> =
            specs.into_iter().map(|spec| (spec.kind.as_str().to_owned(), Arc::new(spec))).collect();
        let routes = by_name.values().flat_map(|spec| spec.routes.iter().map(move |route| (route.clone(), spec.clone())));
        let by_route = routes.collect();
        Self { by_name, by_route }
    }
}

impl Kinds {
    /// A table of `specs`; of two with one name or one route the later wins.
    pub fn new(specs: impl IntoIterator<Item = KindSpec>) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(Table::new(specs)))))
    }

    /// Replaces all of them. What was begun under the old ones ends under the old ones.
    pub fn replace(&self, specs: impl IntoIterator<Item = KindSpec>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Table::new(specs));
    }

    /// What they are now. It keeps that state in memory.
    pub fn revision(&self) -> Revision {
        Revision(self.table())
    }

    fn table(&self) -> Arc<Table> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The kind of that name.
    pub fn get(&self, name: &str) -> Option<Arc<KindSpec>> {
        self.table().by_name.get(name).cloned()
    }

    /// The kind whose jobs are submitted at `path`.
    pub fn at(&self, path: &str) -> Option<Arc<KindSpec>> {
        self.table().by_route.get(path).cloned()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = Arc<KindSpec>> {
        self.table().by_name.values().cloned().collect::<Vec<_>>().into_iter()
    }
}
