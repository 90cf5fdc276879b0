//! The files, ports and environment of one node, and its start.

use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use tempfile::TempDir;

use super::{ADMIN, BrokerOptions, Management, PASSWORD, Tls};
use crate::ports::free_port;
use crate::process::{self, Process};
use crate::wait;

/// Above what any test needs; the alarm primitive lowers it. Absolute, since a share of the
/// machine's memory would differ from machine to machine.
pub(super) const MEMORY_LIMIT: &str = "1GB";
/// A start takes five seconds on an idle machine of two cores.
const START: Duration = Duration::from_secs(90);

pub(super) struct Node {
    home: PathBuf,
    folder: TempDir,
    name: String,
    pub(super) amqp_port: u16,
    pub(super) amqps_port: Option<u16>,
    pub(super) management_port: u16,
    dist_port: u16,
    epmd_port: u16,
}

impl Node {
    /// Finds the server, picks the ports and writes the files.
    pub(super) fn prepare(options: &BrokerOptions) -> Result<Self, String> {
        let home = home()?;
        let folder = process::folder("rabbitmq");
        let node = Self {
            home,
            name: format!("t{}@localhost", free_port()),
            amqp_port: free_port(),
            amqps_port: options.tls.as_ref().map(|_| free_port()),
            management_port: free_port(),
            dist_port: free_port(),
            epmd_port: free_port(),
            folder,
        };
        node.write_files(options).map_err(|error| format!("could not write the files of a private RabbitMQ: {error}"))?;
        Ok(node)
    }

    fn write_files(&self, options: &BrokerOptions) -> std::io::Result<()> {
        let cookie = self.path(".erlang.cookie");
        std::fs::write(&cookie, format!("WARRENTEST{}", self.dist_port))?;
        std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o400))?;
        let mut plugins = vec!["rabbitmq_management"];
        plugins.extend(options.plugins.iter().map(String::as_str));
        std::fs::write(self.path("plugins"), format!("[{}].\n", plugins.join(",")))?;
        if let Some(tls) = &options.tls {
            self.write_certificates(tls)?;
        }
        std::fs::write(self.path("rabbitmq.conf"), self.config(options))
    }

    pub(super) fn write_certificates(&self, tls: &Tls) -> std::io::Result<()> {
        std::fs::write(self.path("ca.pem"), &tls.authority)?;
        std::fs::write(self.path("certificate.pem"), &tls.certificate)?;
        std::fs::write(self.path("key.pem"), &tls.key)
    }

    fn config(&self, options: &BrokerOptions) -> String {
        let mut config = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\n\
             management.tcp.ip = 127.0.0.1\n\
             management.tcp.port = {}\n\
             default_user = {ADMIN}\n\
             default_pass = {PASSWORD}\n\
             heartbeat = 10\n\
             vm_memory_high_watermark.absolute = {MEMORY_LIMIT}\n\
             disk_free_limit.absolute = 50MB\n",
            self.amqp_port, self.management_port
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
                self.path("ca.pem").display(),
                self.path("certificate.pem").display(),
                self.path("key.pem").display()
            ));
        }
        config.push_str(&options.config);
        config.push('\n');
        config
    }

    /// Starts the node's own port mapper, in the foreground, and waits until it listens.
    pub(super) async fn start_epmd(&self) -> Result<Process, String> {
        let mut command = Command::new("epmd");
        command.args(["-address", "127.0.0.1", "-port"]).arg(self.epmd_port.to_string());
        let epmd = Process::start_in("epmd", command, self.folder.path());
        let port = self.epmd_port;
        let listens = async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
        match wait::within(Duration::from_secs(10), listens).await {
            Some(_) => Ok(epmd),
            None => Err(format!("epmd does not listen on {port}\n{}", epmd.tail())),
        }
    }

    /// Starts the server; [`Node::ready`] tells when it serves.
    pub(super) fn start_server(&self) -> Process {
        let mut command = Command::new(self.script("rabbitmq-server"));
        self.environment(&mut command);
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
            self.home.display(),
            server.lock().unwrap().tail(),
            lines[lines.len().saturating_sub(40)..].join("\n")
        ))
    }

    /// Everything the scripts need to know, and nothing inherited that could mislead them.
    pub(super) fn environment(&self, command: &mut Command) {
        let set = |command: &mut Command, name: &str, file: &str| {
            command.env(name, self.path(file));
        };
        command.env_clear().current_dir(self.folder.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("LANG", "C.UTF-8");
        command.env("HOME", self.folder.path());
        command.env("RABBITMQ_NODENAME", &self.name);
        command.env("RABBITMQ_NODE_PORT", self.amqp_port.to_string());
        command.env("RABBITMQ_DIST_PORT", self.dist_port.to_string());
        command.env("ERL_EPMD_PORT", self.epmd_port.to_string());
        command.env("ERL_EPMD_ADDRESS", "127.0.0.1");
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
        command.env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "+S 2 +sbwt none +sbwtdcpu none +sbwtdio none \
             -kernel inet_dist_use_interface {127,0,0,1}",
        );
    }

    pub(super) fn script(&self, name: &str) -> PathBuf {
        self.home.join("sbin").join(name)
    }

    pub(super) fn log(&self) -> String {
        let path = self.path("log").join(format!("{}.log", self.name));
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }
}

/// The folder with `sbin/rabbitmq-server`.
fn home() -> Result<PathBuf, String> {
    if let Some(home) = std::env::var_os("WARREN_TEST_RABBITMQ_HOME") {
        let home = PathBuf::from(home);
        return if has_server(&home) {
            Ok(home)
        } else {
            Err(format!("WARREN_TEST_RABBITMQ_HOME is {}, which holds no sbin/rabbitmq-server", home.display()))
        };
    }
    // Debian and RPM packages hold one folder per version; Homebrew links to the current one.
    let packaged = std::fs::read_dir("/usr/lib/rabbitmq/lib").into_iter().flatten();
    let mut homes: Vec<PathBuf> = packaged.flatten().map(|entry| entry.path()).collect();
    homes.sort();
    homes.reverse();
    homes.push("/opt/homebrew/opt/rabbitmq".into());
    homes.push("/usr/local/opt/rabbitmq".into());
    homes.into_iter().find(|home| has_server(home)).ok_or_else(|| {
        "these tests need a RabbitMQ server and found none: install the package \
         rabbitmq-server, or name its folder in WARREN_TEST_RABBITMQ_HOME"
            .to_owned()
    })
}

fn has_server(home: &Path) -> bool {
    home.join("sbin/rabbitmq-server").is_file()
}
