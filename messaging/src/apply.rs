//! A topology on a live broker, over AMQP alone: what exists is left as it is, what is missing is made.
//!
//! A passive check comes first, so that a start needs no declare when nothing is missing: a broker that has lost its majority
//! can still be worked with. What exists with other arguments is not seen here; comparing them needs the management API.
//!
//! A channel answers one declare after the other, so that many of them are asked over [`CHANNELS`] at one time.

mod pool;

use broker_topology::{Binding, Exchange, Queue, Topology};

use crate::connection::{Link, Stopped};
use pool::Pool;

pub use pool::CHANNELS;
pub(crate) use pool::{name, table};

/// What [`apply`] may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Make what is missing.
    Declare,
    /// Only look; what is missing is an error.
    Check,
}

/// Why a topology is not on the broker.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApplyError {
    /// Looked for, and not there.
    #[error("missing on the broker: {}; let Warren declare it (topology.manage = \"declare\") or have it made", .0.join(", "))]
    Missing(Vec<String>),
    /// The broker refuses.
    #[error("the broker refuses {object}: {why}{}", remedy(*.code))]
    Refused {
        /// What was to be made or looked at.
        object: String,
        /// The reply code of AMQP; 0 when there was none.
        code: u16,
        /// The broker's words: of an argument that differs they hold its name and both values.
        why: String,
    },
    /// No answer.
    #[error("the broker does not answer about {0}")]
    Silent(String),
    /// The process drains.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// What to do about a refusal with this code.
fn remedy(code: u16) -> &'static str {
    match code {
        403 => "; give the user the permission it lacks: docs/permissions.md says which",
        406 => "; `warren topology plan` shows what differs, `warren topology migrate` makes a queue anew",
        _ => "",
    }
}

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Applied {
    /// Names of exchanges and queues that were missing and are there now.
    pub created: Vec<String>,
    /// How many were there already.
    pub present: usize,
    /// Bindings sent; the broker knows most of them already.
    pub bindings: usize,
}

/// Something to declare.
#[derive(Clone, Copy, Debug)]
pub enum Declare<'a> {
    /// An exchange.
    Exchange(&'a Exchange),
    /// A queue.
    Queue(&'a Queue),
    /// A binding.
    Binding(&'a Binding),
}

impl Declare<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Exchange(exchange) => &exchange.name,
            Self::Queue(queue) => &queue.name,
            Self::Binding(binding) => &binding.source,
        }
    }
}

impl std::fmt::Display for Declare<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exchange(exchange) => write!(f, "exchange `{}`", exchange.name),
            Self::Queue(queue) => write!(f, "queue `{}`", queue.name),
            Self::Binding(binding) => {
                write!(f, "binding `{}` -> `{}` ({})", binding.source, binding.destination.name(), binding.key)
            }
        }
    }
}

/// Makes sure that everything in `topology` exists.
///
/// # Errors
/// As [`ApplyError`]. What was made before the error stays; calling again goes on from there.
pub async fn apply(link: &Link, topology: &Topology, mode: Mode) -> Result<Applied, ApplyError> {
    let pool = Pool::of(link.live().await?);
    let exchanges: Vec<Declare<'_>> = topology.exchanges.iter().map(Declare::Exchange).collect();
    let queues: Vec<Declare<'_>> = topology.queues.iter().map(Declare::Queue).collect();
    let mut missing = Vec::new();
    for objects in [&exchanges, &queues] {
        missing.push(absent(&pool, objects).await?);
    }
    let absent: usize = missing.iter().map(Vec::len).sum();
    if mode == Mode::Check && absent > 0 {
        return Err(ApplyError::Missing(missing.concat().iter().map(ToString::to_string).collect()));
    }
    let mut applied = Applied { present: exchanges.len() + queues.len() - absent, ..Applied::default() };
    for objects in &missing {
        for done in pool.declare(objects).await.into_iter().flatten() {
            done?;
        }
        applied.created.extend(objects.iter().map(|object| object.name().to_owned()));
    }
    if mode == Mode::Declare {
        let bindings: Vec<Declare<'_>> = topology.bindings.iter().map(Declare::Binding).collect();
        for done in pool.declare(&bindings).await.into_iter().flatten() {
            done?;
        }
        applied.bindings = bindings.len();
    }
    Ok(applied)
}

/// Declares all of `objects`, over [`CHANNELS`] at one time; answers in their order. After the first refusal nothing more is begun:
/// what was not is `None`.
///
/// # Errors
/// When the process drains; then nothing was declared.
pub async fn declare(link: &Link, objects: &[Declare<'_>]) -> Result<Vec<Option<Result<(), ApplyError>>>, ApplyError> {
    Ok(Pool::of(link.live().await?).declare(objects).await)
}

/// Those of `objects`, which are exchanges and queues, that are not there.
///
/// # Errors
/// When the broker does not answer, or does not let us look.
pub async fn missing<'a>(link: &Link, objects: &[Declare<'a>]) -> Result<Vec<Declare<'a>>, ApplyError> {
    absent(&Pool::of(link.live().await?), objects).await
}

async fn absent<'a>(pool: &Pool, objects: &[Declare<'a>]) -> Result<Vec<Declare<'a>>, ApplyError> {
    let there = pool.there(objects).await;
    let mut absent = Vec::new();
    for (object, there) in objects.iter().zip(there) {
        if !there? {
            absent.push(*object);
        }
    }
    Ok(absent)
}

/// What a passive look at a queue tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLook {
    /// Messages ready for delivery; those a consumer holds are not among them.
    pub ready: u32,
    /// Consumers.
    pub consumers: u32,
}

/// What became of a look at a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It is there.
    There(QueueLook),
    /// It is not.
    Missing,
    /// The broker does not let this user see whether it is, in the broker's words; some versions ask for a permission on it.
    Kept(String),
}

/// Looks at queues, in the order asked; `None` for one that is not there, or is kept from us.
///
/// # Errors
/// As [`sight`].
pub async fn look(link: &Link, queues: &[String]) -> Result<Vec<Option<QueueLook>>, ApplyError> {
    let found = |sight| if let Sight::There(look) = sight { Some(look) } else { None };
    Ok(sight(link, queues).await?.into_iter().map(found).collect())
}

/// Looks at queues, in the order asked.
///
/// # Errors
/// When the broker is away, or says anything but that a queue is not there or is kept from us.
pub async fn sight(link: &Link, queues: &[String]) -> Result<Vec<Sight>, ApplyError> {
    Pool::of(link.live().await?).sight(queues).await
}
