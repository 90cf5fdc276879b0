//! The configuration in the words of the crates that work by it.

use api_ack::cron::{self, CronSpec};
use api_ack::kinds::{Completion, Existing, Format, KindSpec, Worker};
use api_ack::sweeper::Retention;
use broker_topology::Priority;
use messaging::trace::TraceOptions;

use crate::config;

/// What this process is called in the history of attempts: `host:pid`.
pub(super) fn process_name() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    format!("{}:{}", host.as_deref().unwrap_or("hub"), std::process::id())
}

/// What spans are told of as; `None` while tracing is off.
pub(super) fn trace_options(config: &config::Tracing) -> Option<TraceOptions> {
    Some(TraceOptions {
        endpoint: config.endpoint.clone()?,
        headers: config.headers.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect(),
        sample: config.sample,
        service: config.service.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: process_name(),
    })
}

pub(super) fn kind_spec(kind: &config::KindConfig, consuming: config::Consuming) -> KindSpec {
    KindSpec {
        window: kind.window,
        timeout: kind.timeout,
        deadline: kind.deadline,
        priority: kind.priority.map(|priority| match priority {
            config::Priority::Normal => Priority::Normal,
            config::Priority::High => Priority::High,
        }),
        retention: kind.retention,
        retry: kind.retry.clone(),
        concurrency: consuming.concurrency.into(),
        prefetch: consuming.prefetch,
        attempt: consuming.attempt,
        early: consuming.early,
        max_wait: kind.max_wait,
        callback: kind.callback.clone(),
        key_required: kind.idempotency == config::Idempotency::Required,
        description: kind.description.clone(),
        routes: kind.routes.iter().map(|route| route.0.clone()).collect(),
        content_types: kind.content_types.iter().map(|one| one.0.clone()).collect(),
        schema: kind.schema.as_ref().map(|file| file.schema.clone()),
        existing: kind.amqp.as_ref().map(existing),
        ..KindSpec::new(
            kind.name.clone(),
            match kind.worker {
                config::Worker::Rust => Worker::Rust,
                config::Worker::Amqp => Worker::Amqp,
                config::Worker::Http => Worker::Http,
            },
        )
    }
}

fn existing(target: &config::AmqpTarget) -> Existing {
    Existing {
        exchange: target.exchange.clone(),
        routing_key: target.routing_key.clone(),
        queue: target.queue.clone(),
        format: match target.format {
            config::AmqpFormat::CloudEvents => Format::CloudEvents,
            config::AmqpFormat::Raw => Format::Raw,
        },
        completion: match target.completion {
            config::AmqpCompletion::Report => Completion::Report,
            config::AmqpCompletion::Handoff => Completion::Handoff,
        },
    }
}

pub(super) fn cron_spec(entry: &config::CronConfig) -> CronSpec {
    CronSpec {
        name: entry.name.as_str().to_owned(),
        schedule: entry.schedule.clone(),
        kind: entry.kind.as_str().to_owned(),
        tenant: entry.tenant.clone(),
        data: entry.data.json.to_string().into(),
        tags: entry.tags.0.clone(),
        overlap: match entry.overlap {
            config::Overlap::Allow => cron::Overlap::Allow,
            config::Overlap::Skip => cron::Overlap::Skip,
        },
        catch_up: entry.catch_up,
    }
}

pub(super) fn retention(config: &config::Retention) -> Retention {
    Retention { jobs: config.jobs, keys: config.keys, dead_letters: config.dead_letters }
}
