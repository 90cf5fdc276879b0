//! What identifies a dead letter, and why it died, read from what the broker and Warren wrote on it.

use broker_topology::Names;

use crate::consumer::Delivered;
use crate::message::{Message, header};

/// The id of a message; one that carries none is known by its bytes.
pub fn id_of(message: &Message) -> String {
    if message.id.is_empty() { format!("body-{}", fingerprint(&message.body)) } else { message.id.clone() }
}

/// FNV-1a over 128 bits, in hex: to tell bodies apart, not to resist anybody.
fn fingerprint(body: &[u8]) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = body.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    format!("{hash:032x}")
}

/// Why and where a message died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// The work queue it came from.
    pub queue: String,
    /// Stable code.
    pub reason: String,
    /// For people; may be empty.
    pub error: String,
}

/// Reads the death of a message found in `<queue>.dead` or `warren.lost`.
///
/// Warren's own headers win; then the broker's `x-first-death-*` (a delivery limit); then what the last route says.
pub fn death_of(delivered: &Delivered, found_in: &str, names: &Names) -> Death {
    let headers = &delivered.message.headers;
    let broker = |name: &str| delivered.properties.pointer(&format!("/headers/{name}")).and_then(|v| v.as_str());
    let returned = delivered.exchange == names.return_exchange();
    let lost = returned || !found_in.ends_with(".dead");
    let queue = match headers.get(header::QUEUE) {
        Some(queue) => queue.clone(),
        // The queue may be one that others share: whose letter it is, the key says.
        None if lost || delivered.exchange == names.dead() => delivered.key.clone(),
        None => found_in.strip_suffix(".dead").unwrap_or(found_in).to_owned(),
    };
    let (reason, error) = match (headers.get(header::REASON), broker("x-first-death-reason")) {
        (Some(reason), _) => (reason.clone(), headers.get(header::ERROR).cloned().unwrap_or_default()),
        (None, _) if returned => {
            ("origin-gone".to_owned(), format!("the queue `{}` was gone when the message was to return to it", delivered.key))
        }
        (None, _) if lost => ("unroutable".to_owned(), format!("no queue took it from exchange `{}`", delivered.exchange)),
        (None, Some("delivery_limit")) => ("delivery-limit".to_owned(), "delivered too often without an ack".to_owned()),
        (None, Some(reason)) => (reason.replace('_', "-"), "dead-lettered by the broker".to_owned()),
        (None, None) => ("unknown".to_owned(), "published to the dead letters by somebody else".to_owned()),
    };
    Death { queue, reason, error }
}
