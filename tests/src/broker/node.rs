//! The files, ports and environment of one node, and its start.

use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;

use super::cluster::Seat;
use super::install::Install;
use super::{ADMIN, BrokerOptions, Management, PASSWORD, Tls};
use crate::ports::free_port;
use crate::process::Process;
use crate::wait;

/// Above what any test needs; the alarm primitive lowers it. Absolute, since a share of the
/// machine's memory would differ from machine to machine.
pub(super) const MEMORY_LIMIT: &str = "1GB";
/// Has the node start the supervisor of what dead-letters from quorum queues again whenever it is gone. Two crashes of its children within 5 s
/// end it for good (rabbitmq/rabbitmq-server#16652; 100 in a second on newer versions), and one queue that goes a moment after it came, as with
/// the virtual host of a test that ends early, is two: then no quorum queue with dead letters works on the node any more, whosesoever it is.
/// Without a space: the script splits at those.
const MEND: &str =
    "spawn(fun()->F=fun(F)->timer:sleep(50),(catch(supervisor:restart_child(rabbit_sup,rabbit_fifo_dlx_sup))),F(F)end,F(F)end).";

/// A start takes five seconds on an idle machine of two cores.
const START: Duration = Duration::from_secs(90);

pub(super) struct Node {
    install: Install,
    folder: TempDir,
    seat: Option<Seat>,
    pub(super) name: String,
    pub(super) amqp_port: u16,
    pub(super) amqps_port: Option<u16>,
    pub(super) management_port: u16,
    pub(super) management_tls_port: Option<u16>,
    dist_port: u16,
    epmd_port: u16,
}

impl Node {
    /// Whether it has a seat in a cluster.
    pub(super) fn is_one_of_many(&self) -> bool {
        self.seat.is_some()
    }

    /// Finds the server, picks the ports and writes the files.
    pub(super) fn prepare(options: &BrokerOptions, seat: Option<Seat>) -> Result<Self, String> {
        let install = Install::find()?;
        let folder = install.folder();
        let node = Self {
            install,
            name: match &seat {
                None => format!("t{}@localhost", free_port()),
                Some(seat) => format!("rabbit@{}", seat.address),
            },
            amqp_port: free_port(),
            amqps_port: options.tls.as_ref().map(|_| free_port()),
            management_port: free_port(),
            management_tls_port: options.tls.as_ref().map(|_| free_port()),
            dist_port: free_port(),
            // Nodes of one cluster ask for each other at the same port.
            epmd_port: if seat.is_some() { 4369 } else { free_port() },
            seat,
            folder,
        };
        node.write_files(options).map_err(|error| format!("could not write the files of a private RabbitMQ: {error}"))?;
        Ok(node)
    }

    fn write_files(&self, options: &BrokerOptions) -> std::io::Result<()> {
        let cookie = self.path(".erlang.cookie");
        std::fs::write(
            &cookie,
            if self.seat.is_some() { "WARRENTESTCLUSTER".to_owned() } else { format!("WARRENTEST{}", self.dist_port) },
        )?;
        std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o400))?;
        let mut plugins = vec!["rabbitmq_management"];
        plugins.extend(options.plugins.iter().map(String::as_str));
        std::fs::write(self.path("plugins"), format!("[{}].\n", plugins.join(",")))?;
        if let Some(tls) = &options.tls {
            self.write_certificates(tls)?;
        }
        let mut config = self.config(options);
        if let Some(definitions) = &options.definitions {
            config.push_str(&format!("load_definitions = {}\n", self.put("boot.json", definitions)?.display()));
        }
        std::fs::write(self.path("rabbitmq.conf"), config)
    }

    /// Writes a file; where the server sees it.
    pub(super) fn put(&self, name: &str, text: &str) -> std::io::Result<PathBuf> {
        std::fs::write(self.path(name), text)?;
        Ok(self.seen(name))
    }

    pub(super) fn write_certificates(&self, tls: &Tls) -> std::io::Result<()> {
        std::fs::write(self.path("ca.pem"), &tls.authority)?;
        std::fs::write(self.path("certificate.pem"), &tls.certificate)?;
        std::fs::write(self.path("key.pem"), &tls.key)
    }

    fn config(&self, options: &BrokerOptions) -> String {
        let mut config = format!(
            "listeners.tcp.1 = {0}:{1}\n\
             management.tcp.ip = {0}\n\
             management.tcp.port = {2}\n\
             default_user = {ADMIN}\n\
             default_pass = {PASSWORD}\n\
             heartbeat = 10\n\
             vm_memory_high_watermark.absolute = {MEMORY_LIMIT}\n\
             disk_free_limit.absolute = 50MB\n",
            self.address(),
            self.amqp_port,
            self.management_port
        );
        if let Some(timeout) = options.consumer_timeout {
            config.push_str(&format!("consumer_timeout = {}\n", timeout.as_millis()));
        }
        if let Some(port) = self.amqps_port {
            config.push_str(&format!(
                "listeners.ssl.1 = 127.0.0.1:{port}\n\
                 ssl_options.cacertfile = {}\n\
                 ssl_options.certfile = {}\n\
                 ssl_options.keyfile = {}\n\
                 ssl_options.verify = verify_peer\n\
                 ssl_options.fail_if_no_peer_cert = true\n",
                self.seen("ca.pem").display(),
                self.seen("certificate.pem").display(),
                self.seen("key.pem").display()
            ));
        }
        if let Some(port) = self.management_tls_port {
            config.push_str(&format!(
                "management.ssl.ip = 127.0.0.1\n\
                 management.ssl.port = {port}\n\
                 management.ssl.cacertfile = {}\n\
                 management.ssl.certfile = {}\n\
                 management.ssl.keyfile = {}\n",
                self.seen("ca.pem").display(),
                self.seen("certificate.pem").display(),
                self.seen("key.pem").display()
            ));
        }
        config.push_str(&options.config);
        config.push('\n');
        config
    }

    /// Starts the node's own port mapper, in the foreground, and waits until it listens.
    pub(super) async fn start_epmd(&self) -> Result<Process, String> {
        let program = self.install.program("epmd".as_ref(), self.folder.path());
        let mut command = self.seated(program);
        command.arg("-address").arg(self.address().to_string()).arg("-port").arg(self.epmd_port.to_string());
        let epmd = Process::start_in("epmd", command, self.folder.path());
        let (address, port) = (self.address(), self.epmd_port);
        let listens = async || TcpStream::connect((address, port)).ok();
        match wait::within(Duration::from_secs(10), listens).await {
            Some(_) => Ok(epmd),
            None => Err(format!("epmd does not listen on {port}\n{}", epmd.tail())),
        }
    }

    /// Starts the server; [`Node::ready`] tells when it serves.
    pub(super) fn start_server(&self) -> Process {
        let command = self.script("rabbitmq-server");
        Process::start_in("rabbitmq", command, self.folder.path())
    }

    /// Waits until the node answers on both doors.
    pub(super) async fn ready(&self, server: &Mutex<Process>, management: &Management) -> Result<(), String> {
        let path = format!("/api/health/checks/port-listener/{}", self.amqp_port);
        let answer = wait::within(START, async || {
            if server.lock().unwrap().poll().is_some() {
                return Some(false);
            }
            let up = management.try_call("GET", &path, None).await;
            up.is_ok_and(|(status, _)| status == 200).then_some(true)
        });
        let fault = match answer.await {
            Some(true) => return Ok(()),
            Some(false) => "ended while it started".to_owned(),
            None => format!("was not ready within {START:?}"),
        };
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        Err(format!(
            "the private RabbitMQ from {} {fault}\n{}--- its log, the last lines\n{}",
            self.install.shown(),
            server.lock().unwrap().tail(),
            lines[lines.len().saturating_sub(40)..].join("\n")
        ))
    }

    /// A script of the server, told of this node.
    pub(super) fn script(&self, name: &str) -> Command {
        let mut command = self.seated(self.install.script(name, self.folder.path()));
        self.environment(&mut command);
        command
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.seat.as_ref().map_or(Ipv4Addr::LOCALHOST, |seat| seat.address)
    }

    /// The same command, run where this node is.
    fn seated(&self, command: Command) -> Command {
        let Some(seat) = &self.seat else { return command };
        let mut seated = Command::new("ip");
        seated.args(["netns", "exec", &seat.space]).arg(command.get_program()).args(command.get_args());
        seated.current_dir(self.folder.path());
        seated
    }

    /// Everything the scripts need to know, and nothing inherited that could mislead them.
    fn environment(&self, command: &mut Command) {
        let set = |command: &mut Command, name: &str, file: &str| {
            command.env(name, self.seen(file));
        };
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("LANG", "C.UTF-8");
        command.env("HOME", self.install.seen(self.folder.path()));
        command.env("RABBITMQ_NODENAME", &self.name);
        command.env("RABBITMQ_NODE_PORT", self.amqp_port.to_string());
        command.env("RABBITMQ_DIST_PORT", self.dist_port.to_string());
        command.env("ERL_EPMD_PORT", self.epmd_port.to_string());
        command.env("ERL_EPMD_ADDRESS", self.address().to_string());
        if self.seat.is_some() {
            command.env("RABBITMQ_USE_LONGNAME", "true");
        }
        command.env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        set(command, "RABBITMQ_MNESIA_BASE", "data");
        set(command, "RABBITMQ_LOG_BASE", "log");
        set(command, "RABBITMQ_PID_FILE", "pid");
        set(command, "RABBITMQ_CONFIG_FILE", "rabbitmq.conf");
        set(command, "RABBITMQ_GENERATED_CONFIG_DIR", "generated");
        set(command, "RABBITMQ_ENABLED_PLUGINS_FILE", "plugins");
        // The script then becomes the Erlang VM instead of staying beside it, so that the process
        // we started is the one that is killed and stopped.
        command.env("RUNNING_UNDER_SYSTEMD", "true");
        // Two cores are shared by everybody: few schedulers, and no busy waiting.
        let mut erlang = format!(
            "+S 2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {{{}}}",
            self.address().octets().map(|octet| octet.to_string()).join(",")
        );
        erlang.push_str(&format!(" -eval {MEND}"));
        if self.seat.is_some() {
            erlang.push_str(&format!(" -kernel net_ticktime {}", super::cluster::NET_TICKTIME));
        }
        command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erlang);
    }

    pub(super) fn log(&self) -> String {
        let path = self.path("log").join(format!("{}.log", self.name));
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// The same as the server sees it.
    fn seen(&self, file: &str) -> PathBuf {
        self.install.seen(&self.path(file))
    }
}
