//! A plan carried out: first what is missing, then policies, then what goes, so that a message always has the way it had or the new one.
//!
//! Every step can be done twice, and by two at once: a declare of what is there changes nothing, and what is gone cannot be removed again.
//! A queue goes in three moves: it is unbound, [`SETTLE`] passes, and it is deleted if it is empty and nobody consumes from it. RabbitMQ
//! itself sees to the last only for classic queues: for quorum queues 3.10.8 refuses both `if-empty` and `if-unused`. One that cannot be
//! seen to be empty is kept; gone is only what the management API answers 404 of.

use std::collections::BTreeSet;
use std::time::Duration;

use broker_topology::{Action, Live, LiveBinding, Plan, Policy, Sight, Step, Target, Topology};
use messaging::apply::{self, ApplyError, Declare, QueueLook};
use messaging::connection::Link;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::figures;
use crate::management::{Management, ManagementError};

/// How long a message may be on its way into a queue after its binding has gone; the statistics of the broker lag by no more.
const SETTLE: Duration = Duration::from_secs(11);

/// What was done, step by step, and where it ended.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    /// Exchanges and queues that were made.
    pub(crate) created: Vec<String>,
    /// How many of those were there already.
    pub(crate) present: usize,
    /// Bindings that were made; without the management API all are sent, and the broker knows most of them already.
    pub(crate) bindings: usize,
    /// Policies that were set.
    pub(crate) policies: Vec<String>,
    /// What was removed.
    pub(crate) removed: Vec<String>,
    /// What a person has to do, each a sentence.
    pub(crate) left: Vec<String>,
    /// How many steps the plan has that are done here.
    pub(crate) planned: usize,
    /// How many were done.
    pub(crate) applied: usize,
    /// What ended it, if something did.
    pub(crate) failed: Option<String>,
}

/// Why a step was not done.
type Refusal = String;

/// Whom to ask.
pub(crate) struct Hands<'a> {
    /// Declares.
    pub(crate) link: &'a Link,
    /// Policies and removals; there are none without it.
    pub(crate) management: Option<&'a Management>,
    /// Delete queues whatever is in them.
    pub(crate) accept_loss: bool,
}

/// Does what `plan` says; what ends it is in the outcome, beside what was done before.
pub(crate) async fn carry_out(plan: &Plan, desired: &Topology, live: &Live, hands: &Hands<'_>) -> Outcome {
    let migrations = plan.steps.iter().filter(|step| step.action == Action::Migrate);
    let mut left: Vec<String> = migrations.map(left).collect();
    let migrations = left.len();
    if live.policies.is_none() {
        left.extend(desired.policies.iter().map(|policy| {
            format!(
                "policy {} is not set: AMQP sets none, and the management API was of no use; see above what it needs, or import what \
                 `warren topology export` prints",
                policy.name
            )
        }));
    }
    let missing =
        |sort: fn(&Target) -> bool| plan.steps.iter().filter(move |s| s.action == Action::Create && sort(&s.target)).count();
    let there = desired.exchanges.len() + desired.queues.len();
    let mut outcome = Outcome {
        planned: plan.steps.len() - migrations,
        left,
        present: there - missing(|target| matches!(target, Target::Exchange { .. } | Target::Queue { .. })),
        ..Outcome::default()
    };
    if let Err(why) = go(plan, desired, live, hands, &mut outcome).await {
        outcome.failed = Some(why);
    }
    outcome
}

fn left(step: &Step) -> String {
    let differ: Vec<String> = step.properties.iter().map(ToString::to_string).collect();
    format!("{} differs ({}): {}", step.target, differ.join(", "), step.remedy.as_deref().unwrap_or_default())
}

async fn go(plan: &Plan, desired: &Topology, live: &Live, hands: &Hands<'_>, outcome: &mut Outcome) -> Result<(), Refusal> {
    let created: BTreeSet<String> =
        plan.steps.iter().filter(|step| step.action == Action::Create).map(|step| step.target.to_string()).collect();
    let wanted = |target: Target| created.contains(&target.to_string());
    let exchanges: Vec<Declare<'_>> = desired
        .exchanges
        .iter()
        .filter(|exchange| wanted(Target::Exchange { name: exchange.name.clone() }))
        .map(Declare::Exchange)
        .collect();
    let queues: Vec<Declare<'_>> =
        desired.queues.iter().filter(|queue| wanted(Target::Queue { name: queue.name.clone() })).map(Declare::Queue).collect();
    for objects in [exchanges, queues] {
        declare(hands.link, &objects, outcome, |outcome, object| {
            outcome.applied += 1;
            match object {
                Declare::Exchange(exchange) => outcome.created.push(exchange.name.clone()),
                Declare::Queue(queue) => outcome.created.push(queue.name.clone()),
                Declare::Binding(_) => {}
            }
        })
        .await?;
    }
    // By existence alone no binding is seen: all are sent.
    let blind = live.sight == Sight::Existence;
    let unseen = |binding: &&broker_topology::Binding| blind || wanted(Target::Binding(LiveBinding::of(binding)));
    let bindings: Vec<Declare<'_>> = desired.bindings.iter().filter(unseen).map(Declare::Binding).collect();
    declare(hands.link, &bindings, outcome, |outcome, _| {
        outcome.bindings += 1;
        outcome.applied += usize::from(!blind);
    })
    .await?;
    if let Some(management) = hands.management {
        set_policies(plan, desired, management, outcome).await?;
        remove(plan, live, management, hands, outcome).await?;
    }
    Ok(())
}

async fn declare<'a>(
    link: &Link,
    objects: &[Declare<'a>],
    outcome: &mut Outcome,
    done: impl Fn(&mut Outcome, &Declare<'a>),
) -> Result<(), Refusal> {
    let mut first = Ok(());
    let answers = apply::declare(link, objects).await.map_err(|error: ApplyError| error.to_string())?;
    for (object, answer) in objects.iter().zip(answers) {
        match answer {
            Some(Ok(())) => done(outcome, object),
            Some(Err(error)) if first.is_ok() => first = Err(error.to_string()),
            _ => {}
        }
    }
    first
}

/// Makes a policy as it is said, whether or not there was one of its name.
pub(crate) async fn set_policy(management: &Management, policy: &Policy) -> Result<(), ManagementError> {
    let body = json!({
        "pattern": policy.pattern,
        "apply-to": policy.apply_to.as_str(),
        "priority": policy.priority,
        "definition": policy.definition,
    });
    management.put(&["policies", management.vhost(), &policy.name], &body).await
}

async fn set_policies(plan: &Plan, desired: &Topology, management: &Management, outcome: &mut Outcome) -> Result<(), Refusal> {
    for step in plan.steps.iter().filter(|step| matches!(step.action, Action::Create | Action::Change)) {
        let Target::Policy { name } = &step.target else { continue };
        let Some(policy) = desired.policies.iter().find(|policy| policy.name == *name) else { continue };
        set_policy(management, policy).await.map_err(|error| format!("{}: {error}", step.target))?;
        outcome.policies.push(name.clone());
        outcome.applied += 1;
    }
    Ok(())
}

async fn remove(
    plan: &Plan,
    live: &Live,
    management: &Management,
    hands: &Hands<'_>,
    outcome: &mut Outcome,
) -> Result<(), Refusal> {
    let steps: Vec<&Step> = plan.steps.iter().filter(|step| step.action == Action::Remove).collect();
    let gone = |target: &Target, outcome: &mut Outcome| {
        outcome.removed.push(target.to_string());
        outcome.applied += 1;
    };
    for step in &steps {
        if let Target::Binding(binding) = &step.target {
            management.remove_binding(binding).await.map_err(|error| format!("{}: {error}", step.target))?;
            gone(&step.target, outcome);
        }
    }
    let queues: Vec<String> = plan.queues_to_go().map(str::to_owned).collect();
    if !queues.is_empty() && !hands.accept_loss {
        tokio::time::sleep(SETTLE).await;
    }
    let (mut kept, until) = (Vec::new(), Instant::now() + figures::FIRST);
    for step in &steps {
        let Target::Queue { name } = &step.target else { continue };
        // Looked at one by one, right before it goes.
        match delete_queue(name, live, management, hands, until).await {
            None => gone(&step.target, outcome),
            Some(why) => kept.push(format!("queue {name} is unbound and kept: {why}")),
        }
    }
    for step in &steps {
        let Target::Exchange { name } = &step.target else { continue };
        let unused = if hands.accept_loss { "false" } else { "true" };
        let deleted = management.delete(&["exchanges", management.vhost(), name], &[("if-unused", unused)]).await;
        if let Err(error) = deleted {
            kept.push(format!("{}: {error}", step.target));
            break;
        }
        gone(&step.target, outcome);
    }
    if kept.is_empty() { Ok(()) } else { Err(kept.join("; ")) }
}

/// Deletes it; or why it was kept. Figures that the broker does not have yet are waited for until `until`.
async fn delete_queue(name: &str, live: &Live, management: &Management, hands: &Hands<'_>, until: Instant) -> Option<Refusal> {
    let path = ["queues", management.vhost(), name];
    let mut careful: &[(&str, &str)] = &[];
    if !hands.accept_loss {
        let names = [name.to_owned()];
        let held = match figures::held(management, &names, until).await {
            Ok(found) => match found.get(name) {
                Some(held) => *held,
                // Gone already: somebody else applies the same.
                None => return None,
            },
            Err(why) => return Some(why),
        };
        let sight = match apply::sight(hands.link, &names).await {
            Ok(sights) => sights.into_iter().next().unwrap_or(apply::Sight::Missing),
            Err(error) => return Some(error.to_string()),
        };
        if let Some(why) = not_empty(held, &sight) {
            return Some(why);
        }
        if live.queues.get(name).and_then(|queue| queue.kind.as_deref()) == Some("classic") {
            careful = &[("if-empty", "true"), ("if-unused", "true")];
        }
    }
    match management.delete(&path, careful).await {
        Ok(_) => None,
        Err(ManagementError::Refused { why, .. }) => Some(why),
        Err(error) => Some(format!("{error}; whether it was deleted all the same is not known, apply again")),
    }
}

/// Why a queue that is there is not known to be empty and unused; `held` are its messages that are not ready.
fn not_empty(held: Option<u64>, sight: &apply::Sight) -> Option<Refusal> {
    match (sight, held) {
        (apply::Sight::There(QueueLook { ready: 0, consumers: 0 }), Some(0)) => None,
        (apply::Sight::There(look), Some(held)) => Some(format!(
            "{} messages ready, {held} held (unacknowledged, or dead letters that their target has not taken), {} consumers; let them \
             finish, and apply again",
            look.ready, look.consumers
        )),
        (apply::Sight::There(_), None) => {
            Some("the broker does not tell how many messages it holds; apply again in some seconds".to_owned())
        }
        (apply::Sight::Kept(why), _) => {
            Some(format!("it cannot be looked at: {why}; give the user a permission on it: docs/permissions.md"))
        }
        (apply::Sight::Missing, _) => {
            Some("the management API knows it, and AMQP does not find it: apply again once its node is up".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_goes_only_when_it_is_seen_to_be_empty_and_unused() {
        use apply::Sight::{Kept, Missing, There};
        let there = |ready, consumers| There(QueueLook { ready, consumers });
        assert_eq!(not_empty(Some(0), &there(0, 0)), None);
        for (held, sight, said) in [
            (Some(0), there(1, 0), "1 messages ready, 0 held"),
            (Some(3), there(0, 0), "0 messages ready, 3 held"),
            (Some(0), there(0, 2), "2 consumers"),
            (None, there(0, 0), "does not tell how many"),
            (Some(0), Kept("ACCESS_REFUSED - no".to_owned()), "ACCESS_REFUSED - no"),
            (Some(0), Missing, "AMQP does not find it"),
        ] {
            let why = not_empty(held, &sight);
            assert!(why.as_ref().is_some_and(|why| why.contains(said)), "{held:?} {sight:?}: {why:?}");
        }
    }
}
