//! The profile `observe`: alert rules, scraping and dashboards.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use warren_tests::process::{binary, folder, workspace};

use super::model;

fn promtool(arguments: &[&str]) -> Output {
    let run = Command::new("promtool").args(arguments).current_dir(workspace().join("deploy/prometheus")).output();
    run.expect("these tests need promtool: install the package prometheus, or run scripts/install-test-tools")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn yaml(path: &str) -> Value {
    let text = std::fs::read_to_string(workspace().join("deploy").join(path)).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

fn dashboards() -> Vec<(PathBuf, Value)> {
    let folder = std::fs::read_dir(workspace().join("deploy/grafana/dashboards")).unwrap();
    let read = |path: PathBuf| (path.clone(), serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap());
    folder.map(|entry| read(entry.unwrap().path())).collect()
}

fn alerts() -> Vec<Value> {
    let groups = yaml("prometheus/alerts.yml")["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// Every expression of the dashboards and the alerts.
fn expressions() -> Vec<String> {
    let dashboards = dashboards();
    let panels = dashboards.iter().flat_map(|(_, dashboard)| dashboard["panels"].as_array().unwrap());
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let alerts = alerts();
    targets.chain(&alerts).map(|with| with["expr"].as_str().unwrap().to_owned()).collect()
}

/// Names of metrics that begin so, wherever they are used.
pub(super) fn metrics(prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for expression in expressions() {
        for word in expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if word.starts_with(prefix) {
                found.insert(word.to_owned());
            }
        }
    }
    found
}

#[test]
fn each_alert_comes_when_it_should_and_not_before() {
    for arguments in [["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]] {
        let checked = promtool(&arguments);
        assert!(checked.status.success(), "{arguments:?}: {}", said(&checked));
    }
    let tests = std::fs::read_to_string(workspace().join("deploy/prometheus/alerts.test.yml")).unwrap();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        // As the first line of a test that expects some.
        assert!(tests.contains(&format!("alertname: {name}\n        exp_alerts:\n          - ")), "no test expects {name}");
    }
}

#[test]
fn a_remedy_is_a_command_that_there_is() {
    let mut commands = 0;
    for alert in alerts() {
        let remedy = alert["annotations"]["remedy"].as_str().unwrap();
        for part in remedy.split([';', ':', ',']).map(str::trim).filter(|part| part.starts_with("warren ")) {
            let words = part.split("{{").next().unwrap().split(' ').skip(1).filter(|word| !word.is_empty());
            let mut words: Vec<&str> = words.take_while(|word| *word != "says").collect();
            // Where a name is put in.
            if part.contains("{{") {
                words.push("x");
            }
            let help = Command::new(binary("warren")).args(&words).arg("--help").env_clear().output().unwrap();
            assert!(help.status.success(), "{part}: {}", said(&help));
            commands += 1;
        }
    }
    assert!(commands >= 5, "{commands} commands were found");
}

#[test]
fn rules_and_dashboards_name_metrics_that_there_are() {
    let document = std::fs::read_to_string(workspace().join("docs/metrics.md")).unwrap();
    let names = metrics("warren_");
    for name in &names {
        let base = name.strip_suffix("_bucket").unwrap_or(name);
        assert!(document.contains(&format!("| `{base}` |")), "docs/metrics.md knows no {base}");
    }
    assert!(names.len() > 20, "{names:?}");
}

#[test]
fn dashboards_can_be_shown() {
    let folder = folder("dashboards");
    let mut uids = BTreeSet::new();
    for (path, dashboard) in dashboards() {
        assert!(uids.insert(dashboard["uid"].as_str().unwrap().to_owned()));
        let mut ids = BTreeSet::new();
        let mut cells = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}: two panels of one id", path.display());
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{panel}");
            for (x, y) in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
                assert!(cells.insert((x, y)), "{}: {} lies on another panel", path.display(), panel["title"]);
            }
            assert!(panel["type"] == "row" || panel["datasource"]["uid"] == "prometheus", "{panel}");
        }
    }
    // Prometheus can read each expression, once Grafana has put its variables in.
    let quoted = |expression: &str| Value::from(expression.replace("$__rate_interval", "5m").replace("$kind", ".*")).to_string();
    let rules: String =
        expressions().iter().enumerate().map(|(i, text)| format!("  - {{record: 'r:{i}', expr: {}}}\n", quoted(text))).collect();
    let file = folder.path().join("rules.yml");
    std::fs::write(&file, format!("groups:\n- name: all\n  rules:\n{rules}")).unwrap();
    let checked = promtool(&["check", "rules", file.to_str().unwrap()]);
    assert!(checked.status.success(), "{}", said(&checked));
    let source = yaml("grafana/provisioning/datasources/prometheus.yml");
    let uids: Vec<&str> = source["datasources"].as_array().unwrap().iter().map(|one| one["uid"].as_str().unwrap()).collect();
    assert_eq!(uids, ["prometheus", "jaeger"]);
}

#[test]
fn what_is_scraped_and_provisioned_is_what_runs() {
    let file = model::with(&model::filled()).unwrap();
    let services = model::services(&file);
    let config = yaml("prometheus/prometheus.yml");
    let mut jobs = BTreeSet::new();
    for job in config["scrape_configs"].as_array().unwrap() {
        let name = job["job_name"].as_str().unwrap();
        for found in job["dns_sd_configs"].as_array().into_iter().flatten() {
            assert_eq!((found["names"][0].as_str(), found["port"].as_u64()), (Some(name), Some(8082)));
            assert_eq!(services[name]["build"]["target"], "warren");
            jobs.insert(name);
        }
        for target in model::texts(&job["static_configs"][0]["targets"]) {
            let host = target.split(':').next().unwrap();
            assert!(host == "localhost" || services.contains_key(host), "{target}");
        }
    }
    assert_eq!(jobs, BTreeSet::from(["api", "devices", "keeper", "worker"]));
    let provider = yaml("grafana/provisioning/dashboards/warren.yml");
    let path = provider["providers"][0]["options"]["path"].as_str().unwrap();
    let grafana = services["grafana"];
    assert!(model::mounts(grafana).iter().any(|(_, there)| *there == path));
    let home = &model::environment(grafana)["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"];
    let name = home.strip_prefix(path).unwrap().trim_start_matches('/');
    assert!(workspace().join("deploy/grafana/dashboards").join(name).is_file());
}
