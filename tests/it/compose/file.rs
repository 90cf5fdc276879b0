//! The compose file by itself: schema, paths, ports, limits, and the environment that the programs are given.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use warren_tests::process::{binary, folder, workspace};

use super::model::{self, Variables, bytes, dependencies, environment, filled, mounts, seconds, services, texts};

/// What belongs to one process of the hub: its environment, in a folder with the file it reads.
fn warren(service: &Value, environment: &Variables, arguments: &[&str]) -> Output {
    let folder = folder("compose");
    for (here, there) in mounts(service) {
        let name = there.strip_prefix("/etc/warren/").expect("the hub reads one folder");
        std::fs::copy(here, folder.path().join(name)).unwrap();
    }
    let mut command = Command::new(binary("warren"));
    command.args(arguments).env_clear().envs(environment).current_dir(folder.path()).output().unwrap()
}

fn hubs(file: &Value) -> Vec<(&str, &Value)> {
    services(file).into_iter().filter(|(_, service)| service["build"]["target"] == "warren").collect()
}

#[test]
fn it_keeps_to_the_schema_of_compose() {
    let schema: Value = serde_json::from_str(include_str!("schema/compose-spec.json")).unwrap();
    let schema = jsonschema::draft7::new(&schema).unwrap();
    for file in [model::raw(), model::with(&filled()).unwrap()] {
        let wrong: Vec<String> = schema.iter_errors(&file).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert_eq!(wrong, Vec::<String>::new());
    }
    let mut wrong = model::raw();
    wrong["services"]["nginx"]["port"] = "80:80".into();
    assert!(!schema.is_valid(&wrong), "the schema takes anything");
}

#[test]
fn what_it_names_is_there() {
    let file = model::with(&filled()).unwrap();
    let (services, declared) = (services(&file), |kind: &str, name: &str| file[kind].as_object().unwrap().contains_key(name));
    let dockerfile = std::fs::read_to_string(workspace().join("deploy/Dockerfile")).unwrap();
    for (name, service) in &services {
        for (here, there) in mounts(service) {
            assert!(here.exists() && there.starts_with('/'), "{name} mounts {}", here.display());
        }
        for volume in texts(&service["volumes"]).into_iter().filter(|volume| !volume.starts_with("./")) {
            assert!(declared("volumes", volume.split(':').next().unwrap()), "{name}: {volume}");
        }
        let networks = match &service["networks"] {
            Value::Object(map) => map.keys().map(String::as_str).collect(),
            list => texts(list),
        };
        assert!(!networks.is_empty() && networks.iter().all(|network| declared("networks", network)), "{name}: {networks:?}");
        for (other, condition) in dependencies(service) {
            let other = services.get(other).unwrap_or_else(|| panic!("{name} waits for {other}, which is not there"));
            let image_checks = other["build"]["target"] == "warren" && dockerfile.contains("\nHEALTHCHECK ");
            let checked = other["healthcheck"]["disable"].is_null() && (other["healthcheck"].is_object() || image_checks);
            match condition {
                "service_healthy" => assert!(checked, "{name} waits for a health that nobody looks at"),
                "service_completed_successfully" => {
                    assert_eq!(other["restart"], "no", "{name} waits for an end that never comes")
                }
                _ => {}
            }
            let profile = (&service["profiles"], &other["profiles"]);
            assert!(profile.1.is_null() || profile.0 == profile.1, "{name} waits for a service of a profile");
        }
        if service["build"].is_object() {
            assert_eq!(
                (&service["build"]["context"], &service["build"]["dockerfile"]),
                (&".".into(), &"deploy/Dockerfile".into())
            );
            let target = service["build"]["target"].as_str().unwrap();
            assert!(dockerfile.contains(&format!(" AS {target}\n")), "{name} is built from the stage {target}");
        } else {
            let image = service["image"].as_str().unwrap();
            let tag = image.split_once(':').map_or("", |(_, tag)| tag);
            assert!(tag.starts_with(|c: char| c.is_ascii_digit() || c == 'v'), "{name}: `{image}` may be another one tomorrow");
        }
    }
}

#[test]
fn everything_is_bounded_and_has_no_rights_it_does_not_need() {
    let file = model::with(&filled()).unwrap();
    for (name, service) in services(&file) {
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(service["security_opt"], serde_json::json!(["no-new-privileges:true"]), "{name}");
        assert!(service["logging"]["options"]["max-size"].is_string(), "{name} may fill the disk with its log");
        let limits = &service["deploy"]["resources"]["limits"];
        assert!(limits["memory"].is_string() && limits["pids"].is_u64() && limits["cpus"].is_string(), "{name}: {limits}");
        assert!(service["restart"] == "unless-stopped" || name == "topology", "{name} is not started again");
        let own_user = ["postgres", "rabbitmq"].contains(&name);
        assert!(own_user || service["read_only"] == true, "{name} can write to its image");
        assert!(service["cap_add"].is_null() || own_user, "{name} has capabilities");
        for key in ["privileged", "network_mode", "pid", "ipc"] {
            assert!(service[key].is_null(), "{name}: {key}");
        }
    }
}

#[test]
fn what_counts_as_memory_fits_into_it() {
    let file = model::with(&filled()).unwrap();
    let of = |service: &Value| bytes(service["deploy"]["resources"]["limits"]["memory"].as_str().unwrap());
    let mut mounted = 0;
    for (name, service) in services(&file) {
        for tmpfs in texts(&service["tmpfs"]) {
            let size = tmpfs.split_once("size=").unwrap_or_else(|| panic!("{name}: {tmpfs} is not bounded")).1;
            assert!(bytes(size) * 4 <= of(service), "{name} is killed when {tmpfs} is full");
            mounted += 1;
        }
    }
    assert!(mounted >= 2, "{mounted} were found");
    // What the document adds up.
    let stays = |name: &str| name != "topology";
    let count = |service: &Value| service["deploy"]["replicas"].as_str().map_or(1, |count| count.parse::<u64>().unwrap());
    let sum = |observed: bool| {
        let counted =
            services(&file).into_iter().filter(|(name, service)| stays(name) && (observed || service["profiles"].is_null()));
        counted.map(|(_, service)| of(service) * count(service)).sum::<u64>() >> 20
    };
    let document = std::fs::read_to_string(workspace().join("docs/deploy.md")).unwrap().replace(',', "");
    let (plain, observed) = (sum(false), sum(true));
    let said = format!("may take {plain} MB of memory together {observed} MB with the profile");
    assert!(document.contains(&said), "docs/deploy.md: {said}");
    // RabbitMQ takes `relative` of the machine's memory, and knows nothing of the container's.
    let broker = std::fs::read_to_string(workspace().join("deploy/rabbitmq/rabbitmq.conf")).unwrap();
    let settings = broker.lines().filter_map(|line| line.split_once(" = "));
    let watermarks: Vec<_> =
        settings.filter_map(|(key, value)| Some((key.strip_prefix("vm_memory_high_watermark.")?, value))).collect();
    let [("absolute", watermark)] = watermarks[..] else { panic!("{watermarks:?}") };
    // Beside it there is what the runtime has reserved and not given back.
    assert!(bytes(watermark) * 3 / 2 <= of(&file["services"]["rabbitmq"]), "killed before it holds publishers back");
}

#[test]
fn only_nginx_is_open_to_the_network() {
    let file = model::with(&filled()).unwrap();
    let mut taken = BTreeSet::new();
    for (name, service) in services(&file) {
        for port in texts(&service["ports"]) {
            let parts: Vec<&str> = port.split(':').collect();
            match parts[..] {
                [host, _] => assert!(name == "nginx" && taken.insert(host), "{name}: {port}"),
                ["127.0.0.1", host, _] => assert!(taken.insert(host), "{name}: {host} is taken"),
                _ => panic!("{name}: {port}"),
            }
            let one = service["deploy"]["replicas"].is_null();
            assert!(one, "{name} has several processes, and {port} once");
        }
    }
}

#[test]
fn the_environment_is_one_that_the_hub_reads() {
    let file = model::with(&filled()).unwrap();
    let hubs = hubs(&file);
    assert_eq!(hubs.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["api", "devices", "keeper", "topology", "worker"]);
    for (name, service) in hubs {
        let environment = environment(service);
        let checked = warren(service, &environment, &["config", "check"]);
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
        let dumped = warren(service, &environment, &["config", "dump", "--json"]);
        let config: Value = serde_json::from_slice(&dumped.stdout).unwrap();
        let of = |listener: &str| config["listen"][listener].as_str().unwrap().to_owned();
        assert_eq!([of("public"), of("admin"), of("internal")], ["0.0.0.0:8080", "0.0.0.0:8081", "0.0.0.0:8082"]);
        // Its own address, that of nginx alone, is believed.
        let nginx = file["services"]["nginx"]["networks"]["front"]["ipv4_address"].as_str().unwrap();
        assert_eq!(config["listen"]["trusted_proxies"], serde_json::json!([format!("{nginx}/32")]));
        let grace: u64 = config["drain"]["grace"].as_str().unwrap().strip_suffix('s').unwrap().parse().unwrap();
        // What a drain may take beyond it: Running::drain in hub/src/hub.rs.
        let longest = Duration::from_secs(grace + 3 * 8);
        assert!(seconds(&service["stop_grace_period"]) > longest, "{name} is killed in its drain");

        let mut misspelt = environment.clone();
        misspelt.insert("WARREN__BROKER__URI".to_owned(), "x".to_owned());
        assert!(!warren(service, &misspelt, &["config", "check"]).status.success(), "{name} reads anything");
    }
    let keeper = texts(&file["services"]["keeper"]["ports"]);
    assert_eq!(keeper, ["127.0.0.1:8081:8081"]);
    let nginx = std::fs::read_to_string(workspace().join("deploy/nginx/upstream.conf")).unwrap();
    assert!(nginx.contains("server api:8080 ") && nginx.contains("server devices:8080 "));
}

#[test]
fn the_environment_is_one_that_the_shop_reads() {
    let file = model::with(&filled()).unwrap();
    let shop = &file["services"]["shop"];
    let help = Command::new(binary("shop")).args(["all", "--help"]).env_clear().output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for name in environment(shop).keys() {
        assert!(help.contains(&format!("[env: {name}")), "the shop reads no {name}: {help}");
    }
    let grace: u64 = environment(shop)["SHOP_GRACE"].strip_suffix('s').unwrap().parse().unwrap();
    assert!(seconds(&shop["stop_grace_period"]) > Duration::from_secs(grace + 8));
}

#[test]
fn definitions_are_those_of_its_configuration() {
    let file = model::with(&filled()).unwrap();
    let topology = &file["services"]["topology"];
    let environment = environment(topology);
    let checked = warren(topology, &environment, &["topology", "export", "--check", "definitions.json"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn services_are_upgraded_before_the_hub() {
    let file = model::with(&filled()).unwrap();
    let order = model::start_order(&file);
    let at = |name: &str| order.iter().position(|other| *other == name).unwrap();
    for hub in ["api", "devices", "worker", "keeper"] {
        assert!(at("rabbitmq") < at("topology") && at("topology") < at("shop") && at("shop") < at(hub), "{order:?}");
    }
    assert!(at("api") < at("nginx") && at("devices") < at("nginx"), "{order:?}");
}

#[test]
fn documents_and_alerts_name_services_that_there_are() {
    let file = model::raw();
    let services = services(&file);
    let mut named = 0;
    for path in ["docs/deploy.md", "README.md", "deploy/prometheus/alerts.yml"] {
        let text = std::fs::read_to_string(workspace().join(path)).unwrap();
        for rest in text.split("docker compose ").skip(1) {
            let mut words = rest.split_whitespace().map(|word| word.trim_end_matches([';', '`', '"', ',', ')']));
            if !["exec", "run", "logs", "restart", "ps"].contains(&words.next().unwrap()) {
                continue;
            }
            let mut words = words.skip_while(|word| word.starts_with('-')).filter(|word| !word.starts_with("{{"));
            let service = words.next().unwrap_or_default();
            if service.chars().next().is_some_and(char::is_alphabetic)
                && !rest.starts_with("restart`")
                && !rest.starts_with("ps ")
            {
                assert!(services.contains_key(service), "{path}: docker compose {}", rest.lines().next().unwrap());
                named += 1;
            }
        }
    }
    assert!(named >= 10, "{named} were found");
}
