//! Which dead letters died of the same thing: a short hash over kind, reason and the error without what varies.
//!
//! Pure. It looks at the first [`LOOKED_AT`] bytes of an error and never fails. What it makes is stored when a letter is kept,
//! so a change here splits every group in two: `VERSION` says so, and a test pins the values.
//! Guarantee: an error that differs only in numbers, ids, addresses, times or quoted words has the same fingerprint.
//! Limit: words that vary and hold no digit look like any other word.

mod normal;

use sha2::{Digest, Sha256};

pub use normal::normalised;

/// How much of an error counts, in bytes.
pub const LOOKED_AT: usize = 1024;

/// The longest title, in bytes.
pub const TITLE_MAX: usize = 240;

/// The longest failure code, in bytes.
const CODE_MAX: usize = 64;

/// Part of every hash.
const VERSION: &[u8] = b"1";

/// What a group of dead letters is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// 16 hex digits.
    pub hash: String,
    /// The code of the failure, kebab-case, if the error begins with one: `unknown-sku` of `unknown-sku: there is no tea`.
    pub code: String,
    /// The error without what varies, for people.
    pub title: String,
}

impl Fingerprint {
    /// Of a letter of `kind` that died for `reason` with `error`.
    pub fn of(kind: &str, reason: &str, error: &str) -> Self {
        let code = code(error);
        let normal = normalised(start(error, LOOKED_AT));
        let mut sha = Sha256::new();
        for part in [VERSION, kind.as_bytes(), reason.as_bytes(), code.as_bytes(), normal.as_bytes()] {
            sha.update((part.len() as u64).to_be_bytes());
            sha.update(part);
        }
        let hash = sha.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { hash, code: code.to_owned(), title: start(&normal, TITLE_MAX).to_owned() }
    }
}

/// The failure code an error begins with, or nothing.
fn code(error: &str) -> &str {
    let Some((code, _)) = error.split_once(": ") else { return "" };
    let kebab = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    if code.len() <= CODE_MAX && code.starts_with(|c: char| c.is_ascii_lowercase()) && code.bytes().all(kebab) {
        code
    } else {
        ""
    }
}

/// The first bytes of a text, whole characters only.
fn start(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests;
