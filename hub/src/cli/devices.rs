//! `warren devices`: who they are, what waits for them, and what operators do about it, through the admin API.

mod named;
mod purge;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use self::named::{Which, each};
use super::Surroundings;
use super::client::Reach;
use super::failure::Failure;
use super::print::{self, Fields, Table, short, talk, time};
use crate::admin::view::{DeviceCredentials, DeviceDetail, DeviceLine, DevicePage, Kicked};

#[derive(Debug, Subcommand)]
pub(super) enum Devices {
    /// List devices, as they were registered or by what waits for them
    #[command(after_help = "Examples:\n  warren devices list --by messages --limit 10\n  \
                            warren devices list --by age --presence offline\n  \
                            warren devices list --tenant acme --user ada --label os=android\n  \
                            warren devices list --by bytes --json | jq -r '.items[] | \"\\(.tenant)/\\(.id)\"'")]
    List(List),
    /// Show everything about one device
    #[command(after_help = "Examples:\n  warren devices show acme/pixel-7\n  warren devices show device.standard.4711\n  \
                            warren devices show acme/pixel-7 --json | jq .waiting")]
    Show(Show),
    /// Drop what devices have still to get; their senders and they themselves are told
    ///
    /// What waits by now goes, also what a device has in its hands and did not ack; what comes later stays, and so does what is scheduled. Receipts say `dropped`,
    /// `purged`. A device hears of it by a `gap`, at once if it is connected.
    #[command(after_help = "Examples:\n  warren devices purge acme/pixel-7 --reason 'a flood of test messages'\n  \
                            warren devices purge --tenant acme --backlog 500 --presence offline --reason 'the campaign is over'\n  \
                            warren devices purge --tenant acme --group beta --dry-run")]
    Purge(purge::Purge),
    /// End the sessions of devices: they come back, unless they are revoked
    #[command(after_help = "Examples:\n  warren devices kick acme/pixel-7\n  \
                            warren devices kick acme/pixel-7 --revoke --note 'stolen'")]
    Kick(Kick),
    /// Make a token for a device, and with --rotate a refresh token
    #[command(after_help = "Examples:\n  warren devices token acme/pixel-7\n  \
                            warren devices token acme/pixel-7 --rotate --json")]
    Token(Token),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// Most messages first
    Messages,
    /// Most bytes first
    Bytes,
    /// Longest waiting first
    Age,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Bytes => "bytes",
            Self::Age => "age",
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    which: Which,
    /// Only devices that something waits for, in this order. Without it all, as they were registered
    #[arg(long)]
    by: Option<By>,
    /// At most this many
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Go on after the page that gave this as `next`
    #[arg(long)]
    cursor: Option<String>,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The device, as <tenant>/<id>, or by the number or the name of its queue
    device: String,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(super) struct Kick {
    /// The devices, as <tenant>/<id>
    #[arg(required = true)]
    devices: Vec<String>,
    /// Do not let them in again until they have another refresh token: `warren devices token --rotate` makes one
    #[arg(long)]
    revoke: bool,
    /// Why; kept in the log
    #[arg(long, default_value = "")]
    note: String,
    /// For programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
pub(super) struct Token {
    /// The device, as <tenant>/<id>
    device: String,
    /// Give it a refresh token too, in place of all before it. A revoked device is let in again
    #[arg(long)]
    rotate: bool,
    /// As a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Devices {
    pub(super) async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(around).await,
            Self::Show(show) => show.run(around).await,
            Self::Purge(purge) => purge.run(around).await,
            Self::Kick(kick) => kick.run(around).await,
            Self::Token(token) => token.run(around).await,
        }
    }
}

impl List {
    async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let mut query = self.which.query();
        query.extend([
            ("order", self.by.map(|by| by.name().to_owned())),
            ("limit", Some(self.limit.to_string())),
            ("cursor", self.cursor),
        ]);
        let page: DevicePage = self.reach.hub(around)?.get(&["devices"], &query).await?;
        if self.json {
            return print::json(&page);
        }
        print::data(&table(&page.items))?;
        if let Some(next) = page.next {
            talk(&format!("there may be more: add --cursor {next}"));
        }
        Ok(())
    }
}

impl Show {
    async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let path = named::path(&self.device)?;
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let device: DeviceDetail = self.reach.hub(around)?.get(&path, &[]).await?;
        if self.json { print::json(&device) } else { print::data(&detail(&device)) }
    }
}

impl Kick {
    async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let hub = self.reach.hub(around)?;
        let order = json!({ "note": self.note, "revoke": self.revoke });
        let told = |kicked: &Kicked| match (&kicked.session, self.revoke) {
            (Some(session), _) => format!("the session {session} ends"),
            (None, true) => "was not connected, and is not let in any more".to_owned(),
            (None, false) => "was not connected".to_owned(),
        };
        each(&hub, &self.devices, "kick", &order, self.json, told).await
    }
}

impl Token {
    async fn run(self, around: &Surroundings) -> Result<(), Failure> {
        let (tenant, id) = named::whose(&self.device)?;
        let hub = self.reach.hub(around)?;
        let made: DeviceCredentials = hub.post(&["devices", &tenant, &id, "token"], json!({ "rotate": self.rotate })).await?;
        if self.json {
            return print::json(&made);
        }
        talk(&format!("a token for {}, good for {} s", self.device, made.token_expires_in));
        let refresh = made.refresh_token.map(|token| format!("{token}\n")).unwrap_or_default();
        if self.rotate {
            talk("and in the second line its refresh token, which is shown this once");
        }
        print::data(&format!("{}\n{refresh}", made.token))
    }
}

fn name(line: &DeviceLine) -> String {
    format!("{}/{}", line.tenant, line.id)
}

fn presence(line: &DeviceLine) -> String {
    match (&line.transport, line.revoked_at) {
        (Some(transport), _) => transport.clone(),
        (None, Some(_)) => "revoked".to_owned(),
        (None, None) => "offline".to_owned(),
    }
}

fn table(devices: &[DeviceLine]) -> String {
    let mut table = Table::new(["DEVICE", "USER", "PRESENCE", "QUEUE", "MESSAGES", "BYTES", "WAITING SINCE"]);
    for line in devices {
        table.row([
            name(line),
            short(&line.user, 40),
            presence(line),
            line.temperature.clone(),
            line.backlog.to_string(),
            line.backlog_bytes.to_string(),
            line.waiting_since.map(time).unwrap_or_default(),
        ]);
    }
    table.render()
}

fn detail(detail: &DeviceDetail) -> String {
    let line = &detail.device;
    let labels: Vec<String> = detail.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let fields = Fields::default()
        .with("device", name(line))
        .with("number", line.number)
        .with("user", &line.user)
        .with("groups", detail.groups.iter().cloned().collect::<Vec<_>>().join(", "))
        .with("labels", labels.join(", "))
        .with("tier", &line.tier)
        .with("via", &line.via)
        .with("presence", presence(line))
        .maybe("connected", line.connected_at.map(time))
        .maybe("session", detail.session)
        .maybe("revoked", line.revoked_at.map(time))
        .with(
            "queue",
            detail.queue.as_ref().map_or_else(|| line.temperature.clone(), |queue| format!("{queue} ({})", line.temperature)),
        )
        .maybe("shard", detail.shard.as_ref())
        .with("last seq", detail.seq)
        .with("backlog", format!("{} messages, {} bytes", line.backlog, line.backlog_bytes))
        .maybe("waiting since", line.waiting_since.map(time))
        .maybe("gap", detail.gap.as_ref().map(|gap| format!("{} dropped, {}: it does not know yet", gap.count, gap.reason)))
        .with("created", time(detail.created_at))
        .with("updated", time(detail.updated_at));
    if detail.waiting.is_empty() {
        return fields.render();
    }
    let mut waiting = Table::new(["SEQ", "MESSAGE", "TYPE", "BYTES", "SENT", "EXPIRES"]);
    for message in &detail.waiting {
        waiting.row([
            message.seq.to_string(),
            message.id.to_string(),
            short(&message.r#type, 40),
            message.size.to_string(),
            time(message.created_at),
            time(message.expires_at),
        ]);
    }
    format!("{}\n{}", fields.render(), waiting.render())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_device_is_shown_with_what_waits_for_it() {
        let device: DeviceDetail = serde_json::from_str(
            r#"{"tenant":"acme","id":"pixel-7","number":4711,"user":"ada","tier":"standard","via":"hub","transport":"socket",
                "connected_at":"2026-01-02T03:04:05Z","temperature":"hot","backlog":1,"backlog_bytes":9,
                "waiting_since":"2026-01-02T03:04:04Z","queue":"device.standard.4711","shard":"north","groups":["beta"],"labels":{"os":"android"},
                "seq":7,"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z",
                "gap":{"number":3,"reason":"purged","count":2},
                "waiting":[{"seq":7,"id":"01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77","type":"x\u001b[2J","size":9,
                            "created_at":"2026-01-02T03:04:04Z","expires_at":"2026-01-30T03:04:04Z"}]}"#,
        )
        .unwrap();
        let text = detail(&device);
        assert!(text.starts_with("device         acme/pixel-7\nnumber         4711\n"), "{text}");
        assert!(text.contains("queue          device.standard.4711 (hot)\nshard          north\n"), "{text}");
        assert!(text.contains("gap            2 dropped, purged: it does not know yet\n"), "{text}");
        assert!(text.contains("01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77  x?[2J  9 "), "{text}");
        let line = table(&[device.device]);
        assert!(
            line.lines().nth(1).unwrap().starts_with("acme/pixel-7  ada   socket    hot    1         9      2026-01-02"),
            "{line}"
        );
    }
}
