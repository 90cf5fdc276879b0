//! Idempotency keys: grammar, scope, fingerprint.

use axum::http::HeaderMap;
use sha2::{Digest, Sha256};

use crate::problem::{Code, Problem};

/// The longest key, in bytes.
pub const KEY_MAX: usize = 255;

/// Why a header value is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Empty, or only quotes.
    #[error("the Idempotency-Key is empty")]
    Empty,
    /// Over [`KEY_MAX`].
    #[error("the Idempotency-Key has {0} bytes, {KEY_MAX} at most")]
    TooLong(usize),
    /// Not printable ASCII.
    #[error("the Idempotency-Key must be printable ASCII")]
    NotPrintable,
}

/// The key in a header value: `"k"` (as the draft RFC has it) and `k` are the same key.
///
/// # Errors
/// As [`KeyError`].
pub fn parse(value: &[u8]) -> Result<String, KeyError> {
    let value = value.trim_ascii();
    let bare = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
    if bare.is_empty() {
        return Err(KeyError::Empty);
    }
    if bare.len() > KEY_MAX {
        return Err(KeyError::TooLong(bare.len()));
    }
    match std::str::from_utf8(bare) {
        Ok(text) if bare.iter().all(|b| (b' '..=b'~').contains(b)) => Ok(text.to_owned()),
        _ => Err(KeyError::NotPrintable),
    }
}

/// The `Idempotency-Key` of a request, if there is one.
///
/// # Errors
/// `invalid-idempotency-key`.
pub fn of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let refused = |detail: String| Problem::new(Code::InvalidIdempotencyKey, detail.clone()).header("idempotency-key", detail);
    let mut values = headers.get_all("idempotency-key").iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => parse(value.as_bytes()).map(Some).map_err(|error| refused(error.to_string())),
        _ => Err(refused("the request has more than one Idempotency-Key".to_owned())),
    }
}

/// The key within its scope: the same text from another tenant, subject or route is another key.
pub fn hash(tenant: &str, subject: &str, route: &str, key: &str) -> [u8; 32] {
    digest(&[tenant.as_bytes(), subject.as_bytes(), route.as_bytes(), key.as_bytes()])
}

/// What the request looked like: the same key with another fingerprint is refused.
pub fn fingerprint<'a>(content_type: &'a str, body: &'a [u8], said: impl Iterator<Item = (&'a str, &'a str)>) -> [u8; 32] {
    let mut parts = vec![content_type.as_bytes(), body];
    parts.extend(said.flat_map(|(field, text)| [field.as_bytes(), text.as_bytes()]));
    digest(&parts)
}

/// SHA-256 over the parts, each with its length before it, so that no two splits collide.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut sum = Sha256::new();
    for part in parts {
        sum.update((part.len() as u64).to_be_bytes());
        sum.update(part);
    }
    sum.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_and_bare_are_one_key() {
        assert_eq!(parse(b"\"abc\"").unwrap(), "abc");
        assert_eq!(parse(b" abc ").unwrap(), "abc");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(parse(b"\"\""), Err(KeyError::Empty));
        assert_eq!(parse(b"  "), Err(KeyError::Empty));
        assert_eq!(parse(&[b'k'; 256]), Err(KeyError::TooLong(256)));
        assert_eq!(parse("schlüssel".as_bytes()), Err(KeyError::NotPrintable));
        assert_eq!(parse(b"a\tb"), Err(KeyError::NotPrintable));
    }

    #[test]
    fn scopes_do_not_run_into_each_other() {
        assert_ne!(hash("a", "bc", "r", "k"), hash("ab", "c", "r", "k"));
        assert_ne!(hash("t", "s", "r", "k"), hash("t", "s", "r2", "k"));
    }
}
