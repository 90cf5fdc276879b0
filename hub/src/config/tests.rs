#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use broker_topology::Rung;
use messaging::retry::{Delay, RetryPolicy};

use super::*;

mod declared;
mod devices;
mod shards;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

struct Given {
    folder: tempfile::TempDir,
    files: Vec<PathBuf>,
    variables: Vec<(String, String)>,
    flags: Vec<(String, String)>,
    lenient: bool,
}

fn given() -> Given {
    Given { folder: tempfile::tempdir().unwrap(), files: vec![], variables: vec![], flags: vec![], lenient: false }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

impl Given {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
    fn file(mut self, text: &str) -> Self {
        let path = self.write(&format!("{}.toml", self.files.len()), text);
        self.files.push(path);
        self
    }
    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push(pair(name, value));
        self
    }
    fn flag(mut self, key: &str, value: &str) -> Self {
        self.flags.push(pair(key, value));
        self
    }
    fn load(&self) -> Result<Loaded, ConfigError> {
        let Self { files, variables, flags, lenient, .. } = self;
        Config::load(&Sources { files, variables, flags, data_dir: Path::new("data"), lenient: *lenient })
    }
    fn config(&self) -> Config {
        self.load().unwrap_or_else(|error| panic!("{error}")).config
    }
    fn error(&self) -> String {
        self.load().expect_err("must be refused").to_string()
    }
}

#[test]
fn nothing_set_is_a_hub_for_this_machine() {
    let config = given().config();
    assert_eq!(config.roles, Role::ALL);
    assert_eq!(config.broker.connect_urls(), ["amqp://guest:guest@127.0.0.1:5672/%2f?heartbeat=5"]);
    assert_eq!(config.store.url.expose(), "sqlite://data/warren.db");
    assert_eq!(config.listen.public.to_string(), "127.0.0.1:8080");
    assert_eq!((config.limits.body, config.retention.dead_letters), (1 << 20, Duration::from_secs(90 * 86_400)));
}

#[test]
fn later_layers_win() {
    let mut given = given().variable("AMQP_URL", "amqp://fallback").variable("DATABASE_URL", "postgres://fallback/db");
    assert_eq!(given.config().broker.urls[0].expose(), "amqp://fallback");
    given = given.file("broker.url = 'amqp://first'\nlog.level = 'warn'").file("[broker]\nurl = 'amqp://second'");
    assert_eq!(given.config().broker.urls[0].expose(), "amqp://second");
    given = given.variable("WARREN__BROKER__URL", "amqp://variable");
    assert_eq!(given.config().broker.urls[0].expose(), "amqp://variable");
    given = given.flag("broker.url", "amqp://flag");
    let config = given.config();
    assert_eq!(config.broker.urls[0].expose(), "amqp://flag");
    assert_eq!((config.log.level.as_str(), config.store.url.expose()), ("warn", "postgres://fallback/db"));
}

#[test]
fn tables_merge_and_arrays_replace() {
    let given = given()
        .file("[broker]\nprefix = 'a.'\nurl = ['amqp://x', 'amqp://y']\n[tenants]\nacme = 3")
        .file("[broker]\nurl = ['amqp://z']\n[tenants]\nbig = 9");
    let config = given.config();
    assert_eq!((config.broker.prefix.as_str(), config.broker.urls.len()), ("a.", 1));
    assert_eq!(
        config.tenants.iter().map(|(name, weight)| (name.as_str(), weight.get())).collect::<Vec<_>>(),
        [("acme", 3), ("big", 9)]
    );
}

#[test]
fn text_from_the_environment_becomes_what_the_key_wants() {
    let given = given()
        .variable("WARREN__BROKER__URL", "['amqp://a', 'amqp://b']")
        .variable("WARREN__LIMITS__BACKLOG_TOTAL", "500000")
        .variable("WARREN__BROKER__PREFIX", "17")
        .variable("WARREN__TENANTS__ACME", "4")
        .variable("WARREN__KIND", "[{ name = 'demo.echo', retry = { max_attempts = 2 } }]")
        .flag("roles", "worker,api,worker");
    let config = given.config();
    assert_eq!((config.broker.urls.len(), config.limits.backlog_total, config.broker.prefix.as_str()), (2, 500_000, "17"));
    assert_eq!((config.tenants["acme"].get(), config.kinds[0].retry.max_attempts), (4, 2));
    assert_eq!(config.roles, [Role::Api, Role::Worker]);
}

#[test]
fn a_variable_can_name_a_file_but_not_beside_the_value() {
    let mut given = given();
    let path = given.write("url", "amqp://user:pw@filed\n");
    given = given.variable("WARREN__BROKER__URL__FILE", path.to_str().unwrap());
    assert_eq!(given.config().broker.urls[0].expose(), "amqp://user:pw@filed");
    given = given.variable("WARREN__BROKER__URL", "amqp://other");
    assert!(given.error().contains("`broker.url` is set twice: remove this one or WARREN__BROKER__URL"), "{}", given.error());
    let missing = self::given().variable("WARREN__STORE__URL__FILE", "/nowhere/url").error();
    assert!(missing.contains("environment variable WARREN__STORE__URL__FILE: `store.url` cannot read /nowhere/url"), "{missing}");
}

#[test]
fn unknown_keys_are_named_with_their_place_and_the_nearest_known_one() {
    let mut given = given()
        .file("[broker]\nheartbaet = '10s'\n[[kind]]\nname = 'a'\ntimout = '1s'")
        .variable("WARREN__BROKR__URL", "x")
        .flag("zzz", "1");
    let error = given.error();
    for part in [
        "0.toml:2: `broker.heartbaet` is not a key Warren knows; did you mean `broker.heartbeat`?",
        "0.toml:5: `kind[0].timout` is not a key Warren knows; did you mean `kind[0].timeout`?",
        "environment variable WARREN__BROKR__URL: `brokr` is not a key Warren knows; did you mean `broker`?",
        "command line: `zzz` is not a key Warren knows; known here: auth, binding, broker,",
    ] {
        assert!(error.contains(part), "{part}\nnot in\n{error}");
    }
    given.lenient = true;
    let loaded = given.load().unwrap();
    assert_eq!(loaded.warnings.len(), 4);
}

#[test]
fn every_problem_is_told_at_once_with_its_remedy() {
    let error = given()
        .file(
            "[broker]\nheartbeat = 10\nurl = 'http://x'\n[limits]\nbody = '9MiB'\n[retention]\njobs = 'soon'\n[listen]\npublic = '8080'\n\
             [[kind]]\nname = 'Bad'\nworker = 'ftp'\nconcurrency = 0\n[topology]\nmanage = 'maybe'\n[log]\nlevel = 'a=b=c'",
        )
        .error();
    for part in [
        "`broker.heartbeat` has no unit: write a duration with its unit, such as \"30s\"",
        "`broker.url` must be a URL such as \"amqp://",
        "`limits.body` must be from 1B to 8MiB",
        "`retention.jobs` is not a duration",
        "`listen.public` must be an address and a port",
        "`kind[0].name` is wrong: `Bad` is not a kind",
        "`kind[0].worker` must be one of \"rust\", \"amqp\", \"http\"",
        "`kind[0].concurrency` must be from 1 to 10000",
        "`topology.manage` must be one of \"declare\", \"check\", \"off\"",
        "`log.level` must be",
    ] {
        assert!(error.contains(part), "{part}\nnot in\n{error}");
    }
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_named() {
    let mut broken = given().file("[broker\n");
    assert!(broken.error().contains("0.toml:1: is no TOML at character 8: "), "{}", broken.error());
    broken.files = vec![PathBuf::from("/nowhere/warren.toml")];
    assert!(broken.error().contains("cannot read /nowhere/warren.toml"), "{}", broken.error());
}

#[test]
fn urls_keep_their_passwords_to_themselves() {
    let config = given()
        .file("broker = { url = 'amqp://u:s3cret@h/team%2fa', management_url = 'http://m:s3cret@h:15672' }\nstore.url = 'postgres://u:s3cret@h/db?password=s3cret'")
        .file(&format!("auth = {{ issuer = 'me', keys = [{{ id = 'k', algorithm = 'HS256', secret = '{SECRET}' }}] }}"))
        .config();
    let shown = format!("{}{config:?}", config.dump());
    assert!(!shown.contains("s3cret") && !shown.contains(SECRET), "{shown}");
    assert!(config.dump().contains("url = [\"amqp://u:***@h/team%2fa\"]"), "{}", config.dump());
    assert!(config.dump().contains("management_url = \"http://m:***@h:15672/\""), "{}", config.dump());
    assert!(config.dump().contains("secret = \"***\""), "{}", config.dump());
    assert_eq!(config.broker.connect_urls(), ["amqp://u:s3cret@h/team%2fa?heartbeat=5"]);
    let error = given().file("broker.url = 'amqp:/u:s3cret@h'").error();
    assert!(!error.contains("s3cret"), "{error}");
}

#[test]
fn user_and_password_are_those_that_amqp_clients_use() {
    let of = |url: &str| BrokerUrl::parse(url).unwrap().credentials();
    for (url, user, password) in [
        ("amqp://h", "guest", "guest"),
        ("amqp://u@h", "u", "guest"),
        ("amqp://:p@h", "guest", "p"),
        ("amqp://u%40x:p%3a@h", "u@x", "p:"),
    ] {
        assert_eq!(of(url), (user.to_owned(), password.to_owned()), "{url}");
    }
}

#[test]
fn the_virtual_host_is_never_empty_by_accident() {
    let urls = |text: &str| given().file(text).config().broker.connect_urls();
    assert_eq!(urls("broker.url = 'amqps://h/?heartbeat=3'"), ["amqps://h/%2f?heartbeat=3"]);
    assert_eq!(urls("broker = { url = 'amqp://h/old', vhost = 'a/b c', heartbeat = '5s' }"), ["amqp://h/a%2fb%20c?heartbeat=5"]);
    assert!(given().file("broker.url = 'amqp://h//'").error().contains("write it as %2f"));
    assert!(given().file("broker.url = 'amqp://[::1]:5672'").error().contains("IPv6"));
}

#[test]
fn retry_delays_use_the_rungs_they_match() {
    let retry = |text: &str| given().file(&format!("[[kind]]\nname = 'a'\nretry = {{ {text} }}")).config().kinds[0].retry.clone();
    assert_eq!(retry("delays = ['1s', '5s', '30s', '2m', '10m', '1h']"), RetryPolicy::default());
    assert_eq!(
        retry("delays = ['5s', '7s'], max_attempts = 3").delays,
        [Delay::Rung(Rung::S5), Delay::Store(Duration::from_secs(7))]
    );
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let refused = |text: &str, part: &str| {
        let error = given().file(text).error();
        assert!(error.contains(part), "{part}\nnot in\n{error}");
    };
    refused("listen.admin = '127.0.0.1:8080'", "`listen.admin` and listen.public want the same port 8080");
    refused("listen.public = '0.0.0.0:8080'", "`listen.public` opens the hub to others while there is no token key");
    refused("[[kind]]\nname='a'\n[[kind]]\nname='a'", "`kind[1]` is a second `a`");
    refused("[[kind]]\nname='a'\nprefetch=300\nconcurrency=1", "`kind[0].prefetch` lets a delivery wait up to 150m");
    refused("[[kind]]\nname='a'\nprefetch=3", "`kind[0].prefetch` is under concurrency (32)");
    refused("[[kind]]\nname='a'\npriority='urgent'", "`kind[0].priority` must be one of \"normal\", \"high\"");
    // In one queue it is one round of 4 minutes.
    let tight = "[[kind]]\nname='a'\nprefetch=32\ntimeout='4m'";
    assert!(given().file(tight).load().is_ok());
    refused(&format!("{tight}\npriority='normal'"), "`kind[0].prefetch` lets a delivery wait up to 20m (5 rounds of `timeout`)");
    refused("[[kind]]\nname='a'\ntimeout='2h'\ndeadline='1h'", "`kind[0].timeout` is over the deadline (1h)");
    refused("[[kind]]\nname='a'\nretry.delays=[]", "`kind[0].retry.delays` is empty");
    refused("[[kind]]\nname='a'\nretention='59s'", "`kind[0].retention` must be from 1m to 3650d");
    refused("[[kind]]\nname='a'\nmax_wait='1ms'", "`kind[0].max_wait` must be from 1s to 366d");
    refused("[[kind]]\nname='a'\ndeadline='1h'", "`kind[0].retry.delays` waits 4356s in all, over the deadline (1h)");
    refused("broker.ca_file = '/nowhere/ca.pem'", "`broker.ca_file` is of no use without TLS");
    refused("broker = { url = 'amqps://h', ca_file = '/nowhere/ca.pem' }", "`broker.ca_file` cannot be read");
    refused("broker.client_cert_file = '/x'", "`broker.client_cert_file` and client_key_file belong together");
    refused("limits.backlog_total = 5", "`limits.backlog_per_tenant` is over limits.backlog_total");
    refused("cors = { origins = ['*'], credentials = true }", "`cors.credentials` would let every page act as its visitor");
    refused("limits.burst_per_tenant = 5", "`limits.burst_per_tenant` limits nothing without rate_per_tenant");
    refused("limits.burst_per_subject = 5", "`limits.burst_per_subject` limits nothing without rate_per_subject");
}

#[test]
fn keys_are_checked_before_they_are_used() {
    let keys = |keys: &str| given().file(&format!("auth = {{ issuer = 'me', keys = [{keys}] }}"));
    let secret = format!("secret = '{SECRET}'");
    let open = keys(&format!("{{ id = 'k', algorithm = 'HS256', {secret} }}")).config();
    assert_eq!((open.listen.public.to_string(), open.auth.audience.as_str()), ("0.0.0.0:8080".to_owned(), "warren"));
    for (text, part) in [
        ("{ id = 'k', algorithm = 'HS256', secret = 'short' }".to_owned(), "`auth.keys[0].secret` has under 32 bytes"),
        ("{ id = 'k', algorithm = 'none' }".to_owned(), "`auth.keys[0].algorithm` must be one of \"HS256\""),
        ("{ algorithm = 'HS256', secret_file = '/nowhere/s' }".to_owned(), "`auth.keys[0].secret_file` cannot read /nowhere/s"),
        (format!("{{ algorithm = 'HS256', {secret} }}"), "`auth.keys[0].id` is missing"),
        (format!("{{ id = 'k', {secret} }}"), "`auth.keys[0].algorithm` is missing"),
        (format!("{{ id = 'k', algorithm = 'EdDSA', {secret} }}"), "`auth.keys[0].public_key_file` must be given and no secret"),
        (format!("{{ id = 'k', algorithm = 'HS256', {secret} }}, ").repeat(2), "`auth.keys[1].id` is a second `k`"),
    ] {
        let error = keys(&text).error();
        assert!(error.contains(part), "{part}\nnot in\n{error}");
    }
    let nameless = given().file(&format!("auth = {{ keys = [{{ id = 'k', algorithm = 'HS256', {secret} }}] }}")).error();
    assert!(nameless.contains("`auth.issuer` must be given"), "{nameless}");
}

/// A kind that is called, with more of `[kind.http]`, and what follows.
fn called(more: &str) -> Given {
    given().file(&format!("[[kind]]\nname='a'\nworker='http'\n[kind.http]\nurl='https://h.example/x'\n{more}"))
}

#[test]
fn what_is_wrong_with_a_call_is_told() {
    for (more, part) in [
        ("completion='later'", "`kind[0].http.completion` must be"),
        ("method='GET'", "`kind[0].http.method` must be one of \"POST\", \"PUT\", \"PATCH\""),
        ("headers={host='x'}", "`kind[0].http.headers` holds `host`, which Warren sets itself"),
        ("headers={'Ce-Id'='x'}", "`kind[0].http.headers` holds `Ce-Id`, which Warren sets itself"),
        ("headers={'a b'='x'}", "holds `a b`, which is no name of a header"),
        ("headers={a=\"x\\ny\"}", "`kind[0].http.headers.a` holds what no header may hold"),
        ("headers={a={file='/nowhere/x'}}", "`kind[0].http.headers.a` cannot read /nowhere/x"),
        ("connect_timeout='2m'", "`kind[0].http.connect_timeout` must be from 1ms to 1m"),
        ("max_wait='10m'", "`kind[0].http.max_wait` is not a key Warren knows"),
        ("destination='b'", "`kind[0].http.destination` names `b`, which is no [[destination]]"),
        ("retires=1", "`kind[0].http.retires` is not a key Warren knows"),
        ("[[destination]]\nname='b'", "`destination[0].name` `b` is no kind's"),
        ("destination='b'\n[[destination]]\nname='b'\n[[destination]]\nname='b'", "`destination[1]` is a second `b`"),
        ("[[destination]]\nname='https://h.example:443'\nrate='fast'", "`destination[0].rate` must be a rate"),
        (
            "[[destination]]\nname='https://h.example:443'\nrate='60/h'",
            "`kind[0].timeout` is under the 1m from one call to the next",
        ),
        ("[[destination]]\nname='https://h.example:443'\nca_file='/nowhere'", "`destination[0].ca_file` cannot be read"),
        ("[[destination]]\nname='https://h.example:443'\nca_file='Cargo.toml'", "`destination[0].ca_file` holds no certificate"),
        ("[[destination]]\nname='https://h.example:443'\nbreaker.open='1ms'", "`destination[0].breaker.open` must be from 100ms"),
        ("[[destination]]\nname='https://h.example:443'\nbreaker.slow='9h'", "`destination[0].breaker.slow` must be from 1ms"),
        ("[[destination]]\nconcurrency=0", "`destination[0].name` is missing"),
    ] {
        let error = called(more).error();
        assert!(error.contains(part), "{part}\nnot in\n{error}");
    }
    for (text, part) in [
        ("worker='http'", "`kind[0].http` is missing: add [kind.http] with the `url` to call"),
        ("worker='amqp'\nhttp={url='http://h'}", "`kind[0].http` is of no use with this worker"),
        ("worker='http'\nhttp={}", "`kind[0].http.url` is missing"),
        ("worker='http'\nhttp={url='ftp://h'}", "`kind[0].http.url` must be a URL such as \"https://"),
        ("worker='http'\nhttp={url='http://u:s3cret@h'}", "`kind[0].http.url` holds a user or a password"),
    ] {
        let error = given().file(&format!("[[kind]]\nname='a'\n{text}")).error();
        assert!(error.contains(part) && !error.contains("s3cret"), "{part}\nnot in\n{error}");
    }
}

#[test]
fn a_call_is_shown_without_its_secrets_and_a_process_takes_what_its_destination_takes() {
    let more =
        "headers={Authorization='s3cret'}\n[[destination]]\nname='https://h.example:443'\nconcurrency=8\nbreaker.slow='1s'";
    let config = called(more).config();
    let dump = config.dump();
    assert!(dump.contains("authorization = \"***\"") && !format!("{dump}{config:?}").contains("s3cret"), "{dump}");
    assert_eq!(given().file(&dump.replace("guest:***", "guest:guest").replace("***", "s3cret")).config(), config);
    let of = |config: &Config| {
        let Consuming { concurrency, prefetch, attempt, .. } = config.consuming(&config.kinds[0]);
        (concurrency, prefetch, attempt.as_secs())
    };
    assert_eq!(of(&config), (8, 16, 75));
    assert_eq!(of(&called("").config()), (32, 64, 75));
    assert_eq!(of(&called("[[destination]]\nname='https://h.example:443'\nrate='10/m'").config()), (5, 10, 75));
}

#[test]
fn what_takes_longer_than_the_broker_waits_is_acked_early_if_the_hub_does_it() {
    let early = |more: &str| {
        let config = given().file(&format!("[[kind]]\nname='a'\n{more}")).config();
        config.consuming(&config.kinds[0]).early
    };
    assert!(!early("timeout='449s'\nprefetch=32"));
    assert!(!early("timeout='450s'\nprefetch=32"), "a quarter of 30m");
    assert!(early("timeout='451s'"), "and then `prefetch` says nothing");
    assert!(early("timeout='20h'\npriority='normal'"));
    // A call may wait for its turn as long as it may take, and 15s come on top.
    assert!(!early("worker='http'\ntimeout='217s'\nhttp.url='http://h'\nconcurrency=32\nprefetch=32"));
    assert!(early("worker='http'\ntimeout='218s'\nhttp.url='http://h'"));
    let error = given().file("[[kind]]\nname='a'\nworker='amqp'\ntimeout='451s'").error();
    assert!(error.contains("over half of broker.consumer_timeout (30m)"), "{error}");
    assert!(error.contains("only what the hub does itself, `rust` or `http`, may take longer"), "{error}");
}

#[test]
fn the_edge_is_told_in_its_own_words() {
    let config = given()
        .file("listen = { trusted_proxies = ['10.0.0.0/8', '::1'], head_deadline = '3s', max_connections = 7 }")
        .file("cors = { origins = ['https://a.example', 'http://localhost:3000'], credentials = true }")
        .file("limits = { rate_per_tenant = '1000/s', rate_per_subject = '60 / m', burst_per_subject = 5 }")
        .config();
    let nets: Vec<String> = config.listen.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!((nets.join(" ").as_str(), config.listen.max_connections), ("10.0.0.0/8 ::1/128", 7));
    assert_eq!((config.listen.head_deadline, config.listen.idle), (Duration::from_secs(3), Duration::from_secs(60)));
    assert!(config.cors.credentials && config.cors.origins == ["https://a.example", "http://localhost:3000"]);
    let rate = config.limits.rate_per_subject.unwrap();
    assert_eq!((rate.count.get(), rate.per, config.limits.burst_per_tenant), (60, Duration::from_secs(60), None));
    assert_eq!(given().file(&config.dump().replace("***", "guest")).config(), config);
    for (text, part) in [
        ("listen.trusted_proxies = ['10.0.0.0/33']", "`listen.trusted_proxies` must be a network such as"),
        ("listen.trusted_proxies = ['everybody']", "`listen.trusted_proxies` must be a network such as"),
        ("listen.head_deadline = '0s'", "`listen.head_deadline` must be from 100ms to 5m"),
        ("listen.idle = '2h'", "`listen.idle` must be from 1s to 1h"),
        ("listen.max_connections = 0", "`listen.max_connections` must be from 1"),
        ("cors.origins = ['https://a.example/']", "which no browser sends: write \"https://a.example\""),
        ("cors.origins = ['https://A.example:443']", "which no browser sends: write \"https://a.example\""),
        ("cors.origins = ['a.example']", "which is no origin"),
        ("cors.origins = ['null']", "which is no origin"),
        ("cors.credentials = 'yes'", "`cors.credentials` must be true or false"),
        ("limits.rate_per_tenant = '0/s'", "`limits.rate_per_tenant` must be a rate"),
        ("limits.rate_per_tenant = '5/d'", "`limits.rate_per_tenant` must be a rate"),
        ("limits.rate_per_tenant = 5", "`limits.rate_per_tenant` must be a rate"),
        ("limits.rate_per_subject = '1000001/s'", "`limits.rate_per_subject` must be a rate"),
    ] {
        let error = given().file(text).error();
        assert!(error.contains(part), "{part}\nnot in\n{error}");
    }
}

#[test]
fn a_dump_can_be_read_again() {
    let given = given().file("[[kind]]\nname = 'a'\ntimeout = '90s'\n[tenants]\nacme = 2\n[broker]\nvhost = 'v'");
    let config = given.config();
    // The only password of these defaults is the guest's.
    let again = self::given().file(&config.dump().replace("***", "guest")).config();
    assert_eq!(again, config);
}

/// The annotated file is read by people first: it must name every key, and give its default.
#[test]
fn the_annotated_file_shows_every_key_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/warren.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let mut given = given().file(&text);
    let config = given.config();
    let defaults = Config { kinds: vec![], tenants: BTreeMap::new(), ..self::given().config() };
    let shown = Config { kinds: vec![], tenants: BTreeMap::new(), ..config.clone() };
    let here = |config: Config| config.dump().replace("sqlite://data/warren.db", "sqlite://warren.db");
    assert_eq!(here(shown), here(defaults));
    assert_eq!(config.kinds, [KindConfig::new("inventory.reserve".to_owned().try_into().unwrap())]);
    // Every line that is commented out is a key too.
    let uncommented: String = text.lines().map(|line| format!("{}\n", line.strip_prefix("#= ").unwrap_or(line))).collect();
    given.files = vec![given.write("uncommented.toml", &uncommented)];
    let root = uncommented.parse::<toml::Table>().unwrap();
    let report = Report::new(false);
    let read = Config::read(Section::root(root.clone(), &report), &Sources::default());
    let unknown: Vec<_> = report.into_parts().0.into_iter().filter(|problem| problem.code() == Fault::UNKNOWN).collect();
    assert_eq!(unknown, []);
    assert_eq!(read.kinds.len(), 1);
    for key in keys(&read) {
        assert!(uncommented.contains(&format!("{key} =")), "deploy/warren.toml does not show {key}");
    }
}

/// Every key a dump holds, and those that are absent by default.
fn keys(config: &Config) -> Vec<String> {
    fn walk(table: &toml::Table, found: &mut Vec<String>) {
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) => walk(inner, found),
                toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                    items.iter().filter_map(toml::Value::as_table).for_each(|inner| walk(inner, found));
                }
                _ => found.push(key.clone()),
            }
        }
    }
    let mut found = [
        "vhost",
        "ca_file",
        "client_cert_file",
        "client_key_file",
        "issuer",
        "id",
        "secret",
        "secret_file",
        "public_key_file",
        "rate_per_tenant",
        "rate_per_subject",
        "burst_per_tenant",
        "burst_per_subject",
    ]
    .map(str::to_owned)
    .to_vec();
    walk(&config.dump().parse().unwrap(), &mut found);
    found
}

#[test]
fn what_a_kind_takes_at_the_door_is_checked_before_it_opens() {
    let given = given();
    let schema = given.write("order.json", r#"{"type": "object", "required": ["sku"]}"#);
    let text = format!("[[kind]]\nname = 'a'\nroutes = ['/v1/orders']\nschema = '{}'", schema.display());
    let config = given.file(&text).config();
    let kind = &config.kinds[0];
    assert_eq!((kind.routes[0].0.as_str(), kind.content_types[0].0.as_str()), ("/v1/orders", "application/json"));
    assert_eq!(kind.schema.as_ref().unwrap().schema.violations(&serde_json::json!({})).len(), 1);
    assert!(config.dump().contains("order.json"), "{}", config.dump());

    for (schema, told) in [("{\n\"type\":}", "order.json:2:8"), ("{\"type\": \"strin\"}", "at `#/type`")] {
        let given = self::given();
        let path = given.write("order.json", schema);
        let error = given.file(&format!("[[kind]]\nname = 'a'\nschema = '{}'", path.display())).error();
        assert!(error.contains("kind[0].schema") && error.contains(told), "{error}");
    }
    for (keys, told) in [
        ("schema = '/no/such.json'", "cannot read /no/such.json"),
        ("schema = '/no/such.json'\ncontent_types = ['image/png']", "cannot read"),
        ("routes = ['/v1/jobs/mine']", "is Warren's own"),
        ("routes = ['orders']", "write it as"),
        ("routes = ['/a']\n[[kind]]\nname = 'b'\nroutes = ['/b', '/a']", "kind[1].routes"),
        ("content_types = ['json']", "write a media type"),
        ("content_types = []", "is empty"),
    ] {
        let error = self::given().file(&format!("[[kind]]\nname = 'a'\n{keys}")).error();
        assert!(error.contains(told), "{keys}: {error}");
    }
}

#[test]
fn a_cron_entry_is_checked_before_it_ticks() {
    let entry = |more: &str| {
        let head = "[[kind]]\nname = 'a'\n[[cron]]\nname = 'n'\nkind = 'a'\ntenant = 't'\n";
        given().file(&format!("{head}{more}"))
    };
    let config = entry("schedule = '0 9 * * MON-FRI'\ntimezone = 'Europe/Berlin'\ndata = { at = 1.5, on = [true] }").config();
    assert_eq!(config.cron[0].data.json, serde_json::json!({"at": 1.5, "on": [true]}));
    assert!(config.cron[0].tags.0.is_empty());
    assert_eq!((config.cron[0].overlap, config.cron[0].catch_up), (Overlap::Allow, Duration::ZERO));
    assert!(config.dump().contains("0 9 * * MON-FRI"), "{}", config.dump());
    for (more, told) in [
        ("", "cron[0].schedule` is missing"),
        ("schedule = '* * * * *'\ntags = ['a', 'b c']", "`b c` is no tag"),
        ("schedule = '* * * *'", "needs five fields"),
        ("schedule = '0 0 31 2 *'", "never comes"),
        ("schedule = '* * * * *'\ntimezone = 'Mars/Olympus'", "Mars/Olympus"),
        ("schedule = '* * * * *'\ndata = { on = 2026-01-01 }", "write it in quotes"),
        ("schedule = '* * * * *'\noverlap = 'queue'", "must be one of"),
        ("schedule = '* * * * *'\ncatch_up = '8d'", "from 0s to 7d"),
        ("schedule = '* * * * *'\ncatch_up = '7d'", "shorter than retention.keys"),
        ("schedule = '* * * * *'\n[[cron]]\nname = 'n'\nkind = 'b'\ntenant = 't'\nschedule = '* * * * *'", "is a second `n`"),
        (
            "schedule = '* * * * *'\n[[cron]]\nname = 'm'\nkind = 'b'\ntenant = 't'\nschedule = '* * * * *'",
            "`b`, which is not configured",
        ),
    ] {
        let error = entry(more).error();
        assert!(error.contains(told), "{more}: {error}");
    }
}

#[test]
fn spans_go_where_they_are_sent_and_only_if_they_are() {
    let config = given().config().tracing;
    assert_eq!((config.endpoint, config.sample, config.service.as_str()), (None, 1.0, "warren"));
    let told = given().variable("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318").variable("OTEL_SERVICE_NAME", "orders");
    let config = told.config().tracing;
    assert_eq!((config.endpoint.as_deref(), config.service.as_str()), (Some("http://collector:4318"), "orders"));
    let file = "[tracing]\nendpoint = 'https://otlp.example.com/v1/traces'\nsample = 0.1\nheaders = { X-Key = 'canary' }";
    let config = told.file(file).variable("WARREN__TRACING__SAMPLE", "0.25").config();
    assert_eq!((config.tracing.endpoint.as_deref(), config.tracing.sample), (Some("https://otlp.example.com/v1/traces"), 0.25));
    assert!(!config.dump().contains("canary") && config.tracing.headers.contains_key("x-key"));
    for (wrong, told) in [
        ("endpoint = 'collector:4318'", "tracing.endpoint"),
        ("endpoint = 'http://me:word@collector'", "put it into `headers`"),
        ("sample = 2", "from 0.0 to 1.0"),
        ("sample = 'all'", "must be a number"),
    ] {
        let error = given().file(&format!("[tracing]\n{wrong}")).error();
        assert!(error.contains(told), "{wrong}: {error}");
    }
}

const TARGET: &str = "[[kind]]\nname = 'mail.send'\nworker = 'amqp'\n";

#[test]
fn a_kind_may_have_an_exchange_and_a_queue_already() {
    let config =
        given().file(&format!("{TARGET}[kind.amqp]\nrouting_key = 'mails'\nformat = 'raw'\ncompletion = 'handoff'")).config();
    let target = config.kinds[0].amqp.as_ref().unwrap();
    assert_eq!(
        (target.exchange.as_str(), target.queue.as_deref()),
        ("", Some("mails")),
        "the key of the default exchange is a queue"
    );
    let names =
        |config: &Config| crate::hub::topology(config).unwrap().queues.into_iter().map(|queue| queue.name).collect::<Vec<_>>();
    let core = names(&given().config());
    assert_eq!(names(&config), core, "nothing of it is declared, or exported");
    let reports = given().file(&format!("{TARGET}[kind.amqp]\nexchange = 'shop'\nrouting_key = 'k'")).config();
    assert_eq!(reports.kinds[0].amqp.as_ref().unwrap().queue, None);
    let more: Vec<String> = names(&reports).into_iter().filter(|name| !core.contains(name)).collect();
    assert_eq!(more, ["jobs.mail.send.dead"], "what is reported may die");
    for (wrong, told) in [
        ("exchange = 'shop'", "`kind[0].amqp.routing_key` is missing"),
        ("routing_key = ''", "must have 1 to 255 bytes"),
        ("routing_key = 'k'\nformat = 'raw'", "write completion = \"handoff\", or format = \"cloudevents\""),
        ("routing_key = 'k'\nexchange = 'warren.jobs'", "is Warren's own"),
        ("routing_key = 'k'\nqueue = 'jobs.other'", "name yours"),
        ("routing_key = 'k'\ncompletion = 'done'", "must be one of \"report\", \"handoff\""),
    ] {
        let error = given().file(&format!("{TARGET}[kind.amqp]\n{wrong}")).error();
        assert!(error.contains(told), "{wrong}: {error}");
    }
    let high = given().file(&format!("{TARGET}priority = 'high'\n[kind.amqp]\nrouting_key = 'k'")).error();
    assert!(high.contains("kind[0].priority") && high.contains("remove one of the two"), "{high}");
    let rust = given().file("[[kind]]\nname = 'mail.send'\n[kind.amqp]\nrouting_key = 'k'").error();
    assert!(rust.contains("write worker = \"amqp\""), "{rust}");
}
