//! Closes what a device has open at the broker once it is not let in any more, over the management API.
//!
//! Best effort: where nobody answers, or the user may not, or this process dies meanwhile, the broker lets the device do nothing new that it has not done on that
//! connection before, and what it consumes from goes on until it leaves.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Broker;
use crate::management::{Management, ManagementError};

/// Names that wait to be closed at most.
const WAITING: usize = 1024;

/// Who was let in just before he was shut out has a connection that cannot be seen yet, and where the broker keeps answers for a while (`rabbitmq_auth_backend_cache`, 15 s unless
/// told) he is let in after that too: what is open is looked for again.
const AGAIN: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(25), Duration::from_secs(70)];

/// Tries while the broker does not answer, and the time between two.
const TRIES: u32 = 5;
const REST: Duration = Duration::from_secs(2);

/// Where names are handed in.
pub(super) struct Closing(mpsc::Sender<String>);

impl Closing {
    /// Closes all connections of the user of that name.
    pub(super) fn close(&self, name: String) {
        if self.0.try_send(name).is_err() {
            tracing::warn!(
                "the connections of a device that is shut out are not closed: too many wait for that, or the process leaves"
            );
        }
    }
}

/// Closes until `drain`.
pub(super) fn start(broker: &Broker, tasks: &TaskTracker, drain: &CancellationToken) -> Closing {
    let (closing, names) = mpsc::channel(WAITING);
    match Management::new(broker) {
        Ok(management) => {
            let drain = drain.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = drain.cancelled() => {}
                    () = run(management, names) => {}
                }
            });
        }
        Err(why) => tracing::warn!(why, "connections of devices that are shut out of the broker cannot be closed"),
    }
    Closing(closing)
}

async fn run(management: Management, mut names: mpsc::Receiver<String>) {
    // By when they are looked for again, and a number for those of the same moment.
    let mut again: BTreeMap<(Instant, u64), String> = BTreeMap::new();
    let mut number = 0;
    loop {
        let next = again.first_key_value().map(|((at, _), _)| *at);
        let ring = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            name = names.recv() => {
                let Some(name) = name else { return };
                close(&management, &name).await;
                for after in AGAIN {
                    if again.len() < WAITING * AGAIN.len() {
                        number += 1;
                        again.insert((Instant::now() + after, number), name.clone());
                    }
                }
            }
            () = ring => {
                if let Some((_, name)) = again.pop_first() {
                    close(&management, &name).await;
                }
            }
        }
    }
}

async fn close(management: &Management, name: &str) {
    for tried in 1..=TRIES {
        match management.delete(&["connections", "username", name], &[]).await {
            Ok(_) => return tracing::debug!(name, "what a device had open at the broker is closed"),
            Err(error @ (ManagementError::Silent { .. } | ManagementError::Slow { .. })) if tried < TRIES => {
                tracing::debug!(error = %error, name, "cannot close what a device has open at the broker; it is tried again");
                tokio::time::sleep(REST).await;
            }
            Err(error) => return tracing::warn!(error = %error, name, "cannot close what a device has open at the broker"),
        }
    }
}
