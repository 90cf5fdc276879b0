//! `warren health`: whether the hub of this configuration can do its roles; what a container's health check calls.

use std::time::Duration;

use clap::Args;
use reqwest::{Client, StatusCode, Url, redirect};

use super::Surroundings;
use super::client::local;
use super::failure::Failure;
use super::print;
use super::settings::Settings;

/// The hub itself gives its store 2 s; a health check is given 5 s as a rule.
const PATIENCE: Duration = Duration::from_secs(4);

/// More than any list of what is away.
const LONGEST: usize = 4096;

/// Asks `/ready`: 0 when it can do its roles, also `degraded`, with what is away; 1 when it cannot, or does not answer in 4 s.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  warren health\n  warren health --url http://127.0.0.1:8082\n  \
                        warren health --config /etc/warren/warren.toml")]
pub(super) struct Health {
    /// A listener of the hub [default: listen.internal of the configuration, http://127.0.0.1:8082]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

impl Health {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let base = match &self.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => local(self.settings.load(around)?.listen.internal),
        };
        let url = Url::parse(&format!("{base}/ready")).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| Failure::usage(format!("`{base}` is no URL such as http://127.0.0.1:8082")))?;
        let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(PATIENCE).build();
        let client = client.map_err(|error| Failure::failed(format!("cannot make an HTTP client: {error}")))?;
        let silent = |_| Failure::failed(format!("no hub answers at {base} in {PATIENCE:?}: start it, or look at its log"));
        let answer = client.get(url).send().await.map_err(silent)?;
        let (status, told) = (answer.status(), answer.text().await.map_err(silent)?);
        match (status, told.split_once('\n')) {
            (StatusCode::OK, Some(("ready" | "degraded", _))) => print::data(&told),
            (StatusCode::SERVICE_UNAVAILABLE, Some(("not ready", why))) => {
                let why = print::short(&why.lines().collect::<Vec<_>>().join("; "), LONGEST);
                Err(Failure::failed(print::shown(&format!("the hub at {base} is not ready: {why}"))))
            }
            _ => Err(Failure::failed(format!(
                "what answers at {base} is no hub (status {}): name one of its listeners with --url",
                status.as_u16()
            ))),
        }
    }
}
