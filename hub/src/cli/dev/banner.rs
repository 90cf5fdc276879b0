//! What `warren dev` prints when it is ready: where things are, and three lines to paste.

use std::path::Path;
use std::time::Duration;

use door::auth::Grant;
use door::scope::{JOBS_READ, JOBS_SUBMIT};

use super::super::failure::Failure;
use super::super::token::mint;
use crate::config::Auth;
use crate::demo;
use crate::hub::Addresses;

/// The lines stay good in a scroll-back for a while.
const VALID: Duration = Duration::from_secs(30 * 86_400);

/// The banner; the three lines that begin with `curl` work as they stand, in that order.
pub(super) fn banner(at: &Addresses, management: &str, home: &Path, auth: &Auth) -> Result<String, Failure> {
    let scopes = vec![JOBS_SUBMIT.to_owned(), JOBS_READ.to_owned()];
    let grant = Grant { tenant: "demo".to_owned(), subject: "demo".to_owned(), scopes, valid: VALID };
    let token = mint(auth, grant)?;
    let head = format!("curl -sS -w '\\n' -H 'Authorization: Bearer {token}'");
    let submit = |kind: &str, body: &str| {
        format!("{head} -H 'Content-Type: application/json' -d '{body}' http://{}/v1/kinds/{kind}/jobs", at.public)
    };
    // The answer begins with the id; the second line takes it from there.
    let answer = quoted(&home.join("echo.json"));
    let echo = submit(demo::ECHO, r#"{"hello":"warren"}"#);
    let flaky = submit(demo::FLAKY, r#"{"fails":"twice"}"#);
    Ok(format!(
        "\n  API       http://{public}   (OpenAPI: /openapi.json)\
         \n  Devices   ws://{public}/v1/device/socket   (README.md: Deliver to devices)\
         \n  Admin     http://{admin}   (`warren jobs list` and `warren dead list` in this folder)\
         \n  Metrics   http://{internal}/metrics\
         \n  RabbitMQ  {management}   (user guest, password guest)\
         \n\
         \nPaste into another terminal, line by line: submit a job, read its state, submit one that fails twice.\
         \n\
         \n{echo} | tee {answer}\
         \n\
         \n{head} http://{public}/v1/jobs/$(cut -d'\"' -f4 {answer})\
         \n\
         \n{flaky}\
         \n\n",
        public = at.public,
        admin = at.admin,
        internal = at.internal,
    ))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Config, Secret, Sources};

    #[test]
    fn three_lines_to_paste_with_tokens_that_are_believed() {
        let mut auth = Config::load(&Sources::default()).unwrap().config.auth;
        super::super::add_dev_key(&mut auth, Secret::new("0123456789abcdef0123456789abcdef"));
        let at = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let at = Addresses { public: at(8080), admin: at(8081), internal: at(8082) };
        let text = banner(&at, "http://127.0.0.1:15682", Path::new("/tmp/it's"), &auth).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("curl ")).collect();
        assert_eq!(lines.len(), 3);
        let verifier = crate::auth::verifier(&auth).unwrap();
        for line in &lines {
            let token = line.split_once("Bearer ").unwrap().1.split('\'').next().unwrap();
            let caller = verifier.verify(token.as_bytes()).unwrap();
            assert!(caller.has(JOBS_SUBMIT) && caller.has(JOBS_READ) && caller.tenant == "demo");
        }
        assert!(lines[0].contains("-d '{\"hello\":\"warren\"}'") && lines[0].ends_with(r"| tee '/tmp/it'\''s/echo.json'"));
        assert!(lines[2].contains("demo.flaky"));
    }
}
