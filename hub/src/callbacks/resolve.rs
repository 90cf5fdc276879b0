//! Names, resolved for one connection, and looked at before it is made.

use std::net::SocketAddr;
use std::sync::Arc;

use api_ack::callbacks::CallbackRules;
use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// What turns names into addresses.
#[async_trait]
pub(super) trait Lookup: Send + Sync + 'static {
    /// The addresses of `name`, with this port.
    async fn lookup(&self, name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>>;
}

/// The system's resolver.
pub(super) struct Names;

#[async_trait]
impl Lookup for Names {
    async fn lookup(&self, name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name, port)).await?.collect())
    }
}

/// Gives a connection to `port` the addresses of its name, if all of them are admitted.
pub(super) struct Resolver {
    pub(super) rules: CallbackRules,
    pub(super) names: Arc<dyn Lookup>,
    pub(super) port: u16,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (rules, names, port) = (self.rules.clone(), self.names.clone(), self.port);
        Box::pin(async move {
            let addresses = names.lookup(name.as_str(), port).await?;
            for address in &addresses {
                rules.admits(*address).map_err(|why| format!("refused: `{}` {why}", name.as_str()))?;
            }
            // A connector takes the port of the URL, which is this one.
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
