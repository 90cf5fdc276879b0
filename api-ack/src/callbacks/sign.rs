//! Signatures after Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`, as `v1,<base64>`.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::store::Micros;

/// What callbacks of a tenant are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret {
    key: Vec<u8>,
    /// It signs no longer than this; `None` for as long as it is configured.
    pub not_after: Option<Micros>,
}

/// Why a text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be `whsec_` and the base64 of 24 to 64 random bytes: make one with `echo whsec_$(openssl rand -base64 32)`")]
pub struct SecretError;

impl SigningSecret {
    /// Reads `whsec_` and base64.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn parse(text: &str, not_after: Option<Micros>) -> Result<Self, SecretError> {
        let key = text.trim().strip_prefix("whsec_").and_then(|text| BASE64_STANDARD.decode(text).ok());
        let key = key.filter(|key| (24..=64).contains(&key.len())).ok_or(SecretError)?;
        Ok(Self { key, not_after })
    }

    /// Whether it signs at `now`.
    pub(super) fn counts(&self, now: Micros) -> bool {
        self.not_after.is_none_or(|end| now <= end)
    }

    fn sign(&self, content: [&[u8]; 3]) -> String {
        // A key of any length is one.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return String::new() };
        for (at, part) in content.into_iter().enumerate() {
            if at > 0 {
                mac.update(b".");
            }
            mac.update(part);
        }
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningSecret").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// The header `webhook-signature`: one signature by each of `secrets`.
pub(super) fn signatures(secrets: &[SigningSecret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let timestamp = timestamp.to_string();
    let signed = secrets.iter().map(|secret| secret.sign([id.as_bytes(), timestamp.as_bytes(), body]));
    signed.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_comes_out() {
        // From the reference libraries of Standard Webhooks.
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None).unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = signatures(std::slice::from_ref(&secret), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let two = signatures(&[secret.clone(), secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(two, format!("{signed} {signed}"));
    }

    #[test]
    fn a_secret_has_its_form_and_is_not_shown() {
        for bad in ["", "whsec_", "whsec_####", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ="] {
            assert_eq!(SigningSecret::parse(bad, None), Err(SecretError), "{bad}");
        }
        let secret = SigningSecret::parse(" whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", Some(7)).unwrap();
        assert!((secret.counts(7), secret.counts(8)) == (true, false));
        let shown = format!("{secret:?}");
        assert!(!shown.contains("key") && shown.contains('7'), "{shown}");
    }
}
