//! Kinds whose work is a call: a real service that answers, fails, throttles and hangs, behind real hubs.

mod breaker;
mod completion;
mod outcomes;
mod trust;

use warren_tests::broker::{Broker, Vhost};
use warren_tests::downstream::Downstream;
use warren_tests::hub::{HubOptions, HubProcess};
use warren_tests::postgres::Postgres;

use crate::world::{Keep, settled};

/// A broker, a database, and hubs on them.
pub struct Stage {
    pub vhost: Vhost,
    store_url: String,
}

impl Stage {
    pub async fn set(keep: Keep) -> Self {
        let store_url = match keep {
            Keep::Sqlite => String::new(),
            Keep::Postgres => Postgres::shared().await.database().await,
        };
        Self { vhost: Broker::shared().await.vhost().await, store_url }
    }

    pub fn vhost(&self) -> &Vhost {
        &self.vhost
    }

    pub fn options(&self, toml: &str) -> HubOptions {
        HubOptions {
            broker_url: self.vhost.url(),
            store_url: self.store_url.clone(),
            extra_toml: toml.to_owned(),
            ..HubOptions::default()
        }
    }

    pub async fn hub(&self, toml: &str) -> HubProcess {
        let hub = HubProcess::start(&self.options(toml)).await;
        settled(&hub).await;
        hub
    }
}

/// A kind that calls `service`, with more of its own keys.
pub fn kind(name: &str, service: &Downstream, more: &str) -> String {
    format!(
        "[[kind]]\nname = \"{name}\"\nworker = \"http\"\n{more}\n\
         [kind.retry]\ndelays = [\"1s\"]\nmax_attempts = 2\n\
         [kind.http]\nurl = \"{}/work?for={name}\"\n",
        service.origin()
    )
}
