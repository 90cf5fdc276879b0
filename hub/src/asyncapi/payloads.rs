//! Schemas: of headers, of what workers report, and of the payloads of kinds.

use broker_topology::Names;
use mobile_delivery::receipts;
use mobile_delivery::store::{Reason, Transport};
use serde_json::{Map, Value, json};

pub(super) const DEAD_LETTER: &str = "dead-letter-headers";

/// Of what became of a message for a device.
pub(super) const DELIVERY: &str = "delivery";

/// Of who is connected.
pub(super) const PRESENCE: &str = "device-presence";

/// All that do not depend on kinds, by name.
pub(super) fn shared(names: &Names) -> Map<String, Value> {
    let mut schemas = Map::new();
    schemas.insert("cloud-event-headers".to_owned(), object(&cloud_event(), &["cloudEvents_id", "cloudEvents_type"]));
    let mut job = cloud_event();
    job.extend(run_headers());
    schemas.insert("job-headers".to_owned(), object(&job, &["warren-epoch", "warren-attempt", "warren-deadline"]));
    let mut dead = cloud_event();
    dead.extend([
        text("warren-queue", "The queue it came from"),
        text("warren-reason", "Why, as a stable code: `rejected`, `exhausted`, `poison`, `undecodable`, ..."),
        text("warren-error", "Why, for people"),
        text(
            "warren-exchange",
            &format!("Where it was published first; {} brings it back to `warren-queue`", names.return_exchange()),
        ),
        text("warren-key", "The routing key it was published with"),
    ]);
    schemas.insert(DEAD_LETTER.to_owned(), object(&dead, &[]));
    schemas.insert(
        "warren.started".to_owned(),
        object(
            &of_run(vec![worker(), time("started_at", "When; a later one than before says that the message came again")]),
            &RUN,
        ),
    );
    let lease = "Grows with each start of that run, if you count them: what an earlier start says is not heard after a later one";
    let progress = of_run(vec![
        ("lease".to_owned(), json!({ "type": "integer", "description": lease })),
        ("percent".to_owned(), json!({ "type": "integer", "minimum": 0, "maximum": 100 })),
        text("note", "For people; 200 characters are kept"),
        time("at", "When it was said"),
    ]);
    schemas.insert("warren.progress".to_owned(), object(&progress, &[&RUN[..], &["percent", "at"]].concat()));
    schemas.insert("warren.result".to_owned(), object(&result(), &[&RUN[..], &["outcome"]].concat()));
    schemas
}

/// Of what Warren tells of devices.
pub(super) fn of_devices() -> [(&'static str, Value); 2] {
    let uuid = |name: &str, says: &str| (name.to_owned(), json!({ "type": "string", "format": "uuid", "description": says }));
    let word = |name: &str, words: Vec<&str>, says: &str| {
        (name.to_owned(), json!({ "type": "string", "enum": words, "description": says }))
    };
    let at = |says: &str| ("at".to_owned(), json!({ "type": "string", "format": "date-time", "description": says }));
    let whose = || [text("device", "The id that its tenant gave it"), text("user", "Whose device it is")];
    let states = receipts::DELIVERY.iter().filter_map(|kind| Some(kind.split_once('.')?.1)).collect();
    let reasons = Reason::ALL.into_iter().filter(|reason| *reason != Reason::Inferred).map(Reason::name).collect();
    let inferred = "True where the broker hands the device its messages: it has this one, and the device acks to it alone";
    let mut delivery = vec![uuid("message", "As the 202 said")];
    delivery.extend(whose());
    delivery.extend([
        word("state", states, "As in the name of the event"),
        word("reason", reasons, "Of a message that was dropped"),
        ("inferred".to_owned(), json!({ "type": "boolean", "description": inferred })),
        text("detail", "What the device said of a message that it rejected, if it said anything"),
        at("When it became so"),
    ]);
    let mut presence = Vec::from(whose());
    presence.extend([
        uuid("session", "The same of both events of one session"),
        word("transport", Transport::ALL.map(Transport::name).to_vec(), "How it is connected"),
        at("When it began or ended"),
    ]);
    [
        (DELIVERY, object(&delivery, &["message", "device", "user", "state", "at"])),
        (PRESENCE, object(&presence, &["device", "user", "session", "transport", "at"])),
    ]
}

const RUN: [&str; 3] = ["job", "epoch", "attempt"];

type Fields = Vec<(String, Value)>;

fn cloud_event() -> Fields {
    vec![
        ("cloudEvents_specversion".to_owned(), json!({ "type": "string", "const": "1.0" })),
        text("cloudEvents_id", "As `message_id`"),
        text("cloudEvents_type", "As AMQP `type`"),
        text("cloudEvents_source", "`/warren/<service>`"),
        time("cloudEvents_time", "When it was made"),
        ("warren-v".to_owned(), json!({ "type": "integer", "description": "Format of these headers, 1" })),
        text("warren-tenant", "Whose it is"),
        text("traceparent", "W3C trace context"),
    ]
}

fn run_headers() -> Fields {
    vec![
        count("warren-epoch", "One life of the job: a redrive begins the next"),
        count("warren-attempt", "One try within an epoch"),
        text("warren-token", "Shows that you were given this run: hand it back with every report, and do not log it"),
        time("warren-deadline", "When the job is given up"),
    ]
}

/// What every report has, and `more`.
fn of_run(more: Fields) -> Fields {
    let mut fields = vec![
        text("job", "The job's id: `message_id` as it came"),
        count("epoch", "As it came"),
        count("attempt", "As it came"),
        text("token", "`warren-token` as it came; required of kinds with `worker = \"amqp\"`"),
    ];
    fields.extend(more);
    fields
}

fn worker() -> (String, Value) {
    text("worker", "A name of your choice, 128 bytes are kept")
}

fn result() -> Fields {
    let failure = json!({
        "type": ["object", "null"],
        "required": ["code", "message"],
        "properties": {
            "code": { "type": "string", "description": "Stable and short, 128 bytes: failures are grouped by it" },
            "message": { "type": "string", "description": "For people, 4 KiB" },
        },
    });
    let outcome = json!({
        "type": "string",
        "enum": ["succeeded", "failed", "rejected", "snoozed", "dead"],
        "description": "failed: the next attempt. rejected: a dead letter at once. snoozed: the same attempt later. dead: given up by the \
                        runtime of a service, without an outcome",
    });
    of_run(vec![
        worker(),
        ("outcome".to_owned(), outcome),
        ("result".to_owned(), json!({ "description": "With succeeded: any JSON, 64 KiB are kept" })),
        ("failure".to_owned(), failure),
        (
            "retry_after_ms".to_owned(),
            json!({ "type": ["integer", "null"], "minimum": 0, "description": "With failed: not before; with snoozed: when" }),
        ),
        time("started_at", "Without it: when the start was reported"),
        time("ended_at", "Without it: when this came"),
        (
            "http_status".to_owned(),
            json!({ "type": ["integer", "null"], "description": "What a service that you called answered" }),
        ),
    ])
}

fn object(fields: &Fields, required: &[&str]) -> Value {
    let properties: Map<String, Value> = fields.iter().cloned().collect();
    let mut object = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

fn text(name: &str, says: &str) -> (String, Value) {
    (name.to_owned(), json!({ "type": "string", "description": says }))
}

fn time(name: &str, says: &str) -> (String, Value) {
    (name.to_owned(), json!({ "type": ["string", "null"], "format": "date-time", "description": says }))
}

fn count(name: &str, says: &str) -> (String, Value) {
    (name.to_owned(), json!({ "type": "integer", "minimum": 1, "description": says }))
}

/// The JSON Schema of a kind as a payload here, with its pointers within itself bent to `place`, where it stands. `None` when it is of a draft
/// that AsyncAPI cannot hold (older than 7), or names its parts by more than pointers.
pub(super) fn hosted(schema: &Value, place: &str) -> Option<Value> {
    let draft = schema.get("$schema").and_then(Value::as_str);
    if draft.is_some_and(|draft| ["draft-03", "draft-04", "draft-06"].iter().any(|old| draft.contains(old))) {
        return None;
    }
    bent(schema, place)
}

fn bent(value: &Value, place: &str) -> Option<Value> {
    const NAMES: [&str; 6] = ["$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"];
    Some(match value {
        Value::Array(list) => Value::Array(list.iter().map(|one| bent(one, place)).collect::<Option<_>>()?),
        Value::Object(object) if NAMES.iter().any(|name| object.get(*name).is_some_and(Value::is_string)) => return None,
        Value::Object(object) => {
            let field = |(name, value): (&String, &Value)| {
                let value = match value.as_str() {
                    Some("#") if name == "$ref" => Value::from(place),
                    Some(to) if name == "$ref" => {
                        format!("{place}{}", to.strip_prefix('#').filter(|to| to.starts_with('/'))?).into()
                    }
                    _ => bent(value, place)?,
                };
                Some((name.clone(), value))
            };
            Value::Object(object.iter().map(field).collect::<Option<_>>()?)
        }
        other => other.clone(),
    })
}
