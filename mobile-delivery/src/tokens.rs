//! What devices show to be let in: a short token, and a refresh token to get the next with.
//!
//! ```text
//! token          a JWT of the hub's own key: `sub` the device, its tenant, scope `device`; good for an hour
//! refresh token  <device id>.<43 characters of base64url>: 32 random bytes at first, then HMAC-SHA256(key, the one before)
//! ```
//!
//! Only the SHA-256 of a refresh token is stored, and it is found by that: no comparison takes a time that would tell anything of it.
//! Each is made from the one before, so a device that never got an answer asks again with what it has and is answered the same, as
//! often as it takes; only once the next one was used does the old one give away that somebody has a copy.
//!
//! Refuses to own who may have them, which is the store's to say.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use database::StoreError;
use door::auth::{Grant, KeyError, KeySpec, Material, Signer};
use door::scope::DEVICE;

/// What the key of refresh tokens is made for: another key than that of JWTs.
const PURPOSE: &[u8] = b"warren: refresh tokens of devices";

/// Makes tokens of devices. Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    signer: Signer,
    refresh: hmac::Key,
    valid: Duration,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tokens").field(&self.0.signer).finish()
    }
}

/// A token that was just made.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The JWT.
    pub text: String,
    /// Seconds for which it is good.
    pub expires_in: u64,
}

impl Tokens {
    /// Signs with `key`, which must be an HS256 one that the hub's verifier has too; tokens are good for `valid`.
    ///
    /// # Errors
    /// When the key is another or too short.
    pub fn new(key: &KeySpec, issuer: &str, audience: &str, valid: Duration) -> Result<Self, KeyError> {
        let signer = Signer::new(key, issuer, audience)?;
        let secret: &[u8] = match &key.material {
            Material::Secret(secret) => secret,
            Material::Pem(_) => &[],
        };
        let refresh = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), PURPOSE);
        Ok(Self(Arc::new(Inner { signer, refresh: hmac::Key::new(hmac::HMAC_SHA256, refresh.as_ref()), valid })))
    }

    /// A token for a device.
    ///
    /// # Errors
    /// When the tenant is not one that a verifier takes.
    pub fn mint(&self, tenant: &str, id: &str) -> Result<Token, KeyError> {
        let Inner { signer, valid, .. } = &*self.0;
        let grant = Grant { tenant: tenant.to_owned(), subject: id.to_owned(), scopes: vec![DEVICE.to_owned()], valid: *valid };
        Ok(Token { text: signer.mint(&grant)?, expires_in: valid.as_secs() })
    }

    /// The first refresh token of a device.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn first(id: &str) -> Result<String, StoreError> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).map_err(|_| StoreError::Unavailable("the operating system gives no random bytes".to_owned()))?;
        Ok(format!("{id}.{}", URL_SAFE_NO_PAD.encode(secret)))
    }

    /// The one after `shown`; `None` when that is none of the device's.
    pub fn next(&self, id: &str, shown: &str) -> Option<String> {
        let (of, secret) = shown.split_once('.')?;
        let secret = URL_SAFE_NO_PAD.decode(secret).ok().filter(|secret| of == id && secret.len() == 32)?;
        Some(format!("{id}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&self.0.refresh, &[id.as_bytes(), b".", &secret].concat()))))
    }
}

#[cfg(test)]
mod tests {
    use door::auth::{AUDIENCE, Algorithm, Verifier};

    use super::*;

    fn key(byte: u8) -> KeySpec {
        KeySpec { id: "k".to_owned(), algorithm: Algorithm::Hs256, material: Material::Secret(vec![byte; 32]) }
    }

    fn tokens(byte: u8) -> Tokens {
        Tokens::new(&key(byte), "me", AUDIENCE, Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn a_token_is_the_devices_and_nobody_elses() {
        let token = tokens(7).mint("acme", "pixel-7").unwrap();
        let caller = Verifier::new(&[key(7)], "me", AUDIENCE).unwrap().verify(token.text.as_bytes()).unwrap();
        assert_eq!((caller.tenant.as_str(), caller.subject.as_str(), token.expires_in), ("acme", "pixel-7", 60));
        assert!(caller.has(DEVICE) && caller.issued_at.is_some());
        assert!(Verifier::new(&[key(8)], "me", AUDIENCE).unwrap().verify(token.text.as_bytes()).is_err());
    }

    #[test]
    fn the_same_again_is_answered_the_same_and_each_is_another() {
        let first = Tokens::first("pixel-7").unwrap();
        assert_ne!(first, Tokens::first("pixel-7").unwrap());
        let next = tokens(7).next("pixel-7", &first).unwrap();
        assert_eq!(tokens(7).next("pixel-7", &first), Some(next.clone()), "after a restart too");
        assert_ne!(tokens(8).next("pixel-7", &first), Some(next.clone()));
        let after = tokens(7).next("pixel-7", &next).unwrap();
        assert!(first != next && next != after && first != after);
    }

    #[test]
    fn what_is_no_refresh_token_of_the_device_has_no_next() {
        let first = Tokens::first("pixel-7").unwrap();
        let (_, secret) = first.split_once('.').unwrap();
        for bad in ["", ".", "pixel-7", "pixel-7.", "pixel-7.AAAA", &format!("pixel-8.{secret}"), &format!("{first}="), secret] {
            assert_eq!(tokens(7).next("pixel-7", bad), None, "{bad}");
        }
    }
}
