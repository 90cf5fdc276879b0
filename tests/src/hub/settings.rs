//! The `warren.toml` of a hub under test. The only place that knows its keys.

use std::path::Path;

use serde_json::Value;

use super::{HubOptions, ISSUER, Ports, SECRET};

pub(super) fn warren_toml(options: &HubOptions, ports: Ports, folder: &Path) -> String {
    let store = if options.store_url.is_empty() {
        format!("sqlite://{}", folder.join("warren.db").display())
    } else {
        options.store_url.clone()
    };
    // A basic string of TOML is written as a JSON string is.
    let quoted = |text: &str| Value::from(text).to_string();
    let mut toml = String::new();
    if !options.roles.is_empty() {
        toml.push_str(&format!("roles = {}\n", Value::from(options.roles.clone())));
    }
    let urls: Vec<&str> = options.broker_url.split(',').collect();
    toml.push_str(&format!("[broker]\nurl = {}\n", Value::from(urls)));
    toml.push_str(&format!("[store]\nurl = {}\n", quoted(&store)));
    toml.push_str(&format!(
        "[listen]\npublic = \"127.0.0.1:{}\"\nadmin = \"127.0.0.1:{}\"\ninternal = \"127.0.0.1:{}\"\n",
        ports.public, ports.admin, ports.internal
    ));
    toml.push_str(&format!(
        "[auth]\nissuer = {}\n[[auth.keys]]\nid = \"tests\"\nalgorithm = \"HS256\"\nsecret = {}\n",
        quoted(ISSUER),
        quoted(SECRET)
    ));
    toml.push_str(&options.extra_toml);
    toml.push('\n');
    toml
}
