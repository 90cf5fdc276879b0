//! The request that is being answered: its id, and who sent it. Whoever serves the router says so; refusals and log lines read
//! it.
//!
//! The id is the client's `X-Request-Id` if that is 1 to 128 visible ASCII characters, else a UUIDv7 made here. It names a
//! request in logs and answers and decides nothing: two requests may carry the same one.
//!
//! What runs outside of [`Current::scope`], such as a task of its own, has none.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// The header that carries the id, both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id taken from a client, in bytes.
const ID_MAX: usize = 128;

tokio::task_local! {
    static CURRENT: Current;
}

/// The request that is being answered. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Current {
    id: HeaderValue,
    made: Option<Uuid>,
    client: Option<IpAddr>,
}

impl Current {
    /// A request with these headers, from `client` as far as that is known.
    pub fn new(headers: &HeaderMap, client: Option<IpAddr>) -> Self {
        match taken(headers) {
            Some(id) => Self { id, made: None, client },
            None => {
                let made = Uuid::now_v7();
                let mut buffer = Uuid::encode_buffer();
                let text: &str = made.hyphenated().encode_lower(&mut buffer);
                // The text of a UUID is a header value.
                let id = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"));
                Self { id, made: Some(made), client }
            }
        }
    }

    /// Runs `answering` as the answer to this request.
    pub fn scope<F: Future>(self, answering: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, answering)
    }

    /// The request that this task answers, if it answers one.
    pub fn get() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// The id, as the header has it.
    pub fn id(&self) -> &HeaderValue {
        &self.id
    }

    /// The id as text.
    pub fn id_text(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// The id as a UUID, if it was made here.
    pub(crate) fn made(&self) -> Option<Uuid> {
        self.made
    }

    /// Who sent it, if known: for the log, and for counting what is refused anyway, since a proxy may be mistaken.
    pub fn client(&self) -> Option<IpAddr> {
        self.client
    }
}

/// The client's own id: given once, visible ASCII, not too long.
fn taken(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(X_REQUEST_ID).iter();
    let (Some(id), None) = (values.next(), values.next()) else { return None };
    let visible = (1..=ID_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    visible.then(|| id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(values: &[&[u8]]) -> Current {
        let lines = values.iter().map(|value| (X_REQUEST_ID, HeaderValue::from_bytes(value).unwrap()));
        Current::new(&lines.collect(), None)
    }

    #[test]
    fn a_well_formed_id_is_taken() {
        for good in ["a", "req_01J/Z=+~\"", &"x".repeat(128)] {
            let current = id(&[good.as_bytes()]);
            assert_eq!((current.id_text(), current.made()), (good, None));
        }
    }

    #[test]
    fn for_anything_else_one_is_made() {
        let long = "x".repeat(129);
        let bad: [&[&[u8]]; 7] = [&[], &[b""], &[b"a b"], &[b"a\tb"], &[b"\xc3\xa4"], &[long.as_bytes()], &[b"a", b"a"]];
        for values in bad {
            let current = id(values);
            assert_eq!(current.made().map(|made| made.to_string()).as_deref(), Some(current.id_text()), "{values:?}");
            assert_eq!(current.made().map(|made| made.get_version_num()), Some(7));
        }
    }

    #[tokio::test]
    async fn it_is_there_while_it_is_answered() {
        assert!(Current::get().is_none());
        let seen = id(&[b"mine"]).scope(async { Current::get() }).await;
        assert_eq!(seen.map(|current| current.id_text().to_owned()).as_deref(), Some("mine"));
        assert!(Current::get().is_none());
    }
}
