//! Whether the broker is one that devices may be let into: older ones tell anybody who has logged in how much is in whose queue.

use std::sync::Arc;
use std::time::Duration;

use messaging::connection::BrokerOptions;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// From one look to the next: while all is well, and while it is not.
const EVERY: Duration = Duration::from_secs(300);
const AGAIN: Duration = Duration::from_secs(2);

/// Looks at what the nodes say of themselves, until `drain`; tells why devices are not let in, while they are not. With `trusted` they are.
pub(super) fn watch(
    broker: &Arc<BrokerOptions>,
    trusted: bool,
    tasks: &TaskTracker,
    drain: &CancellationToken,
) -> watch::Receiver<Option<String>> {
    let unknown = || "the broker has not said yet which version it is".to_owned();
    let (told, unfit) = watch::channel((!trusted).then(unknown));
    if !trusted {
        let (broker, drain) = (broker.clone(), drain.clone());
        tasks.spawn(async move {
            let looking = async {
                loop {
                    let seen = look(&broker).await;
                    let wait = if seen == Some(None) { EVERY } else { AGAIN };
                    if let Some(why) = seen {
                        tell(&told, why);
                    }
                    tokio::time::sleep(wait).await;
                }
            };
            tokio::select! {
                () = drain.cancelled() => {}
                () = looking => {}
            }
        });
    }
    unfit
}

/// What is wrong with the nodes that answer, if anything is; `None` when none does: then it is what it was.
async fn look(broker: &BrokerOptions) -> Option<Option<String>> {
    let mut seen = None;
    for url in &broker.urls {
        if let Some(Ok(greeting)) = broker.glance(url).await.greeting {
            let why = (!fits(&greeting.version)).then(|| {
                format!(
                    "RabbitMQ {} shows anybody who has logged in how much is in whose queue: have 4.2.10, 4.3.5 or later, or say \
                     `devices.trusted_network = true`",
                    greeting.version
                )
            });
            if why.is_some() {
                return Some(why);
            }
            seen = Some(None);
        }
    }
    seen
}

fn tell(told: &watch::Sender<Option<String>>, why: Option<String>) {
    told.send_if_modified(|known| {
        let changed = *known != why;
        match &why {
            Some(why) if changed => tracing::warn!(why, "the broker is to let no device in"),
            None if changed => tracing::info!("the broker may let devices in"),
            _ => {}
        }
        *known = why;
        changed
    });
}

/// Whether this version has what was found out in 2026 about passive declares and topics mended. What cannot be read has not.
fn fits(version: &str) -> bool {
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let (Some(major), Some(minor), Some(patch)) = (parts.next(), parts.next(), parts.next()) else { return false };
    match (major, minor) {
        (4, 2) => patch >= 10,
        (4, 3) => patch >= 5,
        other => other > (4, 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_brokers_that_were_mended_are_fit() {
        for version in ["4.2.10", "4.2.11", "4.3.5", "4.3.6", "4.3.10-beta.1", "4.4.0", "5.0.0"] {
            assert!(fits(version), "{version}");
        }
        for version in ["3.10.8", "3.13.20", "4.0.99", "4.1.12", "4.2.9", "4.3.0", "4.3.4", "", "4.3", "four"] {
            assert!(!fits(version), "{version}");
        }
    }
}
