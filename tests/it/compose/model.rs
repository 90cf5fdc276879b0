//! The compose file as Docker Compose reads it: merged, and with variables put in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use warren_tests::process::workspace;

/// Names and values, as in `.env`.
pub type Variables = BTreeMap<String, String>;

/// The file of the repository, before variables are put in.
pub fn raw() -> Value {
    let text = std::fs::read_to_string(workspace().join("docker-compose.yml")).unwrap();
    merged(serde_saphyr::from_str(&text).unwrap())
}

/// The file with these variables, and nothing else.
pub fn with(variables: &Variables) -> Result<Value, String> {
    let mut value = raw();
    put_in(&mut value, variables)?;
    Ok(value)
}

/// What `.env.example` has.
pub fn example() -> Variables {
    read(&workspace().join(".env.example"))
}

/// The lines of a file such as `.env`.
pub fn read(path: &Path) -> Variables {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// `.env.example` with a word for each secret.
pub fn filled() -> Variables {
    let fill =
        |(name, value): (String, String)| if value.is_empty() { (name.clone(), format!("{name:x<64}")) } else { (name, value) };
    example().into_iter().map(fill).collect()
}

/// `<<` as a key of a mapping, should the parser have left it there.
fn merged(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            assert!(!map.contains_key("<<"), "the parser does not merge");
            Value::Object(map.into_iter().map(|(key, value)| (key, merged(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(merged).collect(),
        other => other,
    }
}

fn put_in(value: &mut Value, variables: &Variables) -> Result<(), String> {
    match value {
        Value::String(text) => *text = interpolated(text, variables)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| put_in(item, variables))?,
        Value::Object(map) => map.values_mut().try_for_each(|item| put_in(item, variables))?,
        _ => {}
    }
    Ok(())
}

/// `$$`, `${NAME}`, `${NAME:-default}` and `${NAME:?why}`; anything else is refused, so that nothing is read in another way than Compose does.
fn interpolated(text: &str, variables: &Variables) -> Result<String, String> {
    let mut done = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        done.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            done.push('$');
            rest = after;
            continue;
        }
        let inner = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let (inner, after) = inner.ok_or_else(|| format!("`{text}` holds a `$` that is no ${{NAME}}"))?;
        let (name, otherwise) = inner.split_once(':').map_or((inner, ""), |(name, otherwise)| (name, otherwise));
        let found = variables.get(name).filter(|value| !value.is_empty() || otherwise.is_empty());
        match (found, otherwise.split_at_checked(1)) {
            (Some(value), _) => done.push_str(value),
            (None, Some(("-", default))) => done.push_str(default),
            (None, Some(("?", why))) => return Err(format!("{name}: {why}")),
            _ => return Err(format!("{name} is nowhere set")),
        }
        rest = after;
    }
    Ok(done + rest)
}

/// The variables that the file names.
pub fn named() -> BTreeSet<String> {
    let text = raw().to_string();
    let names = text.split("${").skip(1).map(|rest| rest.split([':', '}']).next().unwrap().to_owned());
    names.collect()
}

/// The services by name.
pub fn services(file: &Value) -> BTreeMap<&str, &Value> {
    file["services"].as_object().unwrap().iter().map(|(name, service)| (name.as_str(), service)).collect()
}

/// The texts of a list; none when it is absent.
pub fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|item| item.as_str().expect("a text")).collect()
}

/// The environment of a service.
pub fn environment(service: &Value) -> Variables {
    let map = service["environment"].as_object().into_iter().flatten();
    map.map(|(name, value)| (name.clone(), value.as_str().expect("environment values are texts").to_owned())).collect()
}

/// Whom a service waits for, and for what.
pub fn dependencies(service: &Value) -> BTreeMap<&str, &str> {
    match &service["depends_on"] {
        Value::Array(names) => names.iter().map(|name| (name.as_str().unwrap(), "service_started")).collect(),
        Value::Object(map) => map.iter().map(|(name, how)| (name.as_str(), how["condition"].as_str().unwrap())).collect(),
        _ => BTreeMap::new(),
    }
}

/// Files that a service sees: where they are here, where there.
pub fn mounts(service: &Value) -> Vec<(PathBuf, &str)> {
    let volumes = texts(&service["volumes"]).into_iter().filter_map(|volume| volume.strip_prefix("./"));
    let apart = volumes.map(|volume| volume.strip_suffix(":ro").unwrap_or_else(|| panic!("{volume} can be written to")));
    apart.map(|volume| volume.split_once(':').unwrap()).map(|(here, there)| (workspace().join(here), there)).collect()
}

/// `60s`, `15s`.
pub fn seconds(value: &Value) -> Duration {
    let text = value.as_str().expect("a time");
    Duration::from_secs(text.strip_suffix('s').expect("whole seconds").parse().unwrap())
}

/// `512M`, `2G`, `64m` as Docker has them; `1200MB`, which is a little less, as RabbitMQ does.
pub fn bytes(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.find(char::is_alphabetic).expect("a unit"));
    let unit = match unit {
        "M" | "m" => 1 << 20,
        "G" | "g" => 1 << 30,
        "MB" => 1_000_000,
        other => panic!("{other} is no unit that these tests know"),
    };
    number.parse::<u64>().unwrap() * unit
}

/// The services of no profile, each after those it waits for.
pub fn start_order(file: &Value) -> Vec<&str> {
    let services = services(file);
    let mut left: BTreeMap<&str, &Value> = services.into_iter().filter(|(_, service)| service["profiles"].is_null()).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let ready = |service: &Value| dependencies(service).keys().all(|name| order.contains(name));
        let next = left.iter().find(|(_, service)| ready(service)).map(|(name, _)| *name);
        let next = next.unwrap_or_else(|| panic!("{:?} wait for each other", left.keys()));
        left.remove(next);
        order.push(next);
    }
    order
}

#[test]
fn variables_are_put_in_as_compose_does() {
    let variables = Variables::from([("A".to_owned(), "1".to_owned()), ("E".to_owned(), String::new())]);
    let read = |text| interpolated(text, &variables);
    assert_eq!(read("x${A}y$$z${B:-2}${E:-3}[{\"${A:?no}\"}]"), Ok("x1y$z23[{\"1\"}]".to_owned()));
    assert_eq!(read("${E:?run it}"), Err("E: run it".to_owned()));
    assert_eq!(read("${B}"), Err("B is nowhere set".to_owned()));
    assert!(read("$A").is_err() && read("${A").is_err());
}
