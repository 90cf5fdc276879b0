use std::process::Command;

use serde_json::{Value, json};
use warren_tests::hub::{ALL_SCOPES, token};
use warren_tests::process::{Process, binary};

use super::{LONG, Scene, smtp};
use crate::world::Keep;

pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Said {
    pub(super) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

impl Scene {
    /// `warren dead` with these arguments.
    pub(super) async fn dead(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(binary("warren"));
        command.arg("dead").args(arguments).env_clear().current_dir(self.hub.folder());
        command.stdin(std::process::Stdio::null());
        command.env("WARREN_ADMIN_URL", self.hub.admin_url()).env("WARREN_TOKEN", token("*", "operator", ALL_SCOPES));
        let mut process = Process::start("warren", command);
        let code = process.wait(LONG).await.code();
        Said { code, out: process.stdout(), err: process.stderr() }
    }
}

#[tokio::test]
async fn the_commands_group_count_ask_act_and_tell() {
    let scene = Scene::set(Keep::Sqlite).await;
    scene.die(12, smtp).await;
    let group = scene.group(12).await;
    let fingerprint = group["fingerprint"].as_str().unwrap();

    let groups = scene.dead(&["groups"]).await;
    let row: Vec<&str> = groups.out.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..4], [fingerprint, "12", "test.letters", "rejected"], "{}", groups.out);
    assert_eq!(scene.dead(&["groups", "--json"]).await.json()["items"], json!([group]));
    assert_eq!(scene.dead(&["groups", "--kind", "other", "--json"]).await.json()["items"], json!([]));
    let listed = scene.dead(&["list", "--group", fingerprint, "--since", "1h", "--text", "SPOOL/7/", "--json"]).await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
    let letter = listed["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!((&listed["items"][0]["code"], &listed["items"][0]["fingerprint"]), (&json!("smtp"), &json!(fingerprint)));

    // Nothing is done unasked: there is nobody to say yes.
    let asked = scene.dead(&["redrive", "--group", fingerprint]).await;
    assert_eq!(asked.code, Some(2), "{}", asked.err);
    assert!(asked.err.contains("12 open dead letters match") && asked.err.contains("add --yes"), "{}", asked.err);
    scene.open(12).await;

    std::fs::write(scene.hub.folder().join("new.json"), "{\"n\":7}").unwrap();
    let edit = ["edit", &letter, "--body", "@new.json", "--note", "typo", "--request-id", "r1", "--json"];
    let edited = scene.dead(&edit).await.json();
    assert_eq!((&edited["replayed"], &edited["letter"]["state"]), (&json!(false), &json!("redriven")), "{edited}");
    assert_eq!(scene.dead(&edit).await.json()["job_id"], edited["job_id"], "asked twice, made once");
    let missing = scene.dead(&["edit", &letter, "--body", "@no.json"]).await;
    assert!(missing.code == Some(2) && missing.err.contains("no.json"), "{}", missing.err);

    let discard = ["discard", "--group", fingerprint, "--text", "order '3'", "--reason", "a test order", "--yes"];
    let discarded = scene.dead(&discard).await;
    assert_eq!(discarded.code, Some(0), "{}", discarded.err);
    assert!(discarded.out.contains("moved      1\n") && discarded.out.contains("action     discard\n"), "{}", discarded.out);
    let args =
        ["redrive", "--kind", "test.letters", "--reason", "rejected", "--code", "smtp", "--yes", "--json", "--note", "back"];
    let redriven = scene.dead(&args).await.json();
    assert_eq!((&redriven["moved"], &redriven["count"], &redriven["action"]), (&json!(10), &json!(10), &json!("redrive")));
    let id = redriven["id"].as_str().unwrap();
    assert_eq!(scene.dead(&["selection", id, "--json"]).await.json(), redriven);
    assert_eq!(scene.dead(&["redrive", "--all", "--group", fingerprint, "--yes", "--json"]).await.json()["count"], 0);

    let audit = scene.dead(&["audit", "--actor", "operator", "--since", "1h", "--json"]).await.json();
    let lines = audit["items"].as_array().unwrap();
    assert_eq!((lines.len(), lines.iter().filter(|line| line["selection"] == id).count()), (12, 10), "{audit}");
    let of_one = scene.dead(&["audit", "--letter", &letter]).await;
    assert_eq!(of_one.out.lines().count(), 2, "{}", of_one.out);
    assert!(of_one.out.contains(&format!("edited as job {}: typo", edited["job_id"].as_str().unwrap())), "{}", of_one.out);
}
