//! Each check against what real brokers answered (`recorded/`, from nodes with the same topology, an operator policy, a policy on dead
//! letter queues, a limit on queues, and `guest` as it comes), and against what was changed in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use broker_topology::{
    Device, HUB, Kind, Live, LivePolicy, LiveQueue, Names, QueueKind, Tier, TierLimits, Topology, core, device_queue, devices,
    subscriber, warrens_queues, work_queue,
};
use database::{Inspection, Standing};
use jiff::{SignedDuration, Timestamp};
use messaging::connection::Negotiated;
use messaging::greeting::Greeting;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::finding::{Finding, Severity};
use super::rules::RULES;
use super::snapshot::{
    Amqp, Certificate, Connection, Deprecated, DeviceQueues, Expected, ManagementApi, Node, Place, Queue, Snapshot, Store,
    Unseen, UserLimits,
};
use super::{checks, findings};

const RECORDED: [(&str, &str); 3] = [
    ("3.10.8", include_str!("recorded/3.10.8.json")),
    ("4.0.5", include_str!("recorded/4.0.5.json")),
    ("4.3.6", include_str!("recorded/4.3.6.json")),
];

/// A broker as it was recorded, reached as it should be, and a store that is well.
fn recorded(version: &str) -> Snapshot {
    let (_, text) = RECORDED.iter().find(|(name, _)| *name == version).unwrap();
    let recorded: BTreeMap<String, Value> = serde_json::from_str(text).unwrap();
    fn part<T: DeserializeOwned>(recorded: &BTreeMap<String, Value>, name: &str) -> Result<T, Unseen> {
        Ok(serde_json::from_value(recorded[name].clone()).unwrap_or_else(|error| panic!("{name}: {error}")))
    }
    let names = Names::new("");
    let kind = Kind::parse("orders.place").unwrap();
    let topology = Topology::merge([core(&names), work_queue(&names, &kind, HUB)]).unwrap();
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let greeting = Greeting { product: "RabbitMQ".into(), version: version.into(), ..Greeting::default() };
    Snapshot {
        at: now,
        expected: Expected {
            vhost: "/".into(),
            user: "warren".into(),
            warrens: warrens_queues(&topology).into_iter().map(str::to_owned).collect(),
            topology,
            lost: "warren.lost".into(),
            names,
            keeper: true,
            devices: false,
            connections: 4096,
            files: 5000,
            consumer_timeout: Duration::from_secs(1800),
            heartbeat: Duration::from_secs(10),
        },
        amqp: Amqp {
            at: "rabbit:5671".into(),
            secure: true,
            loopback: false,
            greeting: Ok(greeting),
            login: Ok(Negotiated { frame_max: 131_072, heartbeat: Duration::from_secs(10) }),
            guest: Some(false),
            queues: None,
        },
        management: ManagementApi {
            at: "https://rabbit:15671".into(),
            secure: true,
            loopback: false,
            overview: part(&recorded, "overview"),
            clock: Some((now, now + SignedDuration::from_secs(1))),
            nodes: part(&recorded, "nodes"),
            flags: part(&recorded, "flags"),
            deprecated: part(&recorded, "deprecated"),
            users: part(&recorded, "users"),
            user_limits: part(&recorded, "user_limits"),
            vhost: part(&recorded, "vhost"),
            vhost_limits: part(&recorded, "vhost_limits"),
            connections: None,
            policies: part(&recorded, "policies"),
            operator_policies: part(&recorded, "operator_policies"),
            queues: part(&recorded, "queues"),
            devices: Ok(DeviceQueues::default()),
        },
        certificates: Vec::new(),
        store: Some(Store {
            shown: "postgres://db/warren".into(),
            found: Ok(Inspection { settings: BTreeMap::new(), schema: Standing::Current, path: None }),
            place: None,
        }),
        files: Some(1 << 20),
    }
}

fn codes(seen: &Snapshot) -> Vec<&'static str> {
    let mut codes: Vec<&str> = findings(seen).iter().map(|finding| finding.code).collect();
    codes.sort_unstable();
    codes
}

/// What is found once the snapshot is changed, and was not before: by code.
fn changed(change: impl FnOnce(&mut Snapshot)) -> Vec<Finding> {
    let before = codes(&recorded("4.3.6"));
    let mut seen = recorded("4.3.6");
    change(&mut seen);
    findings(&seen).into_iter().filter(|finding| !before.contains(&finding.code)).collect()
}

/// One finding, of this code, that says these words.
fn found(code: &str, says: &[&str], change: impl FnOnce(&mut Snapshot)) {
    let found = changed(change);
    let [one] = found.as_slice() else { panic!("{code}: {found:#?}") };
    assert_eq!(one.code, code);
    let text = format!("{} {} {}", one.object, one.found, one.remedy);
    for word in says {
        assert!(text.contains(word), "{code} does not say `{word}`: {text}");
    }
}

fn node(seen: &mut Snapshot) -> &mut Node {
    &mut seen.management.nodes.as_mut().unwrap()[0]
}

fn queue<'a>(seen: &'a mut Snapshot, name: &str) -> &'a mut Queue {
    seen.management.queues.as_mut().unwrap().iter_mut().find(|queue| queue.name == name).unwrap()
}

#[test]
fn what_is_wrong_with_the_recorded_brokers_is_found_on_each_version() {
    let everywhere = [
        "cluster-single",
        "consumer-timeout-unseen",
        "disk-limit",
        "guest-password",
        "plugin-prometheus",
        "policy-length",
        "policy-ttl",
        "queue-type-default",
        "user-unlimited",
    ];
    let besides: [&[&str]; 3] = [&["erlang-old", "version-ended"], &["flag-khepri", "version-ended"], &[]];
    for ((version, _), besides) in RECORDED.iter().zip(besides) {
        let mut expected = Vec::from_iter(everywhere.iter().chain(besides).copied());
        expected.sort_unstable();
        assert_eq!(codes(&recorded(version)), expected, "{version}");
    }
}

#[test]
fn a_policy_is_named_with_its_key_its_queues_and_the_command_that_ends_it() {
    for (version, _) in RECORDED {
        let all = findings(&recorded(version));
        let length = all.iter().find(|finding| finding.code == "policy-length").unwrap();
        assert_eq!(length.object, "operator policy `cap`", "{version}");
        assert_eq!(length.found, "sets max-length to 1000 on `jobs.orders.place`, `jobs.orders.place.dead`", "{version}");
        assert!(length.remedy.starts_with("rabbitmqctl clear_operator_policy -p / cap"), "{}", length.remedy);
        let ttl = all.iter().find(|finding| finding.code == "policy-ttl").unwrap();
        assert_eq!((ttl.object.as_str(), ttl.severity), ("policy `ttl`", Severity::Error), "{version}");
        assert!(all.is_sorted_by_key(|finding| std::cmp::Reverse(finding.severity)), "the worst comes first");
    }
}

#[test]
fn only_what_overrides_an_argument_counts() {
    let policy = |name: &'static str, definition: Value| {
        codes(&{
            let mut seen = recorded("4.3.6");
            for queue in seen.management.queues.as_mut().unwrap() {
                queue.effective_policy_definition = Value::Null;
            }
            queue(&mut seen, name).effective_policy_definition = definition;
            seen
        })
        .into_iter()
        .filter(|code| code.starts_with("policy-"))
        .collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(policy("jobs.orders.place", serde_json::json!({"dead-letter-exchange": "x", "overflow": "drop-head"})), none);
    assert_eq!(policy("warren.lost", serde_json::json!({"dead-letter-exchange": "x"})), ["policy-dead-letter"]);
    assert_eq!(policy("warren.retry.5s", serde_json::json!({"dead-letter-routing-key": "x"})), ["policy-dead-letter"]);
    assert_eq!(policy("warren.retry.5s", serde_json::json!({"message-ttl": 4000})), ["policy-ttl"]);
    assert_eq!(policy("warren.retry.5s", serde_json::json!({"message-ttl": 5000})), none);
    assert_eq!(policy("jobs.orders.place", serde_json::json!({"delivery-limit": 20})), ["policy-delivery-limit"]);
    assert_eq!(policy("jobs.orders.place", serde_json::json!({"delivery-limit": 100})), none);
    assert_eq!(policy("jobs.orders.place", serde_json::json!({"expires": 1})), ["policy-expires"]);
    assert_eq!(policy("jobs.orders.place", serde_json::json!({"consumer-timeout": 60_000})), ["policy-consumer-timeout"]);
    assert_eq!(policy("jobs.orders.place", serde_json::json!([])), none, "old brokers say so for none");
}

#[test]
fn versions() {
    let of = |version: &str| {
        let mut seen = recorded("4.3.6");
        seen.management.overview.as_mut().unwrap().rabbitmq_version = version.to_owned();
        let all = checks::ALL.iter().flat_map(|check| check(&seen));
        all.map(|finding| finding.code).filter(|code| code.starts_with("version-")).collect::<Vec<_>>()
    };
    assert_eq!(of("3.9.29"), ["version-old"]);
    assert_eq!(of("3.10.8"), ["version-ended"]);
    assert_eq!(of("3.13.7"), ["version-untested", "version-ended"]);
    assert_eq!(of("4.2.9"), ["version-untested", "version-advisories"]);
    assert_eq!(of("4.2.10-rc.1"), ["version-untested"]);
    assert_eq!(of("4.3.4"), ["version-advisories"]);
    assert_eq!(of("4.3.6"), [""; 0]);
    assert_eq!(of("5.0.0"), ["version-untested"]);
    assert_eq!(of("odd"), [""; 0]);
}

#[test]
fn the_broker_and_its_nodes() {
    found("broker-away", &["refused"], |seen| seen.amqp.login = Err("no broker at rabbit: refused".into()));
    found("broker-away", &["no broker at rabbit: closed; what answers there does not speak AMQP"], |seen| {
        seen.amqp.login = Err("no broker at rabbit: closed".into());
        seen.amqp.greeting = Err("what answers there does not speak AMQP 0-9-1".into());
    });
    found("unseen", &["its greeting", "no answer in 10s"], |seen| seen.amqp.greeting = Err("no answer in 10s".into()));
    found("broker-stranger", &["LavinMQ"], |seen| seen.amqp.greeting.as_mut().unwrap().product = "LavinMQ".into());
    found("stats-off", &["statistics"], |seen| seen.management.overview.as_mut().unwrap().disable_stats = true);
    found("erlang-old", &["25.2.3"], |seen| seen.management.overview.as_mut().unwrap().erlang_version = "25.2.3".into());
    found("flag-quorum-queue", &["enable_feature_flag quorum_queue"], |seen| {
        let flags = seen.management.flags.as_mut().unwrap();
        flags.iter_mut().find(|flag| flag.name == "quorum_queue").unwrap().state = "disabled".into();
    });
    found("flag-off", &["rabbitmq_4.3.0"], |seen| {
        let flags = seen.management.flags.as_mut().unwrap();
        flags.iter_mut().find(|flag| flag.name == "rabbitmq_4.3.0").unwrap().state = "disabled".into();
    });
    found("deprecated-used", &["transient_nonexcl_queues", "permitted by default"], |seen| {
        let name = "transient_nonexcl_queues".into();
        seen.management.deprecated = Ok(vec![Deprecated { name, deprecation_phase: "permitted_by_default".into() }]);
    });
    found("unseen", &["rabbit@localhost", "figures are not there yet"], |seen| {
        *node(seen) = Node { name: node(seen).name.clone(), running: true, ..Node::default() }
    });
    found("node-down", &["rabbit@localhost"], |seen| node(seen).running = false);
    found("partition", &["rabbit@two"], |seen| node(seen).partitions = vec!["rabbit@two".into()]);
    found("cluster-even", &["2 nodes"], |seen| {
        let nodes = seen.management.nodes.as_mut().unwrap();
        nodes.push(nodes[0].clone());
        for queue in seen.management.queues.as_mut().unwrap() {
            for nodes in [&mut queue.members, &mut queue.online].into_iter().flatten() {
                nodes.push("rabbit@two".into());
            }
        }
    });
    found("versions-mixed", &["4.3.6", "4.2.0"], |seen| {
        let mut other = node(seen).applications[0].clone();
        other.version = "4.2.0".into();
        node(seen).applications.push(other);
    });
}

#[test]
fn limits_of_a_node() {
    found("alarm-memory", &["memory alarm", "1.0 GB"], |seen| node(seen).mem_alarm = true);
    found("alarm-disk", &["disk alarm", "38.6 GB free"], |seen| node(seen).disk_free_alarm = true);
    found("memory-near", &["900.0 MB in use"], |seen| node(seen).mem_used = Some(900_000_000));
    found("memory-small", &["200.0 MB"], |seen| (node(seen).mem_limit, node(seen).mem_used) = (Some(200_000_000), Some(1)));
    found("disk-near", &["90.0 MB free"], |seen| node(seen).disk_free = Some(90_000_000));
    found("files-few", &["1024 open files", "LimitNOFILE"], |seen| node(seen).fd_total = Some(1024));
    found("files-near", &["19000 of 20000"], |seen| node(seen).fd_used = Some(19_000));
    found("sockets-near", &["900 of 1000"], |seen| (node(seen).sockets_used, node(seen).sockets_total) = (Some(900), Some(1000)));
    found("processes-near", &["1000000 of 1048576"], |seen| node(seen).proc_used = Some(1_000_000));
}

/// With policies as they are made, and a queue as it is declared.
fn serve(seen: &mut Snapshot) {
    seen.expected.devices = true;
    let names = &seen.expected.names;
    let own = devices(names, &TierLimits::default());
    seen.management.policies.as_mut().unwrap().extend(own.policies.iter().map(LivePolicy::of));
    let queue = device_queue(names, Device { number: 1, tier: Tier::Standard });
    let live = Live::of(&Topology::default().queue(queue));
    seen.management.devices = Ok(DeviceQueues { count: 1, some: live.queues.into_values().collect() });
}

/// What makes a queue another one than a hub declares.
type Spoil = fn(&mut LiveQueue);

#[test]
fn what_devices_stand_on() {
    assert_eq!(changed(|seen| (seen.files, seen.management.policies) = (Some(100), Ok(Vec::new()))), [], "they are not served");
    let served = |change: fn(&mut Snapshot)| {
        move |seen: &mut Snapshot| {
            serve(seen);
            change(seen);
        }
    };
    let missing = |seen: &mut Snapshot| seen.management.policies.as_mut().unwrap().retain(|one| !one.name.ends_with(".lite"));
    let says = ["queues device.lite.*", "nothing bounds them", "warren topology apply"];
    found("device-policy-missing", &says, served(missing));
    let expires = |seen: &mut Snapshot| {
        let policy = LivePolicy {
            name: "tidy".into(),
            pattern: r"^device\.standard".into(),
            apply_to: "queues".into(),
            definition: BTreeMap::from([("expires".into(), 1.into())]),
            ..LivePolicy::default()
        };
        seen.management.operator_policies.as_mut().unwrap().push(policy);
    };
    found("device-policy-wrong", &["queues device.standard.*", "`expires` 1 by `tidy`"], served(expires));
    let unread = |seen: &mut Snapshot| {
        let odd = LivePolicy { name: "odd".into(), pattern: "^(".into(), apply_to: "queues".into(), ..LivePolicy::default() };
        seen.management.policies.as_mut().unwrap().push(odd);
    };
    found("device-policy-unread", &["policy odd"], served(unread));
    found("files-own", &["100 files", "4096", "5000", "LimitNOFILE"], served(|seen| seen.files = Some(100)));
    let faults: [(&str, Spoil); 5] = [
        ("not classic", |queue| queue.kind = Some("quorum".into())),
        ("gone with a restart", |queue| queue.durable = false),
        ("gone with its consumer", |queue| queue.auto_delete = true),
        ("gone when nobody uses it", |queue| drop(queue.arguments.insert("x-expires".into(), 1.into()))),
        ("without a single active consumer", |queue| queue.arguments.clear()),
    ];
    for (says, fault) in faults {
        found("device-queues", &["1 of 1 queues", says, "`device.standard.1`", "delete them"], |seen| {
            serve(seen);
            fault(&mut seen.management.devices.as_mut().unwrap().some[0]);
        });
    }
    let many = |seen: &mut Snapshot| {
        seen.management.devices.as_mut().unwrap().count = 40_000;
        seen.management.vhost_limits = Ok(Vec::new());
        node(seen).fd_total = Some(65_536);
    };
    found("files-few", &["40000 of devices", "LimitNOFILE"], served(many));
    let full = |seen: &mut Snapshot| {
        let there = seen.management.queues.as_ref().unwrap().len() as i64 + 1;
        seen.management.vhost_limits.as_mut().unwrap()[0].value.insert("max-queues".to_owned(), there);
    };
    found("vhost-queues", &["max-queues is", "0 of Warren's are missing"], served(full));
    let dropped = |seen: &mut Snapshot| {
        let topology = devices(&seen.expected.names, &TierLimits::default());
        seen.expected.warrens.extend(warrens_queues(&topology).into_iter().map(str::to_owned));
        seen.expected.topology = topology;
        let (messages, consumers) = (Some(3), Some(0));
        let queue = Queue { name: "warren.devices.dropped".into(), messages, consumers, ..Queue::default() };
        seen.management.queues.as_mut().unwrap().push(queue);
    };
    found("queue-unattended", &["`warren.devices.dropped`", "3 messages", "role devices"], served(dropped));
}

#[test]
fn who_may_do_what() {
    found("guest-open", &["over the network"], |seen| seen.amqp.guest = Some(true));
    let mut seen = recorded("4.3.6");
    for user in seen.management.users.as_mut().unwrap() {
        user.password_hash = user.password_hash.as_ref().map(|hash| hash.replace(['A', 'a'], "B"));
    }
    assert!(!codes(&seen).contains(&"guest-password"), "another password is none of our business");
    let mut seen = recorded("4.3.6");
    let value = serde_json::json!({"max-connections": 20});
    seen.management.user_limits = Ok(vec![UserLimits { user: "warren".into(), value }]);
    assert!(!codes(&seen).contains(&"user-unlimited"));
    let limit = |seen: &mut Snapshot, name: &str, value| {
        seen.management.vhost_limits.as_mut().unwrap()[0].value.insert(name.to_owned(), value);
    };
    found("vhost-queues", &["max-queues is 9", "10 are there"], |seen| limit(seen, "max-queues", 9));
    let connections = |most: i64, open: usize| {
        move |seen: &mut Snapshot| {
            limit(seen, "max-queues", 50);
            limit(seen, "max-connections", most);
            seen.management.connections = Some(Ok(vec![Connection::default(); open]));
        }
    };
    let all = r#"'{"max-connections":20,"max-queues":50}'"#;
    found("vhost-connections", &["max-connections is 10, and 8 are open", all], connections(10, 8));
    assert_eq!(changed(connections(10, 7)), []);
    let lowered = |seen: &mut Snapshot| {
        limit(seen, "max-queues", 9);
        limit(seen, "max-connections", 10);
    };
    found("vhost-queues", &[r#"'{"max-connections":10,"max-queues":20}'"#], lowered);
}

#[test]
fn queues_of_ours() {
    found("queue-missing", &["1 of 10", "`warren.lost`", "warren topology apply"], |seen| {
        seen.management.queues.as_mut().unwrap().retain(|queue| queue.name != "warren.lost");
    });
    found("queue-type", &["is classic, not quorum"], |seen| queue(seen, "warren.lost").kind = Some("classic".into()));
    found("queue-leaderless", &["no leader", "quorum_status"], |seen| queue(seen, "warren.lost").leader = None);
    found("queue-minority", &["0 of 1 members"], |seen| queue(seen, "warren.lost").online = Some(Vec::new()));
    found("queue-unacked", &["5000 unacked"], |seen| {
        let queue = queue(seen, "jobs.orders.place");
        (queue.messages_unacknowledged, queue.consumers) = (Some(5000), Some(2));
    });
    found("queue-unattended", &["`jobs.orders.place`", "7 messages and no consumer"], |seen| {
        queue(seen, "jobs.orders.place").messages = Some(7);
    });
    found("lost-messages", &["3 messages"], |seen| {
        let queue = queue(seen, "warren.lost");
        (queue.messages, queue.consumers) = (Some(3), Some(1));
    });
    assert_eq!(changed(|seen| queue(seen, "warren.retry.30s").messages = Some(7)), [], "what waits in a rung waits for its time");
    let unkept = |seen: &mut Snapshot| {
        seen.expected.keeper = false;
        queue(seen, "jobs.orders.place.dead").messages = Some(7);
    };
    assert_eq!(changed(unkept), [], "without a keeper dead letters stay there");
    let three = |seen: &mut Snapshot| {
        let nodes = seen.management.nodes.as_mut().unwrap();
        let one = nodes[0].clone();
        nodes.extend([one.clone(), one]);
    };
    found("queue-members", &["10 queues", "cluster of 3 nodes", "rabbitmq-queues grow"], three);
}

/// What a team declares beside Warren: there, with messages that nobody takes, and tuned by a policy.
#[test]
fn queues_of_a_team_are_its_own_affair_but_for_what_it_declared_of_them() {
    let names = Names::new("");
    let own = |name: &str, kind| broker_topology::Queue::new(name, kind, "team", "x");
    let with_own = |seen: &mut Snapshot| {
        let topology = seen.expected.topology.clone().and(subscriber(&names, "mail.ends", &["order.*"], "mail"));
        let topology = topology.queue(own("orders.log", QueueKind::Stream)).queue(own("orders.eu", QueueKind::Classic));
        seen.expected.warrens = warrens_queues(&topology).into_iter().map(str::to_owned).collect();
        seen.expected.topology = topology;
        let queues = seen.management.queues.as_mut().unwrap();
        let lost = queues.iter().find(|queue| queue.name == "warren.lost").unwrap().clone();
        for (name, kind) in
            [("mail.ends", "quorum"), ("mail.ends.dead", "quorum"), ("orders.log", "stream"), ("orders.eu", "classic")]
        {
            queues.push(Queue { name: name.into(), kind: Some(kind.into()), ..lost.clone() });
        }
        // As RabbitMQ 3.10 has it.
        queue(seen, "orders.log").leader = None;
        for name in ["orders.log", "orders.eu"] {
            let queue = queue(seen, name);
            (queue.messages, queue.consumers, queue.messages_unacknowledged) = (Some(5000), Some(0), Some(5000));
            queue.effective_policy_definition = serde_json::json!({"expires": 10, "delivery-limit": 1});
        }
    };
    assert_eq!(changed(with_own), []);
    found("queue-type", &["`orders.log`", "is classic, not stream"], |seen| {
        with_own(seen);
        queue(seen, "orders.log").kind = Some("classic".into());
    });
    found("queue-unattended", &["`mail.ends`", "start the program of `mail`"], |seen| {
        with_own(seen);
        (queue(seen, "mail.ends").messages, queue(seen, "mail.ends").consumers) = (Some(1), Some(0));
    });
    found("policy-expires", &["`mail.ends`"], |seen| {
        with_own(seen);
        queue(seen, "mail.ends").effective_policy_definition = serde_json::json!({"expires": 10});
    });
}

#[test]
fn the_way_there() {
    found("clock-skew", &["59 s ahead of"], |seen| {
        let (theirs, _) = seen.management.clock.as_mut().unwrap();
        *theirs += SignedDuration::from_secs(60);
    });
    let agreed = |heartbeat, frame_max| {
        move |seen: &mut Snapshot| seen.amqp.login = Ok(Negotiated { heartbeat: Duration::from_secs(heartbeat), frame_max })
    };
    found("heartbeat-off", &["no heartbeat"], agreed(0, 131_072));
    found("heartbeat-fast", &["every 2 s"], agreed(2, 131_072));
    found("heartbeat-slow", &["every 300 s"], agreed(300, 131_072));
    found("frame-small", &["8192 bytes"], agreed(10, 8192));
    assert_eq!(changed(agreed(10, 0)), [], "0 is no limit");
    found("plain-network", &["amqps://"], |seen| seen.amqp.secure = false);
    assert_eq!(changed(|seen| (seen.amqp.secure, seen.amqp.loopback) = (false, true)), []);
    found("plain-network", &["management API at https://rabbit", "http without TLS"], |seen| seen.management.secure = false);
    assert_eq!(changed(|seen| (seen.management.secure, seen.management.loopback) = (false, true)), []);
    let file = |any, ends: Result<Vec<Timestamp>, String>| {
        move |seen: &mut Snapshot| seen.certificates.push(Certificate { object: "certificate of rabbit:5671".into(), ends, any })
    };
    let certificate = |ends| file(false, ends);
    let days = |all: &[i64]| Ok(all.iter().map(|days| recorded("4.3.6").at + SignedDuration::from_hours(24 * days)).collect());
    found("certificate-ended", &["ended on 2027-01-14"], certificate(days(&[-1])));
    found("certificate-ends", &["in 29 days"], certificate(days(&[29])));
    assert_eq!(changed(certificate(days(&[31]))), []);
    // Each part of a chain has to hold; of authorities the others go on.
    found("certificate-ended", &["ended on 2027-01-14"], certificate(days(&[31, -1])));
    found("certificate-ends", &["1 of 2 certificates in it have ended, the first on 2027-01-14"], file(true, days(&[31, -1])));
    found("certificate-ended", &["ended on"], file(true, days(&[-2, -1])));
    found("certificate-unread", &["no PEM"], certificate(Err("is no PEM".into())));
}

#[test]
fn the_store() {
    let setting = |name: &'static str| {
        move |seen: &mut Snapshot| {
            _ = seen.store.as_mut().unwrap().found.as_mut().unwrap().settings.insert(name.into(), "off".into())
        }
    };
    found("store-unsafe", &["fsync is off", "postgres://db/warren"], setting("fsync"));
    found("store-unsafe", &["full_page_writes is off"], setting("full_page_writes"));
    found("store-commit", &["synchronous_commit"], setting("synchronous_commit"));
    found("store-away", &["refused"], |seen| seen.store.as_mut().unwrap().found = Err("refused".into()));
    let schema = |schema| move |seen: &mut Snapshot| seen.store.as_mut().unwrap().found.as_mut().unwrap().schema = schema;
    found("store-schema", &["lacks step 13", "warren migrate"], schema(Standing::Behind("lacks step 13".into())));
    found("store-new", &["not there yet"], schema(Standing::Missing));
    let place = |network, free| {
        move |seen: &mut Snapshot| seen.store.as_mut().unwrap().place = Some(Place { folder: "/data".into(), network, free })
    };
    found("store-network", &["/data is on NFS"], place(Some("NFS"), u64::MAX));
    found("store-disk", &["999.9 MB free in /data"], place(None, 999_999_999));
}

#[test]
fn what_was_not_seen_is_said_once_and_the_rest_is_looked_at() {
    let mut seen = recorded("3.10.8");
    let away = || Unseen::Away {
        why: "no management API answers at http://rabbit:15672: refused".to_owned(),
        remedy: "turn the plugin on".to_owned(),
    };
    let api = &mut seen.management;
    (api.overview, api.nodes, api.flags, api.users) = (Err(away()), Err(away()), Err(away()), Err(away()));
    (api.deprecated, api.user_limits, api.vhost_limits) = (Err(away()), Err(away()), Err(away()));
    (api.vhost, api.policies, api.operator_policies) = (Err(away()), Err(away()), Err(away()));
    seen.amqp.greeting.as_mut().unwrap().platform = "Erlang/OTP 25.2.3".into();
    let told = api.queues.as_ref().unwrap().iter();
    let told = told.map(|queue| Queue { name: queue.name.clone(), messages: Some(1), consumers: Some(0), ..Queue::default() });
    (seen.amqp.queues, api.queues) = (Some(Ok(told.collect())), Err(away()));
    let all = findings(&seen);
    let first = &all[0];
    assert_eq!((first.code, first.severity), ("management-away", Severity::Error));
    assert!(first.found.contains("alarms") && first.remedy == "turn the plugin on", "{first:?}");
    for code in ["erlang-old", "version-ended", "queue-unattended", "lost-messages"] {
        assert!(all.iter().any(|finding| finding.code == code), "{code} is told by AMQP");
    }
    seen.amqp.queues = Some(Err("ACCESS_REFUSED".to_owned()));
    let all = findings(&seen);
    assert!(all[0].found.ends_with("whether queues are there: ACCESS_REFUSED"), "{}", all[0].found);
    assert!(!all.iter().any(|finding| finding.code == "queue-missing"), "what is kept from us may be there");
    let mut seen = recorded("3.10.8");
    seen.amqp.queues = Some(seen.management.queues.map_err(|_| String::new()));
    seen.management.queues = Err(away());
    let all = findings(&seen);
    let unseen = all.iter().find(|finding| finding.code == "unseen").expect("AMQP tells neither policies nor members");
    assert!(unseen.found.starts_with("queues could not be looked at: no management API"), "{}", unseen.found);
    assert_eq!(unseen.remedy, "turn the plugin on", "no tag would help");
    let mut seen = recorded("3.10.8");
    // The user of the management API, whatever that one is called.
    let kept = |tag| Unseen::Kept { user: "administrators-eye".into(), tag: Some(tag), why: "Not allowed".into() };
    (seen.management.nodes, seen.management.flags) = (Err(kept("monitoring")), Err(kept("monitoring")));
    (seen.management.users, seen.management.user_limits) = (Err(kept("administrator")), Err(kept("administrator")));
    let all = findings(&seen);
    let unseen: Vec<_> = all.iter().filter(|finding| finding.code.starts_with("unseen")).collect();
    assert_eq!(unseen.len(), 2, "{unseen:#?}");
    let by = |code: &str| unseen.iter().find(|finding| finding.code == code).unwrap();
    let (monitor, admin) = (by("unseen"), by("unseen-admin"));
    assert!(monitor.found.starts_with("nodes, feature flags could not be looked at"), "{}", monitor.found);
    assert!(monitor.remedy.starts_with("rabbitmqctl set_user_tags administrators-eye monitoring, with the tags beside it"));
    assert!(admin.found.starts_with("users, limits of users could not"), "{}", admin.found);
    assert!(admin.remedy.contains("set_user_tags administrators-eye administrator"), "{}", admin.remedy);
}

/// `docs/doctor.md` has one row per rule.
#[test]
fn the_page_of_findings_is_up_to_date() {
    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/doctor.md");
    const MARK: &str = "<!-- findings -->\n";
    let mut table = String::from("\n| code | severity | why it matters |\n|---|---|---|\n");
    for rule in RULES {
        table += &format!("| `{}` | {} | {} |\n", rule.code, rule.severity.as_str(), rule.why);
    }
    let text = std::fs::read_to_string(PATH).unwrap();
    let parts: Vec<&str> = text.split(MARK).collect();
    let [before, found, after] = parts.as_slice() else { panic!("docs/doctor.md has two marks") };
    if std::env::vars_os().any(|(name, _)| name == "UPDATE") {
        std::fs::write(PATH, [before, table.as_str(), after].join(MARK)).unwrap();
    } else {
        assert!(*found == table, "docs/doctor.md is stale: run `UPDATE=1 cargo test -p warren-hub the_page_of_findings`");
    }
    let mut codes: Vec<&str> = RULES.iter().map(|rule| rule.code).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), RULES.len(), "a code is used twice");
}
