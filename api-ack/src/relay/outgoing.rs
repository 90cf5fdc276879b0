//! A waiting row as the message it becomes, and where to.

use broker_topology::{Kind, Names, Priority};
use messaging::message::{Message, Route, header};
use messaging::wire::{Outbound, Unsendable};

use super::Item;
use crate::kinds::{Format, KindSpec};
use crate::run_token::RunTokens;
use crate::store::Outlet;
use database::clock;

/// CloudEvents `source` of everything the hub publishes.
pub const SOURCE: &str = "/warren/hub";

/// The message for a row that waits to be published, of a kind that is as `spec` says. A high job goes to the queue of its class if
/// its kind still has classes, and with the normal ones otherwise; its dead letter says which it was in any case, so that it is the
/// same letter each time. And it carries no token: whoever reads letters is not to speak for the job. Of a kind whose exchange is
/// somebody else's everything but a dead letter goes there: nothing comes back to its queue by a rung or by `warren.return`.
pub(super) fn outgoing(item: &Item, names: &Names, tokens: &RunTokens, spec: Option<&KindSpec>) -> Result<Outbound, Unsendable> {
    let Item { job, payload, .. } = item;
    let status = &job.status;
    let classes = spec.is_some_and(|spec| spec.priority.is_some());
    let class = if classes || status.outlet == Some(Outlet::Dead) { job.priority } else { Priority::Normal };
    let (queue, key) = match Kind::parse(&job.kind) {
        Ok(kind) => (names.queue_of(&kind, class), class.key(&kind)),
        // The kind was checked when the job was accepted; a row written by hand ends as returned.
        Err(_) => (names.on_broker(&job.kind), job.kind.clone()),
    };
    // Nor what is done with the confirm: nobody is to speak for it.
    let speaks = status.outlet != Some(Outlet::Dead) && !spec.is_some_and(KindSpec::hands_off);
    let token = speaks.then(|| (header::TOKEN.to_owned(), tokens.of(job.id, status.run())));
    let deadline = (header::DEADLINE.to_owned(), clock::timestamp(status.deadline).to_string());
    let message = Message {
        id: job.id.to_string(),
        kind: job.kind.clone(),
        source: SOURCE.to_owned(),
        time: clock::timestamp(clock::made_at(job.id).unwrap_or(status.updated_at)),
        content_type: payload.content_type.clone(),
        traceparent: payload.traceparent.clone(),
        run: Some(status.run()),
        tenant: job.tenant.clone(),
        headers: std::iter::once(deadline).chain(token).collect(),
        body: payload.body.clone(),
    };
    if let Some(existing) = spec.and_then(|spec| spec.existing.as_ref())
        && status.outlet != Some(Outlet::Dead)
    {
        let route = Route::new(existing.exchange.as_str(), existing.routing_key.as_str());
        return match existing.format {
            Format::Raw => Outbound::raw(route, &message),
            Format::CloudEvents => Outbound::new(route, &message),
        };
    }
    let jobs = names.jobs();
    let origin = [(header::EXCHANGE, jobs.as_str()), (header::KEY, key.as_str())];
    match status.outlet.unwrap_or(Outlet::Jobs) {
        Outlet::Jobs => Outbound::new(Route::new(jobs.clone(), key.clone()), &message),
        Outlet::Rung(rung) => Outbound::with_headers(Route::waiting(names, rung, queue), &message, &origin),
        Outlet::Return => Outbound::with_headers(Route::new(names.return_exchange(), queue), &message, &origin),
        Outlet::Dead => {
            let reason = status.reason.as_deref().unwrap_or("dead");
            let error = status.error.as_deref().unwrap_or_default();
            let more = [(header::QUEUE, queue.as_str()), (header::REASON, reason), (header::ERROR, error), origin[0], origin[1]];
            Outbound::with_headers(Route::new(names.dead(), queue.clone()), &message, &more)
        }
    }
}
