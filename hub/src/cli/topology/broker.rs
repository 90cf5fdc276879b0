//! The broker of a command on the topology: looked at, and held on to while it is worked on.

use broker_topology::{Facts, Live, Plan, Scope, Sight, Topology};
use serde::Serialize;

use crate::cli::failure::Failure;
use crate::config::Config;
use crate::hub::{self, broker::Session};
use crate::management::{Management, ManagementError};
use crate::topology::live;

/// Connects once before it goes on trying, so that a command says at once that nobody answers.
pub(super) async fn session(config: &Config) -> Result<Session, Failure> {
    let options = hub::broker::options(&config.broker).map_err(Failure::usage)?;
    hub::broker::reachable(&options)
        .await
        .map_err(|error| Failure::failed(format!("{error}; start the broker, or set broker.url")))?;
    Session::open(options, "topology").map_err(Failure::failed)
}

/// What is wanted, what is there, and what lies between.
pub(super) struct Compared {
    pub(super) desired: Topology,
    pub(super) live: Live,
    pub(super) plan: Plan,
    /// Absent where the management API is.
    pub(super) management: Option<Management>,
}

/// A plan for programs.
#[derive(Serialize)]
pub(super) struct View<'a> {
    /// The virtual host.
    vhost: &'a str,
    /// How much could be seen: `full` or `existence`.
    sight: Sight,
    /// The differences by kind.
    drift: broker_topology::Drift,
    #[serde(flatten)]
    plan: &'a Plan,
}

impl Compared {
    /// Looks at the broker over its management API; where there is none, and `or_glance` allows it, over AMQP.
    pub(super) async fn new(config: &Config, prune: bool, owners: &[String], or_glance: bool) -> Result<Self, Failure> {
        let desired = super::merged(config)?;
        let scope = owners.iter().fold(Scope::of(&desired, &config.broker.prefix), |scope, owner| scope.and(owner));
        let (live, unseen, management) = match look(config).await {
            Ok((management, live, unseen)) => (live, unseen, Some(management)),
            // Somebody who refuses has to be asked well; somebody who is not there can be done without.
            Err(error) if or_glance && !prune && is_absent(&error) => {
                let unseen = vec![
                    error.to_string(),
                    "over AMQP alone it is seen what is missing of exchanges and queues: no arguments, no bindings, no policies, nothing that is there besides".to_owned(),
                ];
                (glance(config, &desired).await?, unseen, None)
            }
            Err(error) => return Err(Failure::failed(error.to_string())),
        };
        let mut plan = Plan::new(&desired, &live, &scope, prune);
        plan.unseen.splice(0..0, unseen);
        Ok(Self { desired, live, plan, management })
    }

    /// Says what the plan would lose.
    pub(super) fn weigh(&mut self, config: &Config, facts: &Facts) {
        self.plan.weigh(&self.desired, &self.live, &config.broker.prefix, facts);
    }

    /// Whether a comparison that found nothing says that there is nothing.
    pub(super) fn told(&self) -> Result<(), Failure> {
        let what = match (self.live.sight, &self.live.policies) {
            (Sight::Existence, _) => "whether the broker differs",
            (_, None) if !self.desired.policies.is_empty() => "whether the broker has the policies of the configuration",
            _ => return Ok(()),
        };
        let why = self.plan.unseen.first().map_or("it was not seen", String::as_str);
        Err(Failure::failed(format!("{what} cannot be told: {why}")))
    }

    pub(super) fn view<'a>(&'a self, vhost: &'a str) -> View<'a> {
        View { vhost, sight: self.live.sight, drift: self.plan.drift(), plan: &self.plan }
    }
}

fn is_absent(error: &LookError) -> bool {
    matches!(error, LookError::Management(ManagementError::Silent { .. } | ManagementError::Slow { .. }))
}

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("{0}")]
    Settings(String),
    #[error(transparent)]
    Management(#[from] ManagementError),
}

async fn look(config: &Config) -> Result<(Management, Live, Vec<String>), LookError> {
    let management = Management::new(&config.broker).map_err(LookError::Settings)?;
    let (live, unseen) = live::read(&management).await?;
    Ok((management, live, unseen))
}

async fn glance(config: &Config, desired: &Topology) -> Result<Live, Failure> {
    let amqp = session(config).await?;
    let live = live::glance(&amqp.link, desired).await;
    amqp.close().await;
    live.map_err(|error| Failure::failed(error.to_string()))
}
