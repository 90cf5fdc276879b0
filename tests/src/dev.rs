//! `warren dev` as a process, in a folder of its own, as a newcomer starts it.
//!
//! The broker it brings is found by its environment, which names the folder (Linux only). It ends with the test, whatever way
//! that ends.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::hub::HubClient;
use crate::ports::free_port;
use crate::process::{Process, binary};
use crate::{reaper, wait};

/// RabbitMQ takes six seconds on an idle machine.
const START: Duration = Duration::from_secs(120);

/// The ports of a `warren dev`.
#[derive(Clone, Copy, Debug)]
pub struct DevPorts {
    /// API.
    pub public: u16,
    /// Admin API.
    pub admin: u16,
    /// Metrics.
    pub internal: u16,
    /// RabbitMQ: AMQP.
    pub amqp: u16,
    /// RabbitMQ: management.
    pub management: u16,
    /// RabbitMQ: Erlang distribution.
    pub dist: u16,
    /// RabbitMQ: Erlang's port mapper.
    pub epmd: u16,
}

impl DevPorts {
    /// Ports nobody has.
    pub fn free() -> Self {
        Self {
            public: free_port(),
            admin: free_port(),
            internal: free_port(),
            amqp: free_port(),
            management: free_port(),
            dist: free_port(),
            epmd: free_port(),
        }
    }

    /// Each with the flag that moves it.
    pub fn flags(&self) -> [(&'static str, u16); 7] {
        [
            ("--public-port", self.public),
            ("--admin-port", self.admin),
            ("--internal-port", self.internal),
            ("--amqp-port", self.amqp),
            ("--management-port", self.management),
            ("--dist-port", self.dist),
            ("--epmd-port", self.epmd),
        ]
    }

    /// Those that somebody listens on.
    pub fn taken(&self) -> Vec<&'static str> {
        let taken = |port| TcpListener::bind(("127.0.0.1", port)).is_err();
        self.flags().into_iter().filter(|(_, port)| taken(*port)).map(|(flag, _)| flag).collect()
    }
}

/// `warren dev` in `folder`, to be started; of the environment only `PATH` is inherited.
pub fn command(folder: &Path, ports: &DevPorts) -> Command {
    let mut command = Command::new(binary("warren"));
    command.arg("dev").current_dir(folder).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for (flag, port) in ports.flags() {
        command.args([flag, &port.to_string()]);
    }
    command
}

/// Process number and name of everything that was started for the node in `folder`.
pub fn node_of(folder: &Path) -> Vec<(u32, String)> {
    let ours = format!("{}/.warren/", folder.display());
    let about = |pid: u32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        String::from_utf8_lossy(&environment).contains(&ours).then(|| (pid, name.trim().to_owned()))
    };
    let entries = std::fs::read_dir("/proc").expect("/proc tells of processes").flatten();
    entries.filter_map(|entry| about(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// A `warren dev` that runs, or did.
pub struct DevProcess {
    process: Process,
    folder: PathBuf,
    watched: Vec<u32>,
}

impl DevProcess {
    /// Starts it and waits for its banner.
    ///
    /// # Panics
    /// When it ends first, or takes two minutes.
    pub async fn start(folder: &Path, ports: &DevPorts) -> Self {
        let mut dev = Self::start_only(folder, ports);
        let up = wait::within(START, || {
            let ready = dev.said().contains("Ctrl-C stops everything").then_some(true);
            let ended = dev.process.poll().map(|_| false);
            async move { ready.or(ended) }
        });
        let up = up.await;
        assert_eq!(up, Some(true), "`warren dev` did not come up\n{}", dev.process.tail());
        dev.watch_node();
        dev
    }

    /// Starts it and waits for nothing.
    pub fn start_only(folder: &Path, ports: &DevPorts) -> Self {
        Self { process: Process::start("dev", command(folder, ports)), folder: folder.to_owned(), watched: Vec::new() }
    }

    /// The three lines to paste.
    pub fn lines(&self) -> Vec<String> {
        self.process.stdout().lines().filter(|line| line.starts_with("curl ")).map(str::to_owned).collect()
    }

    /// All it printed on stdout: the banner.
    pub fn banner(&self) -> String {
        self.process.stdout()
    }

    /// All it told on stderr.
    pub fn said(&self) -> String {
        self.process.stderr()
    }

    /// A client with the token of the banner.
    ///
    /// # Panics
    /// When there is no banner with a token and the API's address.
    pub fn client(&self) -> HubClient {
        let banner = self.banner();
        let between = |from: &str, to: char| Some(banner.split_once(from)?.1.split(to).next()?.trim().to_owned());
        let base = between("API ", '(').expect("the banner tells where the API is");
        HubClient::new(base, Some(between("Bearer ", '\'').expect("the banner holds a token")))
    }

    /// The process number of the broker.
    ///
    /// # Panics
    /// When none runs, or two.
    pub fn broker(&self) -> u32 {
        let node = node_of(&self.folder);
        // A tool of the broker's is one too, for as long as it takes to ask something.
        let is_server = |pid: u32| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|it| String::from_utf8_lossy(&it).contains("RABBITMQ_MNESIA_BASE="))
        };
        let beams = node.iter().filter(|(_, name)| name == "beam.smp").map(|(pid, _)| *pid);
        let brokers: Vec<u32> = beams.filter(|pid| is_server(*pid)).collect();
        assert_eq!(brokers.len(), 1, "one broker runs in the folder: {node:?}");
        brokers[0]
    }

    /// Presses Ctrl-C.
    pub fn press_ctrl_c(&self) {
        self.process.signal(Signal::SIGINT);
    }

    /// Presses Ctrl-C and waits until it has ended.
    ///
    /// # Panics
    /// When it has not within half a minute.
    pub async fn ctrl_c(&mut self) -> ExitStatus {
        self.press_ctrl_c();
        self.process.wait(Duration::from_secs(30)).await
    }

    /// Kills it, and it alone, as `kill -9` does; the broker lives on.
    pub fn kill9(&mut self) {
        let status = self.process.kill9();
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "it was there to be killed");
    }

    /// Kills the broker as `kill -9` does, once it has written down that it has these queues; returns its process number.
    ///
    /// What it has not, RabbitMQ 3.10.8 makes anew when it is back, and deaf (`docs/guarantees.md`, "A broker that lost a queue").
    ///
    /// # Panics
    /// When it has not within half a minute.
    pub async fn kill_broker(&mut self, queues: &[&str]) -> u32 {
        let register = self.register();
        let written = async || {
            let register = std::fs::read(&register).unwrap_or_default();
            queues.iter().all(|queue| register.windows(queue.len()).any(|some| some == queue.as_bytes()))
        };
        wait::until_true(Duration::from_secs(30), "the broker to write down which queues it has", written).await;
        let broker = self.broker();
        kill(Pid::from_raw(broker as i32), Signal::SIGKILL).expect("the broker can be killed");
        broker
    }

    /// Where the broker writes down which quorum queues it has, some seconds after they were declared.
    fn register(&self) -> PathBuf {
        self.folder.join(".warren/rabbitmq/data/warren@localhost/quorum/warren@localhost/names.dets")
    }

    /// To be called again after the broker was: it is to end with the test process, and leads a group of its own.
    pub fn watch_node(&mut self) {
        for (pid, name) in node_of(&self.folder) {
            if (name == "beam.smp" || name == "epmd") && !self.watched.contains(&pid) {
                reaper::watch(pid);
                self.watched.push(pid);
            }
        }
    }
}

impl Drop for DevProcess {
    fn drop(&mut self) {
        if self.process.poll().is_none() {
            self.process.kill9();
        }
        // A start that follows adopts a node that was left; one that fails leaves it to us.
        if std::thread::panicking() {
            for (pid, _) in node_of(&self.folder) {
                let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
            }
        }
        for group in &self.watched {
            if !Path::new(&format!("/proc/{group}")).exists() {
                reaper::forget(*group);
            }
        }
    }
}
