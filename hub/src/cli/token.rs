//! `warren token`, and the tokens that commands make for themselves.

use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};
use door::auth::{self, Grant};
use door::scope::JOBS_ADMIN;
use jiff::{Span, SpanRelativeTo};
use serde_json::json;

use super::Surroundings;
use super::failure::Failure;
use super::print;
use super::settings::Settings;
use crate::auth::DEFAULT_ISSUER;
use crate::config::{Algorithm, Auth, AuthKey, Config, KeyMaterial, Secret};

/// Where `warren dev` keeps its secret, from the folder it runs in.
const DEV_SECRET: &str = ".warren/token.secret";
/// What a token of `warren dev` says in `kid`.
const DEV_KEY: &str = "dev";
/// How long a token is good that a command makes for itself.
const OWN: Duration = Duration::from_secs(300);

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Print a token signed with the configured HS256 key, or with the one of `warren dev` in this folder
    #[command(after_help = "Examples:\n  warren token mint --tenant acme --subject shop --scope 'jobs:submit jobs:read'\n  \
                            warren token mint --tenant acme --subject app --scope 'devices:write messages:send messages:read'\n  \
                            warren token mint --tenant '*' --subject ann --scope jobs:admin --ttl 8h")]
    Mint(Mint),
}

#[derive(Debug, Args)]
pub(super) struct Mint {
    /// Whose jobs and devices; `*` with the scope jobs:admin means all tenants
    #[arg(long)]
    tenant: String,
    /// Who it is within the tenant
    #[arg(long)]
    subject: String,
    /// What it may do, apart by spaces or commas: jobs:submit, jobs:read, jobs:read:all, jobs:cancel, jobs:admin; for devices devices:write,
    /// devices:read, messages:send, messages:read, and device, for the device that --subject names
    #[arg(long)]
    scope: Vec<String>,
    /// For how long, as in 30m, 8h, 30d
    #[arg(long, default_value = "1h", value_parser = duration)]
    ttl: Duration,
    /// As a JSON object with `token`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

fn duration(text: &str) -> Result<Duration, String> {
    let read = text.parse::<Span>().ok().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let read = read.and_then(|span| Duration::try_from(span).ok()).filter(|span| span.as_secs() > 0);
    read.ok_or_else(|| "write a time with its unit, as in 30m, 8h, 30d".to_owned())
}

impl Token {
    pub(super) fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let Self::Mint(asked) = self;
        let config = asked.settings.load(around)?;
        let scopes: Vec<String> = asked
            .scope
            .iter()
            .flat_map(|text| text.split([' ', ',']))
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        if scopes.is_empty() {
            return Err(Failure::usage("a token needs a scope: give --scope 'jobs:submit jobs:read', for instance"));
        }
        let auth = signing(&config, &around.folder).ok_or_else(|| {
            Failure::usage(
                "there is no HS256 key here: configure one under [[auth.keys]], or go to a folder where `warren dev` ran",
            )
        })?;
        let token = mint(&auth, Grant { tenant: asked.tenant, subject: asked.subject, scopes, valid: asked.ttl })?;
        if asked.json { print::json(&json!({ "token": token })) } else { print::data(&(token + "\n")) }
    }
}

/// The configuration's `auth` with a key to sign with: a configured HS256 one, or that of `warren dev` in `folder`.
fn signing(config: &Config, folder: &Path) -> Option<Auth> {
    let mut auth = config.auth.clone();
    auth.keys.retain(|key| key.algorithm == Algorithm::Hs256);
    if auth.keys.is_empty() {
        let secret = std::fs::read_to_string(folder.join(DEV_SECRET)).ok()?;
        add_dev_key(&mut auth, Secret::new(secret.trim()));
    }
    Some(auth)
}

/// Makes `auth` believe the tokens of `warren dev` too.
pub(super) fn add_dev_key(auth: &mut Auth, secret: Secret) {
    auth.issuer.get_or_insert_with(|| DEFAULT_ISSUER.to_owned());
    auth.keys.push(AuthKey { id: DEV_KEY.to_owned(), algorithm: Algorithm::Hs256, material: KeyMaterial::Secret(secret) });
}

/// A token signed with the last HS256 key of `auth`.
pub(super) fn mint(auth: &Auth, grant: Grant) -> Result<String, Failure> {
    let key = crate::auth::signer(auth).ok_or_else(|| Failure::usage("there is no HS256 key to sign with"))?;
    auth::mint(&key, crate::auth::issuer(auth), &auth.audience, &grant)
        .map_err(|error| Failure::usage(format!("no token: {error}")))
}

/// A short-lived token for a command of this machine's operator.
///
/// `None` when there is nothing to sign with. The subject is what the record of dead letters shows.
pub(super) fn own(config: &Config, around: &Surroundings) -> Option<Result<String, Failure>> {
    let auth = signing(config, &around.folder)?;
    let user = around.variables.iter().find(|(name, _)| name == "USER").map_or("", |(_, user)| user);
    let subject = format!("cli:{user}").trim_end_matches(':').to_owned();
    Some(mint(&auth, Grant { tenant: "*".to_owned(), subject, scopes: vec![JOBS_ADMIN.to_owned()], valid: OWN }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Sources;

    #[test]
    fn a_token_made_here_is_believed_there() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".warren")).unwrap();
        std::fs::write(folder.path().join(DEV_SECRET), "0123456789abcdef0123456789abcdef\n").unwrap();
        let mut config = crate::config::Config::load(&Sources::default()).unwrap().config;
        let around = Surroundings { folder: folder.path().to_owned(), ..Surroundings::default() };
        let token = own(&config, &around).unwrap().unwrap();
        add_dev_key(&mut config.auth, Secret::new("0123456789abcdef0123456789abcdef"));
        let caller = crate::auth::verifier(&config.auth).unwrap().verify(token.as_bytes()).unwrap();
        assert!(caller.has(JOBS_ADMIN));
        assert_eq!((caller.tenant.as_str(), caller.subject.as_str()), ("*", "cli"));
    }

    #[test]
    fn a_ttl_has_a_unit() {
        assert_eq!(duration("30d").unwrap().as_secs(), 30 * 86_400);
        for text in ["30", "0s", "-1h", "soon", "1mo"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
