//! Tokens that no key here signed: what their senders are told, and how often they are.
//!
//! Each is counted under its client's address; beyond the rate of that address such a token is answered 429 instead of 401. An
//! IPv6 client is its /64, which one household or machine has to itself. A token that a key here signed is never counted, also
//! when it has expired, and a good one is let in however many bad ones came from the same address: behind it may be a whole
//! office, or a proxy that nobody listed.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::current::Current;
use crate::problem::{Code, Problem};
use crate::rates::{Counts, Rate};

/// The bits of an IPv6 address that are a client's.
const PREFIX: u128 = !0 << 64;

/// Counts them for this process; bounded as [`rates`](crate::rates) are.
#[derive(Default)]
pub(super) struct Guesses(Option<Counts>);

impl Guesses {
    /// So many from one address.
    pub(super) fn new(rate: Rate) -> Self {
        Self(Some(Counts::new("client", rate)))
    }

    /// What one more is answered. `why` is for the log: it would tell a stranger which keys there are.
    pub(super) fn refuse(&self, why: &str) -> Problem {
        let request = Current::get();
        let client = request.as_ref().and_then(Current::client);
        if let (Some(counts), Some(client)) = (&self.0, client)
            && let Err(beyond) = counts.take(&network(client))
        {
            let detail = "too many tokens from this address were not accepted: wait for `Retry-After`, and get another token";
            return Problem::new(Code::TooManyBadTokens, detail).retry_after(beyond.retry_after.unwrap_or(1));
        }
        let (id, client) = (request.as_ref().map(Current::id_text), client.map(tracing::field::display));
        tracing::info!(request.id = id, client, "a token is not accepted: {why}");
        let detail =
            "no key of this hub signed this token: get another from its issuer; the hub's log says what is wrong with it";
        Problem::new(Code::TokenInvalid, detail)
    }
}

impl fmt::Debug for Guesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guesses").field(&self.0.is_some()).finish()
    }
}

fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(client) => IpAddr::V6(Ipv6Addr::from_bits(client.to_bits() & PREFIX)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::HeaderMap;

    use std::num::NonZeroU32;

    use super::*;

    async fn from(guesses: &Guesses, client: &str) -> Code {
        let current = Current::new(&HeaderMap::new(), Some(client.parse().unwrap()));
        current.scope(async { guesses.refuse("a test").code }).await
    }

    #[tokio::test]
    async fn one_address_has_so_many_and_a_64_is_one_address() {
        let two = NonZeroU32::new(2).unwrap();
        let guesses = Guesses::new(Rate { count: two, per: Duration::from_secs(3600), burst: two });
        for (first, second, other) in
            [("192.0.2.1", "192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::ffff:1:2:3", "2001:db8:0:1::1")]
        {
            assert_eq!([from(&guesses, first).await, from(&guesses, second).await], [Code::TokenInvalid; 2]);
            assert_eq!([from(&guesses, second).await, from(&guesses, first).await], [Code::TooManyBadTokens; 2]);
            assert_eq!(from(&guesses, other).await, Code::TokenInvalid, "{other}");
        }
        assert!((0..10).all(|_| guesses.refuse("from nobody knows where").code == Code::TokenInvalid));
    }
}
