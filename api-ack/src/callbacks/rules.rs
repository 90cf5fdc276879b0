//! Which callbacks are taken and made: the same rules at the door and before each call.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ipnet::IpNet;
use url::{Host, Url};

use super::sign::SigningSecret;
use super::{guard, schedule};
use crate::store::{Micros, Target};
use database::clock;

/// The header that names the address, in HTTP and in AMQP.
pub const CALLBACK_HEADER: &str = "warren-callback";

/// The longest address, in bytes: with its tenant it is a key in the store.
pub const URL_MAX: usize = 2000;

/// What is said beside every address that is refused.
const OPEN: &str = "only addresses of the Internet are called";

/// What an operator decides about callbacks.
#[derive(Clone, Debug, PartialEq)]
pub struct CallbackSettings {
    /// Whether `http` is taken beside `https`; no by default.
    pub allow_http: bool,
    /// The ports that may be called; 443 and 8443 by default.
    pub ports: Vec<u16>,
    /// Networks that may be called though they are not the Internet; none by default.
    pub allow_networks: Vec<IpNet>,
    /// Where this hub listens, which is never called.
    pub own: Vec<SocketAddr>,
    /// What is signed with, by tenant. A tenant without a secret has no callbacks.
    pub secrets: BTreeMap<String, Vec<SigningSecret>>,
    /// The waits between calls; after the last one a callback is given up.
    pub delays: Vec<Duration>,
}

impl Default for CallbackSettings {
    fn default() -> Self {
        Self {
            allow_http: false,
            ports: vec![443, 8443],
            allow_networks: Vec::new(),
            own: Vec::new(),
            secrets: BTreeMap::new(),
            delays: schedule::DELAYS.to_vec(),
        }
    }
}

/// Why a callback is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// The address is no good: what is wrong with it, and what would be right.
    #[error("{0}")]
    Url(String),
    /// Nothing goes out unsigned.
    #[error("the tenant has no secret to sign callbacks with: the operator adds one as [[callback_secret]]")]
    NoSecret,
}

/// The rules. Cheap to clone; all clones see a replacement at once.
#[derive(Clone, Debug, Default)]
pub struct CallbackRules(Arc<RwLock<Arc<CallbackSettings>>>, Arc<AtomicU64>);

impl CallbackRules {
    /// As `settings` say.
    pub fn new(settings: CallbackSettings) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(settings))), Arc::default())
    }

    /// Goes by other settings from here on.
    pub fn replace(&self, settings: CallbackSettings) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self.1.fetch_add(1, Ordering::Release);
    }

    /// Changes with every replacement: a connection that was made under other rules is not to be used again.
    pub fn revision(&self) -> u64 {
        self.1.load(Ordering::Acquire)
    }

    fn now(&self) -> Arc<CallbackSettings> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn delays(&self) -> Vec<Duration> {
        self.now().delays.clone()
    }

    /// What the tenant's callbacks are signed with at `at`.
    pub(super) fn secrets(&self, tenant: &str, at: Micros) -> Vec<SigningSecret> {
        let settings = self.now();
        settings.secrets.get(tenant).into_iter().flatten().filter(|secret| secret.counts(at)).cloned().collect()
    }

    /// Whether a job of `tenant` may have a callback to `url`.
    ///
    /// # Errors
    /// As [`CallbackError`].
    pub fn check(&self, tenant: &str, url: &str) -> Result<Target, CallbackError> {
        let target = self.check_url(url).map_err(CallbackError::Url)?;
        match self.secrets(tenant, clock::now()).is_empty() {
            true => Err(CallbackError::NoSecret),
            false => Ok(target),
        }
    }

    /// Whether `url` may be called, as far as it says so itself; what its name stands for is looked at with each call.
    ///
    /// # Errors
    /// With what is wrong with it, and what would be right.
    pub fn check_url(&self, url: &str) -> Result<Target, String> {
        let settings = self.now();
        if url.len() > URL_MAX {
            return Err(format!("has {} bytes, {URL_MAX} at most are taken", url.len()));
        }
        // A parser for browsers would leave some of these out without a word.
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains('\\') {
            return Err("must be a URL of visible ASCII characters, as in https://example.com/hook".to_owned());
        }
        let parsed = Url::parse(url).map_err(|_| "must be an absolute URL, as in https://example.com/hook".to_owned())?;
        if parsed.as_str().len() > URL_MAX {
            return Err(format!("has {} bytes as it would be called, {URL_MAX} at most are taken", parsed.as_str().len()));
        }
        match parsed.scheme() {
            "https" => {}
            "http" if settings.allow_http => {}
            "http" => return Err("must begin with https://: http is not taken here".to_owned()),
            _ => return Err("must begin with https://".to_owned()),
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("holds a user or a password: who calls is told by the signature".to_owned());
        }
        if parsed.fragment().is_some() {
            return Err("holds a `#`, which is never sent: remove it and what follows".to_owned());
        }
        let (Some(host), Some(port)) = (parsed.host(), parsed.port_or_known_default()) else {
            return Err("names no host".to_owned());
        };
        if !settings.ports.contains(&port) {
            let taken: Vec<String> = settings.ports.iter().map(u16::to_string).collect();
            return Err(format!("has the port {port}; taken are: {}", taken.join(", ")));
        }
        let addresses = match &host {
            Host::Ipv4(v4) => vec![IpAddr::V4(*v4)],
            Host::Ipv6(v6) => vec![IpAddr::V6(*v6)],
            // Whatever a resolver says: these mean the machine itself.
            Host::Domain(name) if is_localhost(name) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Host::Domain(_) => Vec::new(),
        };
        // Of the two of `localhost` one will do.
        let refused = |address: &IpAddr| Some((*address, settings.refusal(SocketAddr::new(*address, port))?));
        let refused: Vec<(IpAddr, &str)> = addresses.iter().filter_map(refused).collect();
        if let Some((address, why)) = refused.first().filter(|_| refused.len() == addresses.len()) {
            return Err(format!("leads to {address}, which is {why}: {OPEN}"));
        }
        Ok(Target { host: format!("{host}:{port}"), url: parsed.into() })
    }

    /// Whether a call may connect to `address`, which a name leads to.
    ///
    /// # Errors
    /// With why not. It does not say where the name leads: whoever reads the job may not know the names of this network.
    pub fn admits(&self, address: SocketAddr) -> Result<(), String> {
        match self.now().refusal(address) {
            None => Ok(()),
            Some(why) => Err(format!("leads to an address that is {why}: {OPEN}")),
        }
    }
}

impl CallbackSettings {
    /// Why it is not called, in words that follow "is".
    fn refusal(&self, address: SocketAddr) -> Option<&'static str> {
        let inner = guard::inner(address.ip());
        // Where the hub listens at all on a port, every address of this machine's own loopback may lead to it.
        let itself = |own: &SocketAddr| own.port() == address.port() && (guard::inner(own.ip()) == inner || inner.is_loopback());
        if self.own.iter().any(itself) {
            return Some("this hub itself");
        }
        let why = guard::refusal(address.ip())?;
        let allowed = self.allow_networks.iter().any(|network| network.contains(&address.ip()) || network.contains(&inner));
        (!allowed).then_some(why)
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> CallbackSettings {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None).unwrap();
        CallbackSettings { secrets: BTreeMap::from([("acme".to_owned(), vec![secret])]), ..CallbackSettings::default() }
    }

    #[test]
    fn addresses_of_the_internet_are_taken_as_they_are_called() {
        let rules = CallbackRules::new(open());
        for (url, host, stored) in [
            ("https://example.com/hook", "example.com:443", "https://example.com/hook"),
            ("https://EXAMPLE.com:8443/a?token=1&x=%20", "example.com:8443", "https://example.com:8443/a?token=1&x=%20"),
            ("https://8.8.8.8", "8.8.8.8:443", "https://8.8.8.8/"),
            ("https://[2606:4700::1111]:443/", "[2606:4700::1111]:443", "https://[2606:4700::1111]/"),
        ] {
            assert_eq!(rules.check("acme", url), Ok(Target { url: stored.to_owned(), host: host.to_owned() }), "{url}");
        }
    }

    #[test]
    fn all_else_is_refused_with_what_would_be_right() {
        let rules = CallbackRules::new(open());
        let long = format!("https://example.com/{}", "a".repeat(URL_MAX));
        for (url, why) in [
            ("", "absolute URL"),
            ("/hook", "absolute URL"),
            ("example.com", "absolute URL"),
            ("https://", "absolute URL"),
            ("https://ex ample.com", "visible ASCII"),
            ("https://example.com\\@10.0.0.1/", "visible ASCII"),
            ("https://example.com/\nx", "visible ASCII"),
            ("https://bücher.example/", "visible ASCII"),
            (&long, "at most"),
            ("http://example.com/", "http is not taken"),
            ("ftp://example.com/", "https://"),
            ("file:///etc/passwd", "https://"),
            ("gopher://example.com:70/", "https://"),
            ("https://user:pass@example.com/", "password"),
            ("https://example.com@10.0.0.1/", "password"),
            ("https://example.com/#there", "`#`"),
            ("https://example.com:22/", "port 22; taken are: 443, 8443"),
            ("https://example.com:5672/", "port 5672"),
            ("https://example.com:15672/", "port 15672"),
            ("https://127.0.0.1/", "loopback"),
            ("https://127.1/", "loopback"),
            ("https://2130706433/", "loopback"),
            ("https://0x7f.1/", "loopback"),
            ("https://0177.0.0.1/", "loopback"),
            ("https://0.0.0.0/", "unspecified"),
            ("https://[::1]/", "loopback"),
            ("https://[::ffff:10.0.0.1]/", "private"),
            ("https://[64:ff9b::169.254.169.254]/", "link-local"),
            ("https://169.254.169.254/latest/meta-data", "link-local"),
            ("https://100.64.0.1/", "a provider's own"),
            ("https://[fd00::1]/", "private"),
            ("https://localhost/", "loopback"),
            ("https://LOCALHOST./", "loopback"),
            ("https://me.localhost/", "loopback"),
        ] {
            let refused = rules.check("acme", url).unwrap_err().to_string();
            assert!(refused.contains(why), "{url}: {refused}");
        }
    }

    #[test]
    fn exceptions_are_as_wide_as_they_are_told_and_the_hub_is_none() {
        let own = vec!["10.0.0.5:8443".parse().unwrap(), "8.8.8.8:443".parse().unwrap()];
        let allow_networks = vec!["10.0.0.0/8".parse().unwrap()];
        let rules =
            CallbackRules::new(CallbackSettings { allow_http: true, ports: vec![80, 8443, 443], allow_networks, own, ..open() });
        for url in ["http://10.1.2.3/", "https://[::ffff:10.0.0.5]/", "https://10.0.0.5/"] {
            assert!(rules.check("acme", url).is_ok(), "{url}");
        }
        for url in ["http://127.0.0.1/", "http://192.168.0.1/", "http://169.254.169.254/", "http://localhost/"] {
            assert!(rules.check("acme", url).is_err(), "{url}");
        }
        for url in ["https://10.0.0.5:8443/", "https://[::ffff:10.0.0.5]:8443/", "https://8.8.8.8/"] {
            assert!(rules.check("acme", url).unwrap_err().to_string().contains("this hub itself"), "{url}");
        }
        assert!(rules.admits("10.0.0.5:8443".parse().unwrap()).is_err());
        assert!(rules.admits("10.0.0.5:80".parse().unwrap()).is_ok());
    }

    #[test]
    fn nothing_goes_out_unsigned() {
        let rules = CallbackRules::new(open());
        let url = "https://example.com/hook";
        assert_eq!(rules.check("other", url), Err(CallbackError::NoSecret));
        let of = |not_after| SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", not_after).unwrap();
        let two = |old| BTreeMap::from([("acme".to_owned(), vec![of(None), of(Some(old))])]);
        let (now, hour) = (clock::now(), 3_600_000_000);
        for (old, count) in [(now + hour, 2), (now - hour, 1)] {
            rules.replace(CallbackSettings { secrets: two(old), ..open() });
            assert_eq!(rules.secrets("acme", now).len(), count);
        }
        let over = BTreeMap::from([("acme".to_owned(), vec![of(Some(now - hour))])]);
        rules.replace(CallbackSettings { secrets: over, ..open() });
        assert_eq!(rules.check("acme", url), Err(CallbackError::NoSecret));
    }
}
