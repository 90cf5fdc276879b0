//! The policies of devices' queues: seen to before devices connect, and looked at again.
//!
//! AMQP sets no policies. Where the hub declares, it sets its own where they are missing, over the management API; it changes none that
//! is there. Without them a queue of a device has no limits: no device is let in then.

use std::time::Duration;

use broker_topology::{LivePolicy, Names, Severity, TierLimits};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Broker, Manage};
use crate::management::{Management, ManagementError};
use crate::topology::carry_out::set_policy;

/// Between two looks while something is wrong.
const AGAIN: Duration = Duration::from_secs(5);

/// Between two looks while nothing is.
const EVERY: Duration = Duration::from_secs(60);

/// Says in `fits` what is wrong, or nothing, until `drain`.
pub(super) async fn watch(
    broker: Broker,
    manage: Manage,
    names: Names,
    limits: TierLimits,
    fits: watch::Sender<Option<String>>,
    drain: CancellationToken,
) {
    let watching = async {
        let management = match Management::new(&broker) {
            Ok(management) => management,
            Err(why) => return tell(&fits, Some(format!("their policies cannot be seen: {why}"))),
        };
        loop {
            let wrong = match look(&management, manage, &names, &limits).await {
                Ok(wrong) => wrong,
                Err(error) => Some(format!("their policies cannot be seen: {error}")),
            };
            let wait = if wrong.is_some() { AGAIN } else { EVERY };
            tell(&fits, wrong);
            tokio::time::sleep(wait).await;
        }
    };
    tokio::select! {
        () = drain.cancelled() => {}
        () = watching => drain.cancelled().await,
    }
}

fn tell(fits: &watch::Sender<Option<String>>, wrong: Option<String>) {
    fits.send_if_modified(|known| {
        let changed = *known != wrong;
        match &wrong {
            Some(why) if changed => tracing::warn!(why, "devices cannot connect"),
            None if changed => tracing::info!("devices can connect"),
            _ => {}
        }
        *known = wrong;
        changed
    });
}

/// Sets what is missing, if it may, and says what is wrong after that.
async fn look(
    management: &Management,
    manage: Manage,
    names: &Names,
    limits: &TierLimits,
) -> Result<Option<String>, ManagementError> {
    let vhost = management.vhost().to_owned();
    let mut policies: Vec<LivePolicy> = management.get(&["policies", &vhost], &[]).await?;
    if manage == Manage::Declare {
        let own = mobile_delivery::topology(names, limits).policies;
        let missing: Vec<_> = own.iter().filter(|own| !policies.iter().any(|policy| policy.name == own.name)).collect();
        for policy in &missing {
            set_policy(management, policy).await?;
            tracing::info!(policy = policy.name, "a policy was set");
        }
        if !missing.is_empty() {
            policies = management.get(&["policies", &vhost], &[]).await?;
        }
    }
    let operators: Vec<LivePolicy> = management.get(&["operator-policies", &vhost], &[]).await?;
    let wrong = broker_topology::unfit_policies(names, &policies, &operators);
    let errors: Vec<String> =
        wrong.iter().filter(|violation| violation.severity == Severity::Error).map(ToString::to_string).collect();
    Ok((!errors.is_empty()).then(|| errors.join("; ")))
}
