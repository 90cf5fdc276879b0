//! Which class a job is to be of, as its caller asks for it.

use broker_topology::Priority;

use crate::kinds::KindSpec;

/// The header that says it, in HTTP and in AMQP: `normal` or `high`.
pub const PRIORITY_HEADER: &str = "warren-priority";

/// A class that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriorityError {
    /// None of the words.
    #[error("must be `normal` or `high`")]
    Unknown,
    /// The kind has one queue for all its jobs.
    #[error("cannot be `high`: the kind `{0}` has one queue. Leave it out, or set `priority = \"normal\"` in the [[kind]]")]
    OneQueue(String),
}

/// The class of that name.
///
/// # Errors
/// [`PriorityError::Unknown`].
pub fn parse(text: &str) -> Result<Priority, PriorityError> {
    Priority::named(text.trim()).ok_or(PriorityError::Unknown)
}

/// The class of a job of a kind for which `asked` was asked.
pub(super) fn class(spec: &KindSpec, asked: Option<Priority>) -> Result<Priority, PriorityError> {
    match (asked, spec.priority) {
        (Some(Priority::High), None) => Err(PriorityError::OneQueue(spec.kind.to_string())),
        (asked, unasked) => Ok(asked.or(unasked).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Worker;

    #[test]
    fn what_is_asked_for_wins_over_the_kinds_own_and_high_needs_a_queue() {
        use Priority::{High, Normal};
        let kind = broker_topology::Kind::parse("demo.echo").unwrap();
        let of = |own, asked| class(&KindSpec { priority: own, ..KindSpec::new(kind.clone(), Worker::Rust) }, asked);
        assert_eq!(of(None, None), Ok(Normal));
        assert_eq!(of(None, Some(Normal)), Ok(Normal), "what it is anyway");
        assert_eq!(of(None, Some(High)), Err(PriorityError::OneQueue("demo.echo".to_owned())));
        for own in [Normal, High] {
            assert_eq!(of(Some(own), None), Ok(own));
            assert_eq!(of(Some(own), Some(Normal)), Ok(Normal));
            assert_eq!(of(Some(own), Some(High)), Ok(High));
        }
    }

    #[test]
    fn there_are_two_words() {
        assert_eq!((parse("high"), parse(" normal ")), (Ok(Priority::High), Ok(Priority::Normal)));
        for text in ["", "High", "HIGH", "urgent", "1", "high,high", "high\0"] {
            assert_eq!(parse(text), Err(PriorityError::Unknown), "{text:?}");
        }
    }
}
