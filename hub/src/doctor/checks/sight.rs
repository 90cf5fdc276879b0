//! Whether there is anything to look at.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::quoted;
use crate::doctor::finding::Finding;
use crate::doctor::rules::{BROKER_AWAY, MANAGEMENT_AWAY, STATS_OFF, STRANGER, UNSEEN, UNSEEN_ADMIN};
use crate::doctor::snapshot::{Seen, Snapshot, Unseen};

pub(in crate::doctor) fn broker(seen: &Snapshot) -> Vec<Finding> {
    let object = format!("broker at {}", seen.amqp.at);
    let mut found = Vec::new();
    match (&seen.amqp.login, &seen.amqp.greeting) {
        (Ok(_), Ok(_)) => {}
        (Ok(_), Err(why)) => {
            found.push(UNSEEN.finds(&object, format!("its greeting could not be read: {why}"), "ask again: the login went well"));
        }
        (Err(why), greeting) => {
            let more = greeting.as_ref().err().filter(|more| !why.contains(*more)).map(|more| format!("; {more}"));
            let has = format!("{why}{}", more.unwrap_or_default());
            found.push(BROKER_AWAY.finds(&object, has, "start it, or set broker.url in warren.toml"));
        }
    }
    if let Ok(greeting) = &seen.amqp.greeting
        && greeting.product != "RabbitMQ"
    {
        let said = format!("it says that it is `{}` {}", greeting.product, greeting.version);
        found.push(STRANGER.finds(object, said, "point broker.url to a RabbitMQ, 3.10 or later"));
    }
    found
}

pub(in crate::doctor) fn management(seen: &Snapshot) -> Vec<Finding> {
    let api = &seen.management;
    let object = format!("management API at {}", api.at);
    if let Err(unseen) = &api.overview {
        let (found, remedy) = told(unseen, &seen.expected.vhost);
        let mut unseen = format!("{found}; policies, alarms, limits, users and members of queues were not looked at");
        if let Some(Err(why)) = &seen.amqp.queues {
            let _ = write!(unseen, ", nor over AMQP whether queues are there: {why}");
        }
        return vec![MANAGEMENT_AWAY.finds(object, unseen, remedy)];
    }
    // One finding for all that is not seen for one reason.
    let mut kept: BTreeMap<&Unseen, Vec<&str>> = BTreeMap::new();
    fn note<'a, T>(kept: &mut BTreeMap<&'a Unseen, Vec<&'a str>>, what: &'static str, part: &'a Seen<T>) {
        if let Err(unseen) = part {
            kept.entry(unseen).or_default().push(what);
        }
    }
    note(&mut kept, "nodes", &api.nodes);
    note(&mut kept, "feature flags", &api.flags);
    note(&mut kept, "deprecated features", &api.deprecated);
    note(&mut kept, "the virtual host", &api.vhost);
    note(&mut kept, "policies", &api.policies);
    note(&mut kept, "operator policies", &api.operator_policies);
    note(&mut kept, "queues", &api.queues);
    note(&mut kept, "queues of devices", &api.devices);
    note(&mut kept, "users", &api.users);
    note(&mut kept, "limits of users", &api.user_limits);
    note(&mut kept, "limits of the virtual host", &api.vhost_limits);
    if let Some(connections) = &api.connections {
        note(&mut kept, "connections", connections);
    }
    let mut found: Vec<Finding> = Vec::new();
    for (unseen, parts) in kept {
        let (why, remedy) = told(unseen, &seen.expected.vhost);
        let has = format!("{} could not be looked at: {why}", parts.join(", "));
        found.push(match unseen {
            Unseen::Kept { tag: Some("administrator"), .. } => {
                UNSEEN_ADMIN.finds(&object, has, format!("{remedy}; leave it so if that is too much"))
            }
            _ => UNSEEN.finds(&object, has, remedy),
        });
    }
    // A node tells its figures some seconds after it has started.
    for node in api.nodes.iter().flatten().filter(|node| node.running && node.mem_limit.is_none()) {
        found.push(UNSEEN.finds(format!("node `{}`", node.name), "its figures are not there yet", "ask again in ten seconds"));
    }
    if api.overview.as_ref().is_ok_and(|overview| overview.disable_stats) {
        found.push(STATS_OFF.finds(object, "statistics are turned off", "management_agent.disable_metrics_collector = false"));
    }
    found
}

/// What is so, and what to do about it.
fn told(unseen: &Unseen, vhost: &str) -> (String, String) {
    match unseen {
        Unseen::Away { why, remedy } => (why.clone(), remedy.clone()),
        Unseen::Kept { user, tag, why } => {
            let name = quoted(user);
            let remedy = match tag {
                // The command replaces the whole list.
                Some(tag) => format!("rabbitmqctl set_user_tags {name} {tag}, with the tags beside it that the user has already"),
                None => {
                    format!("rabbitmqctl list_permissions -p {}, and docs/permissions.md for what `{user}` needs", quoted(vhost))
                }
            };
            (format!("{why} (`{user}`)"), remedy)
        }
    }
}
