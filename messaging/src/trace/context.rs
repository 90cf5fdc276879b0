//! W3C trace context: the header `traceparent`.

use std::fmt;

use uuid::Uuid;

/// Which trace something belongs to, and which span caused it: `00-<trace>-<span>-<flags>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Not all zeroes.
    pub trace_id: [u8; 16],
    /// Not all zeroes.
    pub span_id: [u8; 8],
    /// Whether whoever began the trace keeps it.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads version 00; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version != "00" || parts.next().is_some() {
            return None;
        }
        let (trace_id, span_id, [flags]) = (bytes(trace)?, bytes(span)?, bytes(flags)?);
        let zero = trace_id == [0; 16] || span_id == [0; 8];
        (!zero).then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }

    /// The first of a new trace, which is kept with a probability of `sample`.
    pub(super) fn root(sample: f64) -> Self {
        let id = Uuid::new_v4();
        // Bits of the id that a version and a variant leave random: 53 are what a float holds.
        let random = (id.as_u128() as u64 & ((1 << 53) - 1)) as f64 / (1_u64 << 53) as f64;
        Self { trace_id: id.into_bytes(), span_id: span_id(), sampled: random < sample }
    }
}

/// A new span's id, random; its first bit is set, so it is never zero.
pub(super) fn span_id() -> [u8; 8] {
    (Uuid::new_v4().as_u128() as u64).to_be_bytes()
}

/// Lower-case hexadecimal, of exactly so many bytes.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut read = [0; N];
    for (byte, pair) in read.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(read)
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn it_comes_back_as_it_went() {
        for sample in [0.0, 1.0] {
            let root = TraceContext::root(sample);
            assert_eq!(TraceContext::parse(&root.to_string()), Some(root));
            assert_eq!(root.sampled, sample == 1.0);
        }
        let kept = (0..4000).filter(|_| TraceContext::root(0.25).sampled).count();
        assert!((800..1200).contains(&kept), "{kept} of 4000 at a quarter");
    }

    #[test]
    fn what_is_malformed_is_none() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(TraceContext::parse(good).unwrap().sampled);
        for bad in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-ü",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }
}
