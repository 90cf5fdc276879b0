//! Callbacks: real receivers behind real hubs, which answer, fail, hang, lie about where they are, and say that they have had enough.

mod attacks;
mod crashes;
mod delivery;

use reqwest::Method;
use serde_json::{Value, json};
use warren_tests::downstream::Downstream;
use warren_tests::hub::{Answer, HubClient, HubOptions, HubProcess};
use warren_tests::wait::until;

use crate::http_worker::Stage;
use crate::world::{KINDS, LONG, settled};

/// The secret of tenant `acme`.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A hub's settings that let it call these receivers on this machine, with short waits.
pub fn settings(receivers: &[&Downstream], more: &str) -> String {
    let ports: Vec<String> = receivers.iter().map(|receiver| port(receiver)).collect();
    format!(
        "{KINDS}\n[callbacks]\nallow_http = true\nallow_networks = [\"127.0.0.1/32\"]\nports = [{}]\ndelays = [\"1s\", \"1s\", \"1s\"]\n{more}\n\
         [[callback_secret]]\ntenant = \"acme\"\nsecret = \"{SECRET}\"\n",
        ports.join(", ")
    )
}

pub fn port(receiver: &Downstream) -> String {
    receiver.origin().rsplit(':').next().unwrap().to_owned()
}

pub fn options(stage: &Stage, toml: &str) -> HubOptions {
    stage.options(toml)
}

pub async fn hub(stage: &Stage, toml: &str) -> HubProcess {
    let hub = HubProcess::start(&options(stage, toml)).await;
    settled(&hub).await;
    hub
}

/// Submits a job with a callback to `url`.
pub async fn submit(client: &HubClient, kind: &str, url: &str) -> Answer {
    let request = client.request(Method::POST, &format!("/v1/kinds/{kind}/jobs")).json(&json!({"n": 1}));
    client.send(request.header("warren-callback", url)).await.unwrap()
}

pub async fn accepted(client: &HubClient, kind: &str, url: &str) -> String {
    let answer = submit(client, kind, url).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.job_id().unwrap().to_owned()
}

/// Waits until the callback of a job stands like this.
pub async fn stands(client: &HubClient, id: &str, state: &str) -> Value {
    until(LONG, "the callback", async || {
        let job = client.job(id).await.ok()?.body;
        (job["callback"]["state"] == state).then_some(job)
    })
    .await
}
