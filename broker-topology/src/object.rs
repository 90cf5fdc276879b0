//! What exchanges, queues and policies have in common: a name, an owner, and properties to compare.

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
        format!("{} {}", Self::SORT, self.name())
    }
}
