//! Users for a definitions file: from a list of them, each with its password in a file of its own, to hashes and permissions.
//!
//! A password is read, hashed and forgotten: it is never on the command line, and never in what is written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::cli::failure::Failure;

/// What RabbitMQ knows to do something with.
const TAGS: [&str; 5] = ["administrator", "impersonator", "management", "monitoring", "policymaker"];

/// The file that `--with-users` names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Users {
    user: Vec<User>,
}

/// One `[[user]]`. A pattern that is not there is `^$`: nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    name: String,
    /// Relative to the file. One newline at its end is not part of the password.
    password_file: PathBuf,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default = "nothing")]
    configure: String,
    #[serde(default = "nothing")]
    write: String,
    #[serde(default = "nothing")]
    read: String,
}

fn nothing() -> String {
    "^$".to_owned()
}

/// Puts the users that the file `path` lists into `definitions`, with their permissions in `vhost`.
pub(super) fn add(definitions: &mut Value, vhost: &str, path: &Path) -> Result<(), Failure> {
    let at = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("cannot read {at}: {error}")))?;
    let listed: Users = toml::from_str(&text).map_err(|error| {
        // The error's own text shows the line, and a password may be what is wrong there.
        let line = error.span().map_or(1, |span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
        let why = error.message();
        Failure::usage(format!("{at}:{line} is no list of users: {why}; write one [[user]] each, with name and password_file"))
    })?;
    let (mut users, mut permissions, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    for user in &listed.user {
        let name = &user.name;
        if name.is_empty() || !names.insert(name) {
            return Err(Failure::usage(format!(
                "{at} names the user `{name}` twice, or not at all: give each [[user]] a name of its own"
            )));
        }
        if let Some(tag) = user.tags.iter().find(|tag| !TAGS.contains(&tag.as_str())) {
            return Err(Failure::usage(format!(
                "{at}: the user `{name}` has the tag `{tag}`, RabbitMQ knows {}",
                TAGS.join(", ")
            )));
        }
        users.push(json!({
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "limits": {},
            "name": name,
            "password_hash": hashed(&password(user, path)?, salt()),
            "tags": user.tags,
        }));
        permissions.push(json!({
            "configure": user.configure,
            "read": user.read,
            "user": name,
            "vhost": vhost,
            "write": user.write,
        }));
    }
    let by = |key: &'static str| move |one: &Value| one[key].as_str().unwrap_or_default().to_owned();
    users.sort_by_key(by("name"));
    permissions.sort_by_key(by("user"));
    definitions["permissions"] = permissions.into();
    definitions["users"] = users.into();
    Ok(())
}

fn password(user: &User, beside: &Path) -> Result<String, Failure> {
    let path = beside.parent().unwrap_or_else(|| Path::new("")).join(&user.password_file);
    let (name, at) = (&user.name, path.display());
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failure::usage(format!("cannot read the password of the user `{name}` from {at}: {error}")))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    match text {
        "" => Err(Failure::usage(format!(
            "the password of the user `{name}` in {at} is empty, and RabbitMQ lets nobody in with such a one"
        ))),
        text => Ok(text.to_owned()),
    }
}

/// Four bytes that nobody can foresee.
fn salt() -> [u8; 4] {
    let [.., a, b, c, d] = *Uuid::new_v4().as_bytes();
    [a, b, c, d]
}

/// RabbitMQ's `rabbit_password_hashing_sha256`: the salt, then the SHA-256 of salt and password, in base64.
fn hashed(password: &str, salt: [u8; 4]) -> String {
    let digest = Sha256::new().chain_update(salt).chain_update(password.as_bytes()).finalize();
    STANDARD.encode([&salt[..], &digest[..]].concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn added(list: &str, password: &str) -> Result<Value, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("list.toml"), list).unwrap();
        std::fs::write(folder.path().join("secret"), password).unwrap();
        let mut definitions = json!({});
        add(&mut definitions, "/", &folder.path().join("list.toml")).map_err(|failure| failure.to_string())?;
        Ok(definitions)
    }

    #[test]
    fn a_hash_is_as_rabbitmq_documents_it() {
        // Salt and password of the example in RabbitMQ's guide on passwords.
        assert_eq!(hashed("test12", [0x90, 0x8D, 0xC6, 0x0A]), "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR");
    }

    #[test]
    fn a_user_may_do_what_is_said_and_no_more() {
        let list = "[[user]]\nname = 'b'\npassword_file = 'secret'\ntags = ['monitoring']\nread = '^jobs'\n\
                    [[user]]\nname = 'a'\npassword_file = 'secret'\n";
        let made = added(list, "canary\n").unwrap();
        assert_eq!([&made["users"][0]["name"], &made["users"][1]["tags"][0]], ["a", "monitoring"]);
        assert_ne!(made["users"][0]["password_hash"], made["users"][1]["password_hash"], "each has a salt of its own");
        let expected = json!({"user": "b", "vhost": "/", "configure": "^$", "write": "^$", "read": "^jobs"});
        assert_eq!(made["permissions"][1], expected);
        assert!(!made.to_string().contains("canary"));
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        let user = |more: &str| format!("[[user]]\nname = 'ann'\npassword_file = 'secret'\n{more}");
        let wrong = [
            (user("password = 'canary'"), "canary", "unknown field `password`"),
            (user("tags = ['boss']"), "canary", "the tag `boss`"),
            (user(&user("")), "canary", "the user `ann` twice"),
            (user(""), "\n", "is empty"),
            ("[[user]]\nname = 'ann'\npassword_file = 'nowhere'".to_owned(), "canary", "nowhere"),
            ("user = 7".to_owned(), "canary", "one [[user]] each"),
        ];
        for (list, password, says) in wrong {
            let said = added(&list, password).unwrap_err();
            assert!(said.contains(says) && !said.contains("canary"), "{said}");
        }
    }
}
