//! What a team declares: read, merged, and refused with its line.

use std::collections::BTreeSet;

use super::*;

/// One of each sort, all in order.
const OWN: &str = "[[exchange]]\nname = 'orders'\ntype = 'topic'\nowner = 'team'\n[[exchange]]\nname = 'regions'\ntype = 'headers'\n\
    owner = 'team'\ndescription = 'by region'\nalternate = 'orders'\ninternal = true\n[[queue]]\nname = 'audit'\nowner = 'team'\n\
    dead_letter = { queue = 'parked' }\narguments = { x-delivery-limit = 20, x-message-ttl = '7d', x-max-length-bytes = '1GiB' }\n\
    [[queue]]\nname = 'parked'\nowner = 'team'\narguments = { x-delivery-limit = 1000000 }\n[[queue]]\nname = 'mails'\n\
    owner = 'mail'\nsubscribe = ['order.*']\ndescription = 'what is mailed'\n[[queue]]\nname = 'log'\ntype = 'stream'\n\
    owner = 'team'\narguments = { x-max-age = '7D' }\n[[binding]]\nsource = 'orders'\nqueue = 'audit'\nkey = 'order.#'\n[[binding]]\n\
    source = 'orders'\nexchange = 'regions'\nkey = '#'\n[[binding]]\nsource = 'regions'\nqueue = 'log'\n\
    headers = { region = 'eu', count = 3 }\nmatch = 'any'\n[[policy]]\nname = 'size'\npattern = '^audit'\n\
    definition = { max-length = 5, alternate-exchange = 'orders' }\n";

#[test]
fn a_team_declares_its_own_beside_warrens() {
    let topology = given().file(OWN).config().topology().unwrap();
    let queue = |name: &str| topology.queues.iter().find(|queue| queue.name == name).unwrap_or_else(|| panic!("{name}"));
    let argument =
        |name: &str, argument: &str| queue(name).arguments().get(argument).map(ToString::to_string).unwrap_or_default();
    assert_eq!(argument("audit", "x-message-ttl"), "604800000");
    assert_eq!(argument("audit", "x-max-length-bytes"), "1073741824");
    assert_eq!(argument("audit", "x-dead-letter-exchange"), "``");
    assert_eq!(argument("audit", "x-dead-letter-routing-key"), "`parked`");
    assert_eq!(
        (argument("audit", "x-overflow"), argument("audit", "warren-owner")),
        ("`reject-publish`".into(), "`team`".into())
    );
    assert_eq!(
        (argument("mails", "warren-description"), argument("log", "x-queue-type")),
        ("`what is mailed`".into(), "`stream`".into())
    );
    assert_eq!(topology.queues_for("warren.events", "order.placed"), BTreeSet::from(["mails"]));
    assert_eq!(topology.queues_for("warren.dead", "mails"), BTreeSet::from(["mails.dead"]));
    let by_headers = topology.bindings.iter().find(|binding| binding.source == "regions").unwrap();
    assert!(by_headers.to_string().ends_with("(key ``, count = 3, region = `eu`, x-match = `any`)"), "{by_headers}");
    let regions = topology.exchanges.iter().find(|exchange| exchange.name == "regions").unwrap();
    assert!(regions.internal && regions.alternate.as_deref() == Some("orders"));
}

#[test]
fn what_a_team_declares_gets_the_prefix_everywhere() {
    let config = given().file(OWN).flag("broker.prefix", "acme.").config();
    let topology = config.topology().unwrap();
    let policy = topology.policies.iter().next().unwrap();
    assert_eq!((policy.name.as_str(), policy.pattern.as_str()), ("acme.size", r"^acme\.audit"));
    assert_eq!(policy.definition["alternate-exchange"].to_string(), "`acme.orders`");
    let text = format!("{:?}{:?}{:?}", topology.exchanges, topology.queues, topology.bindings);
    for name in ["orders", "regions", "audit", "parked", "mails", "mails.dead", "log", "warren.events"] {
        assert!(text.contains(&format!("\"acme.{name}\"")) && !text.contains(&format!("\"{name}\"")), "{name} in {text}");
    }
    let given = given().file("[[queue]]\nname='q'\nowner='t'\narguments={x-delivery-limit=1000000}");
    let given = given.flag("binding", "[{source='amq.topic',queue='q',key='k'},{source='warren.return',queue='q',key='q'}]");
    let topology = given.flag("broker.prefix", "acme.").config().topology().unwrap();
    assert_eq!(topology.queues_for("amq.topic", "k"), BTreeSet::from(["acme.q"]));
    assert_eq!(topology.queues_for("acme.warren.return", "acme.q"), BTreeSet::from(["acme.q"]));
    // What is dead-lettered by the name of a queue too, and nothing else.
    for (exchange, key) in [
        ("warren.dead", "acme.q"),
        ("warren.return", "acme.q"),
        ("warren.retry.1s", "acme.q"),
        ("warren.retry.10m", "acme.q"),
        ("", "acme.q"),
        ("warren.events", "q"),
    ] {
        let letters = format!(
            "[[queue]]\nname='q'\nowner='t'\nsubscribe=['a']\n[[queue]]\nname='letters'\nowner='t'\narguments={{x-delivery-limit=9}}\n\
             dead_letter={{exchange='{exchange}',key='q'}}\n[[binding]]\nsource='warren.events'\nqueue='q'\nkey='q'\n\
             [[policy]]\nname='p'\npattern='^x'\ndefinition={{dead-letter-exchange='{exchange}',dead-letter-routing-key='q'}}\n"
        );
        let topology = self::given().file(&letters).flag("broker.prefix", "acme.").config().topology().unwrap();
        let queue = topology.queues.iter().find(|queue| queue.name == "acme.letters").unwrap();
        assert_eq!(queue.arguments["x-dead-letter-routing-key"].as_text(), Some(key), "{exchange}");
        let policy = topology.policies.iter().next().unwrap();
        assert_eq!(policy.definition["dead-letter-routing-key"].as_text(), Some(key), "{exchange}");
    }
}

#[test]
fn what_a_team_declares_is_dumped_and_read_again() {
    let config = given().file(OWN).config();
    assert_eq!(given().file(&config.dump().replace("***", "guest")).config(), config);
    assert!(config.dump().contains("x-message-ttl = 604800000"), "{}", config.dump());
}

#[test]
fn an_object_is_read_with_every_fault_named() {
    for (text, told) in [
        ("[[exchange]]\nname='e'\nowner='t'", "0.toml:1: `exchange[0].type` is missing: write \"topic\""),
        ("[[exchange]]\nname='e'\ntype='x-delayed'\nowner='t'", "0.toml:3: `exchange[0].type` must be one of \"topic\""),
        ("[[exchange]]\nname='e'\ntype='topic'", "`exchange[0].owner` is missing"),
        ("[[queue]]\nname='q'\nowner=''", "`queue[0].owner` must have 1 to 100 bytes"),
        ("[[queue]]\nname='q'\nowner='t'\ndescription=\"a\\nb\"", "`queue[0].description` must be one line"),
        (
            "[[queue]]\nname='q'\nowner='t'\narguements={}",
            "0.toml:4: `queue[0].arguements` is not a key Warren knows; did you mean `queue[0].arguments`?",
        ),
        (
            "[[queue]]\nname='q'\nowner='t'\narguments={x-expires='soon'}",
            "0.toml:4: `queue[0].arguments.x-expires` is not a duration",
        ),
        (
            "[[queue]]\nname='q'\nowner='t'\n[queue.arguments]\nx-max-length-bytes='big'",
            "0.toml:5: `queue[0].arguments.x-max-length-bytes` is not a size",
        ),
        ("[[queue]]\nname='q'\nowner='t'\narguments={x-a=[1]}", "must be a text, a whole number, or true or false"),
        ("[[queue]]\nname='q'\nowner='t'\narguments={x-queue-type='classic'}", "has a key of its own: write `type`"),
        ("[[queue]]\nname='q'\nowner='t'\narguments={x-dead-letter-exchange='e'}", "has a key of its own: write `dead_letter`"),
        ("[[queue]]\nname='q'\nowner='t'\ndead_letter={}", "`queue[0].dead_letter.exchange` or `queue` is needed"),
        ("[[queue]]\nname='q'\nowner='t'\ndead_letter={queue='d',key='k'}", "is of no use beside `queue`"),
        (
            "[[queue]]\nname='q'\nowner='t'\nsubscribe=['a']\ntype='classic'",
            "`queue[0].subscribe` makes a queue as Warren needs it",
        ),
        ("[[binding]]\nsource='e'", "`binding[0].queue` or `exchange` is needed"),
        ("[[binding]]\nsource='e'\nqueue='q'\nmatch='any'", "`binding[0].match` is of no use without `headers`"),
        ("[[binding]]\nsource='e'\nqueue='q'\nheaders={x-match='any'}", "has a key of its own: write `match`"),
        ("[[policy]]\nname='p'\npattern='^a'\napply_to='quorum_queues'", "must be one of \"queues\", \"exchanges\", \"all\""),
        ("[[policy]]\nname='p'", "`policy[0].pattern` is missing"),
    ] {
        let error = given().file(text).error();
        assert!(error.contains(told), "{told}\nnot in\n{error}");
    }
    let many: String =
        (0..101).map(|n| format!("[[policy]]\nname='p{n}'\npattern='^x{n}'\ndefinition={{expires=1}}\n")).collect();
    let error = given().file(&many).error();
    assert!(error.contains("`policy` is there 101 times, and 100 is the most"), "{error}");
}

#[test]
fn what_is_wrong_with_the_topology_is_told_together_with_file_and_line() {
    let text = "[[queue]]\nname = 'audit'\nowner = 'team'\n\n[[binding]]\nsource = 'nowhere'\nqueue = 'audit'\n\n[[exchange]]\n\
                name = 'amq.mine'\ntype = 'topic'\nowner = 'team'\n\n[[policy]]\nname = 'all'\npattern = '^'\ndefinition = { expires = '1d' }\n";
    let kind = "{name='orders.place'}";
    let given = given().file(text).flag("kind", &format!("[{kind},{kind}]")).flag("queue", "");
    let error = Given { flags: given.flags[..1].to_vec(), ..given }.load().unwrap_err();
    let all = error.to_string();
    for told in [
        "command line: `kind[1]` is a second `orders.place`",
        "0.toml:1: queue audit states no `x-delivery-limit`",
        "0.toml:5: binding nowhere -> queue audit (key ``) begins at an exchange that is not declared",
        "0.toml:9: exchange amq.mine begins with `amq.`",
        "0.toml:14: policy all sets `expires` on queue jobs.orders.place and ",
    ] {
        assert!(all.contains(told), "{told}\nnot in\n{all}");
    }
    let codes: Vec<&str> = error.problems.iter().map(Problem::code).collect();
    let expected =
        ["config-conflict", "name-reserved", "delivery-limit-missing", "binding-source-missing", "policy-touches-warren"];
    assert_eq!(codes, expected);
    let json = serde_json::json!(error.problems[2]);
    assert_eq!(
        (&json["code"], &json["object"], &json["key"]),
        (&"delivery-limit-missing".into(), &"queue audit".into(), &"queue[0]".into())
    );
    assert_eq!((&json["line"], &json["severity"], &json["source"]), (&1.into(), &"error".into(), &serde_json::Value::Null));
    assert!(json["file"].as_str().unwrap().ends_with("0.toml") && json["remedy"] == "state one", "{json}");
    let json = serde_json::json!(error.problems[0]);
    assert_eq!(
        (&json["source"], &json["file"], &json["line"]),
        (&"command line".into(), &serde_json::Value::Null, &serde_json::Value::Null)
    );
    // A value that cannot be read elsewhere hides nothing of it; one that it is made of does.
    let more = self::given().file(text).flag("log.level", "a=b=c").error();
    assert!(more.contains("`log.level` must be") && more.contains("delivery-limit-missing"), "{more}");
    let less = self::given().file(text).flag("kind", "[{name='Bad'}]").error();
    assert!(less.contains("`Bad` is not a kind") && !less.contains("delivery-limit-missing"), "{less}");
}

#[test]
fn what_comes_from_elsewhere_says_so_and_later_layers_are_named() {
    let queue = "[[queue]]\nname='q'\nowner='t'";
    let given = given().file(queue).file(&format!("\n\n{queue}"));
    assert!(given.error().contains("1.toml:3: queue q states no") && !given.error().contains("0.toml"), "{}", given.error());
    let given = given.variable("WARREN__QUEUE", "[{name='v',owner='t'}]");
    assert!(given.error().contains("environment variable WARREN__QUEUE: queue v states no"), "{}", given.error());
    let prefixed = given.flag("broker.prefix", "acme.").error();
    assert!(prefixed.contains("environment variable WARREN__QUEUE: queue acme.v states no"), "{prefixed}");
}

#[test]
fn what_only_looks_wrong_forbids_nothing() {
    let queue = "[[queue]]\nname='mails'\ntype='classic'\nowner='t'\narguments={x-max-lenght=5}\n";
    let loaded = given().file(queue).load().unwrap();
    assert_eq!(loaded.hints.iter().map(Problem::code).collect::<Vec<_>>(), ["argument-unknown", "queue-unfed"]);
    let named =
        given().file(&format!("{queue}{TARGET}[kind.amqp]\nrouting_key = 'mails'\nformat = 'raw'\ncompletion = 'handoff'"));
    assert_eq!(named.load().unwrap().hints.len(), 1, "a kind publishes by its name");
    let error = given().file(queue).flag("listen.admin", "127.0.0.1:8080").load().unwrap_err();
    assert_eq!((error.problems.len(), error.hints.len()), (1, 2));
}

/// As many of everything as there may be: a check must not take long.
#[test]
fn the_largest_topology_is_looked_at_in_time() {
    let mut text = String::new();
    (0..1_000).for_each(|n| text += &format!("[[exchange]]\nname='e{n}'\ntype='topic'\nowner='t'\n"));
    for n in 0..2_000 {
        let to = if n % 2 == 0 { n + 1 } else { n };
        let target = if n % 2 == 0 { format!("dead_letter={{exchange='e{}',key='k{to}'}}\n", n % 1_000) } else { String::new() };
        text += &format!("[[queue]]\nname='q{n}'\nowner='t'\n{target}arguments={{x-delivery-limit=1000000}}\n");
    }
    for n in 0..10_000 {
        text += &format!("[[binding]]\nsource='e{}'\nqueue='q{}'\nkey='k{}'\n", n % 1_000, n % 2_000, n / 1_000);
    }
    (0..100)
        .for_each(|n| text += &format!("[[policy]]\nname='p{n}'\npattern='^q{n}0'\npriority={n}\ndefinition={{expires=1000}}\n"));
    let given = given().file(&text);
    let begun = std::time::Instant::now();
    let loaded = given.load();
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(loaded.is_err_and(|error| error.problems.iter().all(|problem| problem.code() == "dead-letter-unroutable")));
}

/// The blocks of docs/topology.md that are marked so.
fn blocks(mark: &str) -> Vec<String> {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/topology.md")).unwrap();
    let begins = format!("```{mark}\n");
    page.split(&begins).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_page_on_topology_shows_what_is_taken_and_what_is_refused() {
    let toml = blocks("toml");
    let loaded = given().file(&toml[0]).load().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.hints, []);
    let given = given();
    let path = given.write("warren.toml", &toml[1]);
    let error = Given { files: vec![path.clone()], ..given }.load().unwrap_err();
    let folder = format!("{}/", path.parent().unwrap().display());
    let line = |(mark, problem): (&str, &Problem)| format!("{mark}: {problem}\n").replace(&folder, "");
    let all = error.problems.iter().map(|problem| ("error", problem));
    let told: String = all.chain(error.hints.iter().map(|hint| ("warning", hint))).map(line).collect();
    assert_eq!(blocks("text")[0], told);
    let json: Vec<serde_json::Value> = serde_json::from_str(&blocks("json")[0]).unwrap();
    let mut shown = serde_json::json!(error.problems[1]);
    shown["file"] = "warren.toml".into();
    assert_eq!(json, [shown]);
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/topology.md")).unwrap();
    assert!(Fault::SETTINGS.iter().all(|code| page.contains(&format!("`{code}`"))));
}
