use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use warren_tests::dev::{self, DevPorts, node_of};
use warren_tests::process::{Process, folder};

/// Long for a refusal, and short for a start.
const SOON: Duration = Duration::from_secs(5);

/// Starts a `warren dev` that cannot run; returns the one sentence it says before it fails.
pub async fn refusal(folder: &Path, ports: &DevPorts, change: impl FnOnce(&mut Command)) -> String {
    let mut command = dev::command(folder, ports);
    change(&mut command);
    let mut process = Process::start("refused", command);
    let status = process.wait(SOON).await;
    let said = process.stderr();
    assert!(matches!(status.code(), Some(1 | 2)), "{status}: {said}");
    assert_eq!(said.lines().count(), 1, "one sentence: {said}");
    assert_eq!(process.stdout(), "", "no banner");
    assert!(said.starts_with("warren: "), "{said}");
    said
}

#[tokio::test]
async fn what_is_in_the_way_is_said_in_one_sentence_with_the_remedy() {
    let folder = folder("newcomer");
    let here = folder.path();
    let ports = DevPorts::free();

    for (flag, port) in ports.flags() {
        let taker = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let said = refusal(here, &ports, |_| {}).await;
        assert!(said.contains(&format!("port {port} (")) && said.contains(") is taken"), "{said}");
        assert!(said.contains(&format!("choose another port with {flag}")), "{said}");
        assert!(said.contains(&format!("(process {})", std::process::id())), "{said}");
        drop(taker);
    }

    let said = refusal(here, &DevPorts { admin: ports.amqp, ..ports }, |_| {}).await;
    assert!(said.contains("--admin-port and --amqp-port are both "), "{said}");

    for (set, remedy) in [
        ("listen.public=127.0.0.1:9999", "--public-port"),
        ("listen.internal=0.0.0.0:9999", "--internal-port"),
        ("store.url=postgres://h/db", "--folder"),
        ("roles=api", "every role"),
        ("broker.url=amqp://h", "of its own"),
    ] {
        let said = refusal(here, &ports, |command| _ = command.args(["--set", "log.level=info", "--set", set])).await;
        let (key, _) = set.split_once('=').unwrap();
        assert!(said.contains(&format!("does not obey --set {key}: ")) && said.contains(remedy), "{said}");
    }

    let empty = here.join("empty");
    std::fs::create_dir(&empty).unwrap();
    let said = refusal(here, &ports, |command| _ = command.env("PATH", &empty)).await;
    assert!(said.contains("`erl` is not on the PATH: install Erlang"), "{said}");
    let said = refusal(here, &ports, |command| _ = command.arg("--rabbitmq-home").arg(&empty)).await;
    assert!(said.contains("there is no RabbitMQ in ") && said.contains("name the folder that holds"), "{said}");

    // Erlang refuses such a cookie, in its own words and much later.
    let cookie = here.join(".warren/rabbitmq/home/.erlang.cookie");
    std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = refusal(here, &ports, |_| {}).await;
    assert!(said.contains("the Erlang cookie ") && said.contains("delete the file"), "{said}");
    std::fs::remove_file(&cookie).unwrap();

    let odd = here.join("it's here");
    let said = refusal(here, &ports, |command| _ = command.arg("--folder").arg(&odd)).await;
    assert!(said.contains("its path holds `'`; name another folder with --folder"), "{said}");

    let file = here.join("a file");
    std::fs::write(&file, "").unwrap();
    let mut places = vec![file];
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        places.push("/".into());
    }
    for place in places {
        let said = refusal(here, &ports, |command| _ = command.arg("--folder").arg(&place)).await;
        assert!(said.contains("cannot write ") && said.ends_with("in a folder you own\n"), "{said}");
    }
    assert!(node_of(here).is_empty(), "nothing was started");
}
