//! `warren serve`: a hub, until it is told to stop.

use clap::Args;

use super::Surroundings;
use super::failure::Failure;
use super::print::talk;
use super::settings::Settings;
use super::signals::{Hangup, Heard, Stop};
use crate::config::Config;
use crate::demo;
use crate::hub::{Hub, Running};
use crate::telemetry;

/// Without --role it does everything: api, worker, keeper, devices. SIGTERM and Ctrl-C drain it, a second one ends it at once; SIGHUP reads its configuration again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  warren serve --config warren.toml\n  \
                        warren serve --role api --config warren.toml\n  \
                        warren serve --role worker,keeper --config warren.toml --set log.format=text")]
pub(super) struct Serve {
    /// What this process does: api, worker, keeper, devices
    #[arg(long, value_name = "ROLE,ROLE")]
    role: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let role = self.role.map(|roles| ("roles".to_owned(), roles));
        let load = || self.settings.load_with(around, &around.folder, role.as_slice());
        let config = load()?;
        let devices = config.serves_devices();
        telemetry::init(&config.log);
        let mut stop = Stop::listen(Hangup::Reloads)?;
        // What changes while it starts is read once it has.
        let mut changed = false;
        let starting = hub(config).start();
        tokio::pin!(starting);
        let mut running = loop {
            tokio::select! {
                running = &mut starting => break running?,
                heard = stop.heard() => match heard {
                    Heard::Stop(_) => return Ok(()),
                    Heard::Reload => changed = true,
                },
            }
        };
        let at = running.addresses;
        talk(&format!("warren: API on http://{}, admin on http://{}, metrics on http://{}", at.public, at.admin, at.internal));
        if devices {
            talk(&format!("warren: devices connect to ws://{}/v1/device/socket", at.public));
        }
        while changed || matches!(stop.heard().await, Heard::Reload) {
            changed = false;
            reload(&mut running, load());
        }
        talk("warren: draining");
        stop.unless_asked_again(running.drain()).await;
        Ok(())
    }
}

/// What is wrong with a new configuration is told, and the hub goes on with the one it has.
fn reload(running: &mut Running, loaded: Result<Config, Failure>) {
    match loaded.map(|config| running.reload(config)) {
        Ok(Ok(())) => tracing::info!("the configuration was read again"),
        Ok(Err(refused)) => tracing::error!(error = %refused, "the configuration is not taken, and stays as it was"),
        Err(failure) => tracing::error!(error = %failure, "the configuration is not taken, and stays as it was"),
    }
}

/// A hub with the handlers this binary has, for those of their kinds that are configured.
pub(super) fn hub(config: Config) -> Hub {
    let has = |kind: &str| config.kinds.iter().any(|own| own.name.as_str() == kind);
    let (echo, flaky, noop) = (has(demo::ECHO), has(demo::FLAKY), has(demo::NOOP));
    let mut hub = Hub::new(config);
    if echo {
        hub = hub.handler(demo::ECHO, demo::Echo);
    }
    if flaky {
        hub = hub.handler(demo::FLAKY, demo::Flaky);
    }
    if noop {
        hub = hub.handler(demo::NOOP, demo::Noop);
    }
    hub
}
