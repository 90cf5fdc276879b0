//! A private RabbitMQ for `warren dev`, under `<folder>/.warren/`.
//!
//! A [`Node`] is one broker and one `epmd` (Erlang's port mapper), both our own processes: own cookie, own data, own ports, all
//! listening on this machine only; whatever RabbitMQ the machine runs otherwise is neither used nor touched. One folder has one
//! node, guarded by a lock file. The node is started again, with growing pauses, whenever it dies; it ends with
//! [`Node::stop`]. What a kill -9 of the hub leaves behind is adopted by the next start, going by the record in
//! `.warren/rabbitmq/node.pid`; a left-over that does not answer is ended.
//!
//! It refuses to start where it could only fail, each time with one sentence that says what to do ([`DevError`]).
//! Limits: Linux and macOS; a node is for development, not for serving others. Progress is told on stderr.
//!
//! ```text
//! Node::start ── Folder (lock, cookie, space) ── Install (where RabbitMQ is) ── Ports (free?)
//!      └── supervisor task ── Process epmd, Process broker ── record in node.pid
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod error;
mod folder;
mod install;
mod ports;
mod probe;
mod process;
mod rabbitmq;
mod record;
mod supervisor;

pub use error::DevError;
pub use ports::{Ports, ensure_free};

use folder::Folder;
use install::Install;
use supervisor::Supervisor;

/// What a node is started from.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where `.warren/` is, or is made.
    pub folder: PathBuf,
    /// The node's ports.
    pub ports: Ports,
    /// The folder of the RabbitMQ to run (the one that holds `sbin/`); `None`: the one this machine has installed.
    pub rabbitmq_home: Option<PathBuf>,
    /// Where Erlang is looked for: the `PATH` of this process, which only `main` reads.
    pub search_path: OsString,
}

impl Options {
    /// A node under `folder`, all else at its default.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let search_path = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:/opt/homebrew/bin".into();
        Self { folder: folder.into(), ports: Ports::default(), rabbitmq_home: None, search_path }
    }
}

/// Whether the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers AMQP; its process id.
    Running(u32),
    /// It died, and is being started again.
    Restarting,
    /// It was told to stop, and is gone.
    Stopped,
}

/// A running node; dropped without [`Node::stop`], it is told to end but not waited for.
#[derive(Debug)]
pub struct Node {
    folder: Arc<Folder>,
    ports: Ports,
    state: watch::Receiver<State>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Node {
    /// Starts a node, or adopts the one that runs already, and waits until it answers AMQP.
    ///
    /// # Errors
    /// When something is in the way; nothing is left running then.
    ///
    /// # Cancel safety
    /// Dropping the future tells what was started to end.
    pub async fn start(options: Options) -> Result<Self, DevError> {
        let folder = Arc::new(Folder::open(&options.folder)?);
        let install = Install::find(options.rabbitmq_home.as_deref(), &options.search_path)?;
        let mut supervisor = Supervisor::new(Arc::clone(&folder), install, options.ports);
        let broker = supervisor.first_start().await?;

        let (states, state) = watch::channel(State::Running(broker));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(supervisor.run(stop.clone(), states));
        tasks.close();
        Ok(Self { folder, ports: options.ports, state, stop, tasks })
    }

    /// Where to connect: the user `guest`, who is let in from this machine only.
    pub fn amqp_url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.ports.amqp)
    }

    /// The management UI and API; same user.
    pub fn management_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.management)
    }

    /// The `.warren` folder, locked to this process: other data of a development hub may live here too.
    pub fn home(&self) -> &Path {
        &self.folder.layout().home
    }

    /// A secret for signing tokens, made on the first call and kept in the folder: the same after every start.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn token_secret(&self) -> Result<crate::config::Secret, DevError> {
        self.folder.token_secret()
    }

    /// Whether the broker runs, and how that changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Ends the broker and its `epmd`, and waits until both are gone: up to 15 s, then they are killed.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // If the runtime is still there, the supervisor ends both; if it went first, its own drop did.
        self.stop.cancel();
    }
}
