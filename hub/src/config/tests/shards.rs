//! More brokers for devices.

use super::{Given, given};
use crate::config::{Broker, Config};

/// With devices, and these shards after a main broker.
fn with(shards: &str) -> Given {
    given().file(&format!("[broker]\nurl = \"amqp://a:b@main\"\nprefix = \"acme.\"\n{shards}\n[devices]\nenabled = true"))
}

fn of(config: &Config, name: &str) -> Broker {
    config.of_shard(name).expect("there is one").broker
}

#[test]
fn a_shard_is_reached_by_its_own_url_and_has_what_devices_share() {
    let kept = given();
    let file = kept.write("north", "amqp://n:n0rth-pw@north/x\n");
    let shards = format!(
        "[[broker.shard]]\nname = \"north\"\nurl_file = {file:?}\ndrain = true\n[[broker.shard]]\nname = \"south-2\"\n\
         url = [\"amqp://main\", \"amqp://other\"]\nvhost = \"devices\"\nmanagement_url = \"http://m:s0uth-pw@south\""
    );
    let config = with(&shards).config();
    let (north, south) = (of(&config, "north"), of(&config, "south-2"));
    assert_eq!((north.vhost_name().as_str(), north.prefix.as_str(), north.heartbeat), ("x", "acme.", config.broker.heartbeat));
    assert_eq!((south.vhost_name().as_str(), south.urls.len()), ("devices", 2));
    assert_eq!(config.broker.shards.iter().map(|shard| shard.drain).collect::<Vec<_>>(), [true, false]);
    assert!(config.of_shard("main").is_none());
    let topology = config.of_shard("north").unwrap().topology().unwrap();
    let queues: Vec<&str> = topology.queues.iter().map(|queue| queue.name.as_str()).collect();
    assert_eq!(queues, ["acme.warren.devices.dropped"]);
    assert_eq!(topology.policies.len(), 2);
    assert!(config.topology().unwrap().queues.len() > 5, "the main broker has everything");
    let dump = config.dump();
    assert!(dump.contains("[[broker.shard]]") && !dump.contains("n0rth-pw") && !dump.contains("s0uth-pw"), "{dump}");
    let again = given().file(&dump.replace("***", "x")).config();
    assert_eq!(again.broker.shards.len(), 2);
}

#[test]
fn certificates_are_those_of_the_main_broker_where_they_are_of_use() {
    let given = with("");
    let files: Vec<_> = ["ca", "certificate", "key", "own"].map(|name| given.write(name, "pem")).into();
    let [ca, certificate, key, own] = &files[..] else { unreachable!() };
    let shards = format!(
        "[[broker.shard]]\nname = \"plain\"\nurl = \"amqp://plain\"\n[[broker.shard]]\nname = \"tls\"\nurl = \"amqps://tls\"\n\
         ca_file = {own:?}"
    );
    let text = format!(
        "[broker]\nurl = \"amqps://main\"\nca_file = {ca:?}\nclient_cert_file = {certificate:?}\nclient_key_file = {key:?}\n{shards}\n\
         [devices]\nenabled = true"
    );
    let config = self::given().file(&text).config();
    let (plain, tls) = (of(&config, "plain"), of(&config, "tls"));
    assert_eq!((plain.ca_file, plain.client_cert_file, plain.client_key_file), (None, None, None));
    let wanted = (Some(own.clone()), Some(certificate.clone()), Some(key.clone()));
    assert_eq!((tls.ca_file, tls.client_cert_file, tls.client_key_file), wanted);
}

#[test]
fn what_is_wrong_about_a_shard_is_told_with_its_remedy() {
    let one = |more: &str| format!("[[broker.shard]]\n{more}\n");
    let north = one("name = \"north\"\nurl = \"amqp://north\"");
    for (shards, says) in [
        (one("url = \"amqp://north\""), "broker.shard[0].name` is missing: say what the shard is called"),
        (one("name = \"main\"\nurl = \"amqp://x\""), "is `main`, which is what [broker] itself is called: use another"),
        (one("name = \"North\"\nurl = \"amqp://x\""), "must be 1 to 32 of a-z, 0-9 and `-`"),
        (one("name = \"north\""), "broker.shard[0].url` must be given, or url_file, and not both"),
        (one("name = \"north\"\nurl_file = \"/nowhere\""), "broker.shard[0].url_file` cannot be read: /nowhere"),
        (one("name = \"north\"\nurl = \"http://x\""), "must be a URL such as"),
        (format!("{north}{}", one("name = \"north\"\nurl = \"amqp://y\"")), "broker.shard[1].name` is a second `north`"),
        (
            format!("{north}{}", one("name = \"south\"\nurl = [\"amqp://y\", \"amqp://north:5672/%2f\"]")),
            "broker.shard[1].url` is north:5672 (virtual host `/`), and so is the one of `north`",
        ),
        (one("name = \"north\"\nurl = \"amqp://main\""), "is main:5672 (virtual host `/`), and so is the one of `main`"),
        (one("name = \"north\"\nurl = \"amqp://x\"\nca_file = \"/nowhere\""), "broker.shard[0].ca_file` cannot be read"),
        (one("name = \"north\"\nurl = \"amqp://x\"\nheartbeat = \"5s\""), "broker.shard[0].heartbeat"),
    ] {
        let said = with(&shards).error();
        assert!(said.contains(says), "{shards}: {said}");
    }
    let nobody = given().file(&north).error();
    assert!(nobody.contains("broker.shard` has devices alone, and none are served: set devices.enabled = true"), "{nobody}");
}
