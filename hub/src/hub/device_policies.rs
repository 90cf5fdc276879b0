//! The policies of devices' queues: seen to before devices connect, and looked at again.
//!
//! AMQP sets no policies. Where the hub declares, it sets its own where they are missing, over the management API; it changes none that
//! is there. Without them a queue of a device has no limits: no device is let in then, nor before they were seen; at a shard beside the main
//! broker, none gets a queue. Once they were, a broker that is away changes nothing: rows do not wait for it.

use std::time::Duration;

use broker_topology::{LivePolicy, Names, Severity, TierLimits};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{Broker, MAIN, Manage};
use crate::management::{Management, ManagementError};
use crate::topology::carry_out::set_policy;

/// Between two looks while something is wrong.
const AGAIN: Duration = Duration::from_secs(5);

/// Between two looks while nothing is.
const EVERY: Duration = Duration::from_secs(60);

/// Says in `fits` what is wrong at the broker that is called `shard`, or nothing, until `drain`.
pub(super) async fn watch(
    shard: String,
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
            Err(why) => return tell(&shard, &fits, Some(format!("their policies cannot be seen: {why}"))),
        };
        let mut seen = false;
        loop {
            let looked = look(&management, manage, &names, &limits).await;
            let wait = if matches!(looked, Ok(None)) { EVERY } else { AGAIN };
            let is_look = looked.is_ok();
            if let Some(wrong) = verdict(seen, looked) {
                tell(&shard, &fits, wrong);
            }
            seen |= is_look;
            tokio::time::sleep(wait).await;
        }
    };
    tokio::select! {
        () = drain.cancelled() => {}
        () = watching => drain.cancelled().await,
    }
}

/// What is wrong, or nothing, by a look; `None` when it stays as it was `seen` before, since nobody can look.
fn verdict(seen: bool, looked: Result<Option<String>, ManagementError>) -> Option<Option<String>> {
    match looked {
        Ok(wrong) => Some(wrong),
        Err(error) if seen => {
            tracing::debug!(error = %error, "the policies of devices cannot be seen; they are taken for what they were");
            None
        }
        Err(error) => Some(Some(format!("their policies cannot be seen: {error}"))),
    }
}

fn tell(shard: &str, fits: &watch::Sender<Option<String>>, wrong: Option<String>) {
    fits.send_if_modified(|known| {
        let changed = *known != wrong;
        match &wrong {
            Some(why) if changed && shard == MAIN => tracing::warn!(why, "devices cannot connect"),
            None if changed && shard == MAIN => tracing::info!("devices can connect"),
            Some(why) if changed => tracing::warn!(shard, why, "devices get no queues at this broker"),
            None if changed => tracing::info!(shard, "devices can have their queues at this broker"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_once_holds_while_nobody_can_look() {
        let away = || Err(ManagementError::Silent { at: "http://127.0.0.1:15672".to_owned(), why: "refused".to_owned() });
        let never_seen = verdict(false, away()).flatten().unwrap_or_default();
        assert!(never_seen.contains("cannot be seen"), "{never_seen}");
        assert_eq!(verdict(true, away()), None, "as it was");
        let wrong = Some("no length".to_owned());
        assert_eq!((verdict(true, Ok(None)), verdict(true, Ok(wrong.clone()))), (Some(None), Some(wrong)));
    }
}
