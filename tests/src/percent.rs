//! Percent-encoding of one URL segment.

use std::fmt::Write as _;

/// Encodes all but the unreserved characters, so that `t/1` becomes `t%2F1`.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => write!(encoded, "%{byte:02X}").unwrap(),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_slash_and_a_non_ascii_letter_are_encoded() {
        assert_eq!(super::encode("t/1 ü~"), "t%2F1%20%C3%BC~");
    }
}
