//! What a job is about: as it was accepted, and in outline.

use bytes::Bytes;

/// What was accepted, as it came. Never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Who submitted it (`sub` of the token).
    pub subject: String,
    /// MIME type of `body`.
    pub content_type: String,
    /// The bytes.
    pub body: Bytes,
    /// W3C trace context of the request.
    pub traceparent: Option<String>,
}

/// A payload without what makes it large: reading it costs the same whatever its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// As [`Payload::subject`].
    pub subject: String,
    /// As [`Payload::content_type`].
    pub content_type: String,
    /// Bytes of the body.
    pub size: u64,
}

impl Payload {
    /// What is told of it.
    pub fn outline(&self) -> Outline {
        let Self { subject, content_type, body, .. } = self;
        Outline { subject: subject.clone(), content_type: content_type.clone(), size: body.len() as u64 }
    }
}
