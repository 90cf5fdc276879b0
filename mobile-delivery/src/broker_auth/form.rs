//! What RabbitMQ posts: `application/x-www-form-urlencoded`, each field once.

use std::collections::BTreeMap;
use std::fmt;

use super::rules::Why;

/// A question.
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// `None` of what has a field twice: which of them was meant nobody can say.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(bytes) {
            if fields.insert(name.into_owned(), value.into_owned()).is_some() {
                return None;
            }
        }
        Some(Self(fields))
    }

    pub(super) fn get(&self, field: &str) -> Option<&str> {
        self.0.get(field).map(String::as_str)
    }

    pub(super) fn username(&self) -> Result<&str, Why> {
        self.get("username").ok_or(Why::Form)
    }
}

/// For logs: without what is secret, and whatever else is not known to be none.
impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: [&str; 8] = ["client_id", "ip", "name", "permission", "resource", "routing_key", "username", "vhost"];
        let shown = self.0.iter().filter(|(name, _)| SHOWN.contains(&name.as_str()));
        f.debug_map().entries(shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_as_they_were_and_secrets_are_not_shown() {
        let form = Form::read(b"username=acme%2Fp-1&password=canary&vhost=%2f&token=canary&client_id=a+b%0A").unwrap();
        assert_eq!((form.username().unwrap(), form.get("vhost"), form.get("ip")), ("acme/p-1", Some("/"), None));
        let shown = form.to_string();
        assert!(!shown.contains("canary") && !shown.contains('\n') && shown.contains(r"a b\n"), "{shown}");
        assert!(Form::read(b"vhost=a&vhost=b").is_none());
        assert!(Form::read(b"").unwrap().username().is_err());
    }
}
