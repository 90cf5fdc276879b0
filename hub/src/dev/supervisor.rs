//! Keeps the node running until it is told to stop.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::folder::Folder;
use super::install::Install;
use super::process::{Identity, Process};
use super::record::Record;
use super::{DevError, Ports, State, probe, rabbitmq};

/// Tells people what goes on. With the terminal closed nobody is left to read it, and the node is ended all the same.
macro_rules! tell {
    ($($text:tt)*) => {{
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

/// A slow laptop with a cold disk needs half of it.
const START: Duration = Duration::from_secs(120);
/// How long a broker may take to leave: it flushes its queues.
const GRACE: Duration = Duration::from_secs(15);
/// How long asking for elections may take: a small Erlang starts for it.
const ELECTION: Duration = Duration::from_secs(30);
/// How long a left-over may be silent before it is ended: it may be busy starting.
const LEFT_OVER: Duration = Duration::from_secs(20);
/// After this long a death is a new story, not the next one of a series.
const SETTLED: Duration = Duration::from_secs(60);
/// The longest pause between two starts, jitter aside.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Who runs, for the next hub.
const RECORD: &str = "node.pid";
const GLANCE: Duration = Duration::from_millis(100);

/// Owns the two processes. Dropped, it tells both to end.
pub(super) struct Supervisor {
    folder: Arc<Folder>,
    install: Install,
    ports: Ports,
    record: Record,
    broker: Option<Process>,
    epmd: Option<Process>,
}

impl Supervisor {
    pub(super) fn new(folder: Arc<Folder>, install: Install, ports: Ports) -> Self {
        let record = Record::new(ports, &install.home);
        Self { folder, install, ports, record, broker: None, epmd: None }
    }

    /// Adopts what runs already, or starts afresh; returns the broker's pid once it answers.
    pub(super) async fn first_start(&mut self) -> Result<u32, DevError> {
        self.take_over().await;
        if let (Some(broker), Some(_)) = (&self.broker, &self.epmd) {
            let pid = broker.identity().pid;
            tell!("warren dev: took over the RabbitMQ that was left running (process {pid})");
            return Ok(pid);
        }
        self.stop().await;
        self.ports.ensure_free()?;
        let (from, folder) = (self.install.home.display(), self.folder.layout().rabbitmq.display());
        tell!("warren dev: starting {from} in {folder} (takes about 10 s)");
        let started = self.start().await;
        if started.is_err() {
            self.stop().await;
        }
        started
    }

    /// Starts the broker again whenever it dies, until `stop`; then ends it.
    pub(super) async fn run(mut self, stop: CancellationToken, states: watch::Sender<State>) {
        let keep = async {
            let (mut since, mut pauses) = (Instant::now(), pauses());
            loop {
                let how = self.death().await;
                let _ = states.send(State::Restarting);
                tell!("warren dev: {how}; starting it again");
                if since.elapsed() > SETTLED {
                    pauses = self::pauses();
                }
                let pid = self.start_again(&mut pauses).await;
                since = Instant::now();
                tell!("warren dev: RabbitMQ runs again (process {pid})");
                let _ = states.send(State::Running(pid));
            }
        };
        stop.run_until_cancelled(keep).await;
        tell!("warren dev: stopping RabbitMQ");
        self.stop().await;
        let _ = states.send(State::Stopped);
    }

    /// Waits until the broker is gone. An `epmd` that dies alone is replaced: only tools need it.
    async fn death(&mut self) -> String {
        loop {
            let (Some(broker), Some(epmd)) = (&mut self.broker, &mut self.epmd) else {
                return "RabbitMQ is not running".to_owned();
            };
            tokio::select! {
                how = broker.ended() => {
                    self.broker = None;
                    return format!("RabbitMQ died ({how})");
                }
                _ = epmd.ended() => {
                    tell!("warren dev: epmd died; starting it again");
                    self.epmd = None;
                    if let Err(error) = self.start_epmd().await {
                        tell!("warren dev: {error}");
                    }
                    // Without one it goes down too, and both come back.
                    if self.epmd.is_none() {
                        self.stop_broker().await;
                    }
                }
            }
        }
    }

    async fn start_again(&mut self, pauses: &mut ExponentialBackoff) -> u32 {
        loop {
            sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
            match self.start().await {
                Ok(pid) => return pid,
                Err(error) => tell!("warren dev: {error}; trying again"),
            }
            self.stop_broker().await;
        }
    }

    /// Starts what is not running, and waits until the broker answers.
    async fn start(&mut self) -> Result<u32, DevError> {
        rabbitmq::configure(self.folder.layout(), self.ports)?;
        let had_queues =
            std::fs::read_dir(self.folder.layout().of_node("data")).is_ok_and(|mut entries| entries.next().is_some());
        if self.epmd.is_none() {
            self.start_epmd().await?;
        }
        let command = &mut rabbitmq::server(&self.install, self.folder.layout(), self.ports)?;
        let broker = self.broker.insert(spawn(command)?);
        let pid = broker.identity().pid;
        self.record.broker = Some(broker.identity().clone());
        self.record.write(&self.record_path())?;
        self.answer().await?;
        if let Some(broker) = &mut self.broker {
            broker.is_ready();
        }
        if had_queues {
            self.elect().await?;
        }
        Ok(pid)
    }

    /// Sees to leaders; a queue that has one is left alone. Without it the broker serves all other queues.
    async fn elect(&self) -> Result<(), DevError> {
        let mut command = rabbitmq::election(&self.install, self.folder.layout(), self.ports)?;
        command.kill_on_drop(true);
        match timeout(ELECTION, command.status()).await {
            Ok(Ok(status)) if status.success() => {}
            other => tracing::warn!(?other, "RabbitMQ could not be asked to elect leaders: a queue may have none"),
        }
        Ok(())
    }

    async fn start_epmd(&mut self) -> Result<(), DevError> {
        let command = &mut rabbitmq::epmd(&self.install, self.folder.layout(), self.ports)?;
        let epmd = self.epmd.insert(spawn(command)?);
        self.record.epmd = Some(epmd.identity().clone());
        self.record.write(&self.folder.layout().of_node(RECORD))?;
        // The broker asks it at once, and must not start one of its own.
        while !probe::listens(self.ports.epmd).await {
            if let Ok(how) = timeout(GLANCE, epmd.ended()).await {
                self.epmd = None;
                return Err(self.ended(how));
            }
        }
        epmd.is_ready();
        Ok(())
    }

    async fn answer(&mut self) -> Result<(), DevError> {
        let (begun, mut told) = (Instant::now(), 0);
        while !probe::answers_amqp(self.ports.amqp).await {
            let Some(broker) = &mut self.broker else { return Err(self.ended("not running".to_owned())) };
            if let Ok(how) = timeout(GLANCE, broker.ended()).await {
                return Err(self.ended(how));
            }
            let seconds = begun.elapsed().as_secs();
            if seconds >= START.as_secs() {
                return Err(DevError::Silent { port: self.ports.amqp, seconds, log: self.folder.layout().output() });
            }
            if seconds / 5 > told {
                told = seconds / 5;
                tell!("warren dev: waiting for RabbitMQ, {seconds} s");
            }
        }
        Ok(())
    }

    fn ended(&self, how: String) -> DevError {
        let log = self.folder.layout().output();
        DevError::Ended { how, said: rabbitmq::last_line(&log), log }
    }

    fn record_path(&self) -> PathBuf {
        self.folder.layout().of_node(RECORD)
    }

    /// Looks at what a hub before us left running; keeps what can be used, ends what cannot.
    async fn take_over(&mut self) {
        let Some(left) = Record::read(&self.record_path()) else { return };
        self.broker = left.broker.clone().and_then(Process::adopt);
        self.epmd = left.epmd.clone().and_then(Process::adopt);
        let Some(broker) = self.broker.as_ref().map(|broker| broker.identity().clone()) else { return };
        if self.epmd.is_some() && left.fits(&self.record) && self.answers_in_time(&broker).await {
            self.record = left;
            return;
        }
        tell!("warren dev: ending a RabbitMQ that was left running and cannot be used (process {})", broker.pid);
        self.stop().await;
    }

    async fn answers_in_time(&self, broker: &Identity) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < LEFT_OVER && broker.is_alive() {
            if probe::answers_amqp(self.ports.amqp).await {
                return true;
            }
            sleep(GLANCE).await;
        }
        false
    }

    async fn stop_broker(&mut self) {
        if let Some(broker) = &mut self.broker {
            broker.terminate(GRACE).await;
            self.broker = None;
        }
    }

    /// Ends both, the broker first: it says goodbye to `epmd`.
    async fn stop(&mut self) {
        self.stop_broker().await;
        if let Some(epmd) = &mut self.epmd {
            epmd.terminate(Duration::from_secs(2)).await;
            self.epmd = None;
        }
        let _ = std::fs::remove_file(self.record_path());
    }
}

/// Growing pauses between starts, without end.
fn pauses() -> ExponentialBackoff {
    let pauses = ExponentialBuilder::default().with_min_delay(Duration::from_millis(300)).with_max_delay(LONGEST_PAUSE);
    pauses.with_jitter().without_max_times().build()
}

fn spawn(command: &mut tokio::process::Command) -> Result<Process, DevError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    Process::spawn(command).map_err(|source| DevError::Spawn { program, source })
}
