//! A plan for people: grouped by what is done, aligned, counts at the end.

use std::fmt::Write as _;

use broker_topology::{Action, Effective, Override, Plan, Step, Target};

use crate::cli::print::shown;

/// The whole plan.
pub(super) fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    let groups = [
        (Action::Create, "create"),
        (Action::Change, "change"),
        (Action::Migrate, "cannot be changed, and is left as it is"),
        (Action::Remove, "remove"),
    ];
    for (action, heading) in groups {
        let steps: Vec<&Step> = plan.steps.iter().filter(|step| step.action == action).collect();
        group(&mut text, heading, steps.iter().map(|step| lines_of(step)));
    }
    group(
        &mut text,
        "is there besides, and stays",
        plan.extra.iter().map(|extra| {
            let why = if extra.ours { "ours: --prune removes it" } else { "made by somebody else" };
            vec![line(&extra.target, why)]
        }),
    );
    let policies = plan.policies.as_deref().unwrap_or_default();
    let overriding = policies.iter().filter(|policy| !policy.overrides.is_empty());
    group(&mut text, "policies that override what correctness rests on", overriding.map(|found| vec![overridden(found)]));
    let harmless = policies.iter().filter(|policy| policy.overrides.is_empty());
    group(&mut text, "policies that hold", harmless.map(|found| vec![format!("queue     {}  {}", found.queue, by(found))]));
    group(&mut text, "would be lost", plan.losses.iter().map(|loss| vec![format!("{}: {}", loss.object, loss.message)]));
    group(&mut text, "not seen", plan.unseen.iter().map(|unseen| vec![unseen.clone()]));
    let count = |action| plan.steps.iter().filter(|step| step.action == action).count();
    let _ = writeln!(
        text,
        "{} to create, {} to change, {} to migrate, {} to remove; {} stay besides, {} policies override, {} would be lost",
        count(Action::Create),
        count(Action::Change),
        count(Action::Migrate),
        count(Action::Remove),
        plan.extra.len(),
        plan.drift().policy.map_or("unseen".to_owned(), |count| count.to_string()),
        plan.losses.len(),
    );
    text
}

/// The differences alone, one per line.
pub(super) fn drift(plan: &Plan) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        let kind = match step.action {
            Action::Create => "missing",
            Action::Change | Action::Migrate => "changed",
            Action::Remove => "extra",
        };
        let differ: Vec<String> = step.properties.iter().map(ToString::to_string).collect();
        let _ = writeln!(text, "{kind:<8} {}", line(&step.target, &shown(&differ.join(", "))));
    }
    for extra in &plan.extra {
        let _ = writeln!(text, "extra    {}", line(&extra.target, ""));
    }
    for found in plan.policies.iter().flatten().filter(|found| !found.overrides.is_empty()) {
        let _ = writeln!(text, "policy   {}", overridden(found));
    }
    text
}

fn group(text: &mut String, heading: &str, entries: impl Iterator<Item = Vec<String>>) {
    let entries: Vec<Vec<String>> = entries.collect();
    if entries.is_empty() {
        return;
    }
    let _ = writeln!(text, "{heading} ({})", entries.len());
    for line in entries.iter().flatten() {
        let _ = writeln!(text, "  {}", shown(line).trim_end());
    }
    text.push('\n');
}

fn lines_of(step: &Step) -> Vec<String> {
    let differ: Vec<String> = step.properties.iter().map(ToString::to_string).collect();
    let mut lines = vec![line(&step.target, &differ.join(", "))];
    lines.extend(step.remedy.iter().map(|remedy| format!("          {remedy}")));
    lines
}

fn line(target: &Target, more: &str) -> String {
    let (sort, name) = match target {
        Target::Exchange { name } => ("exchange", name.clone()),
        Target::Queue { name } => ("queue", name.clone()),
        Target::Policy { name } => ("policy", name.clone()),
        Target::Binding(binding) => {
            let to = format!("{} -> {} {}", binding.source, binding.destination_type, binding.destination);
            let key = if binding.key.is_empty() { String::new() } else { format!("  key {}", binding.key) };
            let arguments = match binding.arguments.is_empty() {
                true => String::new(),
                false => format!("  {}", serde_json::to_string(&binding.arguments).unwrap_or_default()),
            };
            ("binding", to + &key + &arguments)
        }
    };
    let name = shown(&name);
    if more.is_empty() { format!("{sort:<9} {name}") } else { format!("{sort:<9} {name}  {more}") }
}

fn by(found: &Effective) -> String {
    let policy = found.policy.iter().map(|name| format!("policy {name}"));
    let operator = found.operator_policy.iter().map(|name| format!("operator policy {name}"));
    policy.chain(operator).collect::<Vec<_>>().join(", ")
}

fn overridden(found: &Effective) -> String {
    let each = found.overrides.iter().map(|Override { policy, operator, property, value, argument }| {
        let sort = if *operator { "operator policy" } else { "policy" };
        let before = argument.as_ref().map_or("none is stated".to_owned(), |argument| format!("the queue states {argument}"));
        format!("{sort} {policy} sets {property} to {value}, {before}: narrow its pattern")
    });
    shown(&format!("queue     {}  {}", found.queue, each.collect::<Vec<_>>().join("; ")))
}
