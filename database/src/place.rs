//! Which database, by the scheme of its URL.

use crate::StoreError;

pub(crate) enum Place<'a> {
    Postgres(&'a str),
    Sqlite(&'a str),
}

impl<'a> Place<'a> {
    pub(crate) fn of(url: &'a str) -> Result<Self, StoreError> {
        // The URL may carry a password: only its scheme is ever repeated.
        match url.split_once("://") {
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(url)),
            Some(("sqlite", path)) if !path.is_empty() && !path.contains('?') => Ok(Self::Sqlite(path)),
            Some(("sqlite", _)) => Err(StoreError::Unusable(
                "a `sqlite://` URL is followed by the path of a file and nothing else, as in sqlite://.warren/warren.db".into(),
            )),
            other => Err(StoreError::Unusable(format!(
                "the database URL begins with `{}`; Warren knows sqlite://<path> and postgres://<user>@<host>/<database>",
                other.map_or("no scheme", |(scheme, _)| scheme),
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    #[test]
    fn the_scheme_chooses() {
        assert!(matches!(Place::of("postgres://u@h/d"), Ok(Place::Postgres("postgres://u@h/d"))));
        assert!(matches!(Place::of("postgresql://h/d"), Ok(Place::Postgres(_))));
        assert!(matches!(Place::of("sqlite:///var/lib/w.db"), Ok(Place::Sqlite("/var/lib/w.db"))));
        assert!(matches!(Place::of("sqlite://w.db"), Ok(Place::Sqlite("w.db"))));
    }

    #[test]
    fn what_is_refused_says_what_is_accepted_and_no_password() {
        for url in ["mysql://root:secret@h/d", "secret", "sqlite://", "sqlite://w.db?mode=ro"] {
            let Err(StoreError::Unusable(text)) = Place::of(url) else { panic!("{url} was accepted") };
            assert!(text.contains("sqlite://") && !text.contains("secret"), "{text}");
        }
    }
}
