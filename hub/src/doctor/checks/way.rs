//! The way to the broker: clocks, heartbeats, frames, certificates.

use jiff::{SignedDuration, Timestamp};

use crate::doctor::finding::{Finding, Rule};
use crate::doctor::rules::{
    CERTIFICATE_ENDED, CERTIFICATE_ENDS, CERTIFICATE_UNREAD, CLOCK_SKEW, FRAME_SMALL, HEARTBEAT_FAST, HEARTBEAT_OFF,
    HEARTBEAT_SLOW, PLAIN_NETWORK,
};
use crate::doctor::snapshot::{Certificate, Snapshot};

/// More than a slow answer and a second of rounding explain.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// Headers of ours, and as much for what others add.
const LEAST_FRAME: u32 = 32 * 1024;

/// For a certificate to be renewed in.
const NOTICE: SignedDuration = SignedDuration::from_hours(30 * 24);

pub(in crate::doctor) fn clock(seen: &Snapshot) -> Vec<Finding> {
    let Some((theirs, ours)) = seen.management.clock else { return Vec::new() };
    let ahead = theirs.duration_since(ours);
    if ahead.abs() <= SKEW {
        return Vec::new();
    }
    let way = if ahead.is_positive() { "ahead of" } else { "behind" };
    let has = format!("{} s {way} this machine's", ahead.abs().as_secs());
    vec![CLOCK_SKEW.finds("the broker's clock", has, "run NTP on both (timedatectl set-ntp true)")]
}

pub(in crate::doctor) fn connection(seen: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    let object = format!("connection to {}", seen.amqp.at);
    if !seen.amqp.secure && !seen.amqp.loopback {
        let remedy = "broker.url = \"amqps://...\" once the broker listens on 5671; broker.ca_file for an authority of your own";
        found.push(PLAIN_NETWORK.finds(&object, "amqp without TLS to another machine", remedy));
    }
    let api = &seen.management;
    if !api.secure && !api.loopback && api.overview.is_ok() {
        let remedy = "broker.management_url = \"https://...\" once it listens there; broker.ca_file for an authority of your own";
        found.push(PLAIN_NETWORK.finds(format!("management API at {}", api.at), "http without TLS to another machine", remedy));
    }
    let Ok(negotiated) = &seen.amqp.login else { return found };
    let agreed = negotiated.heartbeat.as_secs();
    let has = format!("a heartbeat every {agreed} s was agreed on; broker.heartbeat is {} s", seen.expected.heartbeat.as_secs());
    match agreed {
        0 => found.push(HEARTBEAT_OFF.finds(
            &object,
            "no heartbeat was agreed on",
            "heartbeat = 60 in rabbitmq.conf, broker.heartbeat = \"10s\"",
        )),
        1..5 => found.push(HEARTBEAT_FAST.finds(&object, has, "heartbeat = 60 in rabbitmq.conf, broker.heartbeat = \"10s\"")),
        5..=60 => {}
        _ => found.push(HEARTBEAT_SLOW.finds(&object, has, "broker.heartbeat = \"10s\"")),
    }
    if negotiated.frame_max != 0 && negotiated.frame_max < LEAST_FRAME {
        let has = format!("frames of {} bytes at most", negotiated.frame_max);
        found.push(FRAME_SMALL.finds(object, has, "frame_max = 131072 in rabbitmq.conf, and no smaller one in broker.url"));
    }
    found
}

pub(in crate::doctor) fn certificates(seen: &Snapshot) -> Vec<Finding> {
    let remedy = "renew it, and have it read again (a broker: rabbitmqctl eval 'ssl:clear_pem_cache().'; the hub: a restart)";
    let one = |certificate: &Certificate| {
        let ends = match &certificate.ends {
            Ok(ends) => ends,
            Err(why) => return Some(CERTIFICATE_UNREAD.finds(&certificate.object, why, "give it as PEM, with its validity")),
        };
        let finds = |rule: &Rule, has: String| Some(rule.finds(&certificate.object, has, remedy));
        let first = *ends.iter().min()?;
        let ended = ends.iter().filter(|end| **end <= seen.at).count();
        match ends.len() {
            all if ended > 0 && ended < all && certificate.any => {
                finds(&CERTIFICATE_ENDS, format!("{ended} of {all} certificates in it have ended, the first on {}", day(first)))
            }
            _ if ended > 0 => finds(&CERTIFICATE_ENDED, format!("ended on {}", day(first))),
            _ if first.duration_since(seen.at) < NOTICE => {
                let left = first.duration_since(seen.at).as_hours() / 24;
                finds(&CERTIFICATE_ENDS, format!("ends on {}, in {left} days", day(first)))
            }
            _ => None,
        }
    };
    seen.certificates.iter().filter_map(one).collect()
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}
