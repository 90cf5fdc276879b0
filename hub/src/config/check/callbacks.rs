//! What must fit together about callbacks.

use api_ack::callbacks::CallbackRules;

use crate::config::{Config, callbacks};

pub(super) fn check(config: &Config, say: &mut impl FnMut(&str, String)) {
    if let Some(tenant) = callbacks::crowded(&config.callback_secrets) {
        say(
            "callback_secret",
            format!("has over 4 for the tenant `{tenant}`: each signs every callback, so remove the old ones"),
        );
    }
    let rules = CallbackRules::new(config.callback_settings(&[]));
    for (index, kind) in config.kinds.iter().enumerate() {
        let Some(url) = &kind.callback else { continue };
        if let Err(why) = rules.check_url(url) {
            say(&format!("kind[{index}].callback"), why);
        }
        let unsigned = config.cron.iter().enumerate().filter(|(_, entry)| entry.kind == kind.name);
        for (at, entry) in
            unsigned.filter(|(_, entry)| !config.callback_secrets.iter().any(|secret| secret.tenant == entry.tenant))
        {
            let (tenant, name) = (&entry.tenant, &kind.name);
            say(
                &format!("cron[{at}].tenant"),
                format!("is `{tenant}`, which has no [[callback_secret]], and `{name}` has a callback: no tick could have a job"),
            );
        }
    }
    let Some(path) = &config.callbacks.ca_file else { return };
    match std::fs::read(path) {
        Err(error) => say("callbacks.ca_file", format!("cannot be read: {}: {error}", path.display())),
        Ok(text) => match reqwest::Certificate::from_pem_bundle(&text) {
            Ok(found) if !found.is_empty() => {}
            _ => say("callbacks.ca_file", format!("holds no certificate in PEM: {}", path.display())),
        },
    }
}
