//! An error text without what varies from one failure to the next.
//!
//! | what | becomes |
//! |---|---|
//! | a quoted text | `<q>` |
//! | a word with a digit, a UUID, a run of 8 or more hex digits, an IPv6 address | `<n>` |
//! | several of these, joined by one of `. : / - _ + ,` (IPs with ports, times, decimals) | one `<n>` |
//! | white space and control characters | one blank |
//!
//! A word is a run of letters and digits; paths are words between slashes, so only their variable parts go.

use std::net::Ipv6Addr;

/// `text` without what varies. Done again, it changes nothing. The cost is linear for what people write; for what is written to
/// be dear it is bounded by the square of the length.
pub fn normalised(text: &str) -> String {
    let mut text = pass(text);
    // What was replaced may leave a neighbour to be replaced. Each round leaves fewer words, so this ends.
    loop {
        let next = pass(&text);
        if next == text {
            return text;
        }
        text = next;
    }
}

const NUMBER: &str = "<n>";

/// The longest text of an IPv6 address, in bytes: six groups and an IPv4 address.
const ADDRESS_MAX: usize = 45;

fn pass(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let in_word = out.chars().next_back().is_some_and(char::is_alphanumeric);
        if first.is_whitespace() || first.is_control() {
            if !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
            rest = &rest[first.len_utf8()..];
        } else if let Some(length) = quoted(rest, in_word) {
            out.push_str("<q>");
            rest = &rest[length..];
        } else if first.is_alphanumeric() {
            let word = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            match number(rest, word) {
                Some(length) => {
                    push_number(&mut out);
                    rest = &rest[length..];
                }
                None => {
                    out.push_str(&rest[..word]);
                    rest = &rest[word..];
                }
            }
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// How long the quoted text at the start is, if there is one. An apostrophe within a word is none.
fn quoted(rest: &str, in_word: bool) -> Option<usize> {
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let inside = &rest[1..];
    (!in_word).then(|| inside.find(quote)).flatten().map(|at| at + 2)
}

/// How much at the start of `rest`, whose first word has `word` bytes, is a number in the widest sense.
fn number(rest: &str, word: usize) -> Option<usize> {
    let ends = |length: usize| !rest[length..].starts_with(char::is_alphanumeric);
    if uuid::Uuid::try_parse(rest.get(..36).unwrap_or_default()).is_ok() && ends(36) {
        return Some(36);
    }
    if let Some(length) = address(rest).filter(|length| ends(*length)) {
        return Some(length);
    }
    let whole = &rest[..word];
    let hex = word >= 8 && whole.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hex || whole.contains(char::is_numeric)).then_some(word)
}

/// How long the IPv6 address at the start is, if there is one, without what ends a sentence.
fn address(rest: &str) -> Option<usize> {
    let mut length = 0;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b':' | b'.' => {}
            _ if byte.is_ascii_hexdigit() => length = at + 1,
            _ => break,
        }
        // Not looked through from each of its places, however long it is.
        if length > ADDRESS_MAX {
            return None;
        }
    }
    let address = &rest[..length];
    (address.contains(':') && address.parse::<Ipv6Addr>().is_ok()).then_some(length)
}

/// Adds a number, or lets it melt into the one before it.
fn push_number(out: &mut String) {
    let joined = out.strip_suffix(['.', ':', '/', '-', '_', '+', ',']).map(|before| (before.len(), before.ends_with(NUMBER)));
    match joined {
        Some((length, true)) => out.truncate(length),
        _ => out.push_str(NUMBER),
    }
}
