//! What exchanges, queues and policies have in common: a name, an owner, and properties to compare.

use std::borrow::Cow;

use crate::argument::Arguments;

/// A thing that exists once per name on a broker.
pub(crate) trait Object {
    /// Its sort, as messages say it: `exchange`, `queue`, `policy`.
    const SORT: &'static str;

    fn name(&self) -> &str;

    /// Who declares it, if that is known.
    fn owner(&self) -> Option<&str>;

    /// All that two declarations of the same object must agree on.
    fn properties(&self) -> Arguments;

    /// How messages call it.
    fn label(&self) -> String {
        format!("{} {}", Self::SORT, readable(self.name()))
    }
}

/// A name or key as it may stand in a message: one with control characters is escaped.
pub(crate) fn readable(name: &str) -> Cow<'_, str> {
    if name.chars().any(char::is_control) { name.escape_debug().to_string().into() } else { name.into() }
}

/// Gives objects their label as text: `queue jobs.orders.place`.
macro_rules! shown_as_label {
    ($($object:ty),+) => {$(
        impl std::fmt::Display for $object {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$crate::object::Object::label(self))
            }
        }
    )+};
}
pub(crate) use shown_as_label;
