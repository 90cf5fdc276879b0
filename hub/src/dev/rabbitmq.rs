//! How RabbitMQ and `epmd` are told what to be: files and environment, nothing inherited.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::folder::{Layout, write_private};
use super::install::Install;
use super::{DevError, Ports};

/// Writes the files a node is started from.
pub(super) fn configure(layout: &Layout, ports: Ports) -> Result<(), DevError> {
    let Ports { amqp, management, .. } = ports;
    // Memory and disk: a development machine does other things too. The guest is let in from this machine only.
    let conf = format!(
        "# Written by `warren dev` at every start.\n\
         listeners.tcp.local = 127.0.0.1:{amqp}\n\
         management.tcp.ip = 127.0.0.1\n\
         management.tcp.port = {management}\n\
         loopback_users.guest = true\n\
         heartbeat = 10\n\
         vm_memory_high_watermark.relative = 0.3\n\
         disk_free_limit.absolute = 100MB\n"
    );
    write_private(&layout.of_node("rabbitmq.conf"), conf.as_bytes(), 0o600)?;
    write_private(&layout.of_node("advanced.config"), b"[].\n", 0o600)?;
    write_private(&layout.of_node("enabled_plugins"), b"[rabbitmq_management].\n", 0o600)
}

/// Erlang's port mapper, in the foreground: it is ours to end.
pub(super) fn epmd(install: &Install, layout: &Layout, ports: Ports) -> Result<Command, DevError> {
    let mut command = Command::new(&install.epmd);
    command.args(["-port", &ports.epmd.to_string(), "-address", "127.0.0.1"]);
    finish(command, install, layout)
}

/// The broker.
pub(super) fn server(install: &Install, layout: &Layout, ports: Ports) -> Result<Command, DevError> {
    let mut command = finish(Command::new(install.server()), install, layout)?;
    let files = [
        ("RABBITMQ_MNESIA_BASE", "data"),
        ("RABBITMQ_LOG_BASE", "log"),
        ("RABBITMQ_PID_FILE", "rabbitmq.pid"),
        ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
        ("RABBITMQ_CONFIG_FILES", "conf.d"),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced.config"),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", "enabled_plugins"),
        ("RABBITMQ_GENERATED_CONFIG_DIR", "generated"),
    ];
    command.envs(files.map(|(name, file)| (name, layout.of_node(file))));
    named(&mut command, ports);
    command
        .env("RABBITMQ_DIST_PORT", ports.dist.to_string())
        // Not the network's business.
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}")
        // Neither the node nor what it runs may start an epmd of its own, which would outlive us.
        .env("ERL_FLAGS", "-start_epmd false")
        // The script then becomes the broker instead of waiting beside it, so that signals reach it.
        .env("RUNNING_UNDER_SYSTEMD", "true");
    Ok(command)
}

/// Gives every quorum queue without a leader one. After a start RabbitMQ 3.x may forget to elect the only member there is, and the queue
/// then takes and gives nothing until somebody asks for an election (rabbitmq/rabbitmq-server#10070; seen on 3.10.8).
pub(super) fn election(install: &Install, layout: &Layout, ports: Ports) -> Result<Command, DevError> {
    const ELECT: &str =
        "[ra:trigger_election({element(1, S), node()}) || S <- ets:tab2list(ra_state), element(2, S) =:= follower].";
    let mut command = finish(Command::new(install.ctl()), install, layout)?;
    named(&mut command, ports);
    command.args(["eval", ELECT]).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

/// Which node it is, or is about.
fn named(command: &mut Command, ports: Ports) {
    command
        .env("RABBITMQ_NODENAME", "warren@localhost")
        // Not the machine's own settings.
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("ERL_EPMD_PORT", ports.epmd.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1");
}

/// Output to our log, no input, and an environment that holds only what we say.
fn finish(mut command: Command, install: &Install, layout: &Layout) -> Result<Command, DevError> {
    let path = layout.output();
    let open = || {
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|source| DevError::NotWritable { path: path.clone(), source })
    };
    command.stdin(Stdio::null()).stdout(open()?).stderr(open()?);
    command.env_clear().env("PATH", &install.search_path).env("HOME", layout.of_node("home")).env("LANG", "C.UTF-8");
    // The folder warren was started in may be removed while the node runs.
    command.current_dir(&layout.rabbitmq);
    Ok(command)
}

/// The last line the broker printed.
pub(super) fn last_line(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // `epmd` writes there too, and is not who was asked.
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("epmd: "))?;
    Some(line.chars().take(200).collect())
}
