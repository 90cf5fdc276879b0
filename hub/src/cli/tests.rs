//! The definitions themselves: sound, parsed as meant, and documented.
#![allow(clippy::unwrap_used, clippy::panic)]

use clap::{Command as Definition, CommandFactory};

use super::*;

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn command_lines_people_type() {
    let good = [
        "warren dev --folder /tmp/x --amqp-port 5692",
        "warren serve --role api,worker --config a.toml --config b.toml --lenient",
        "warren jobs list --kind orders.place --state dead --json",
        "warren jobs show 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77",
        "warren jobs cancel 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b77 01985a3e-7c1f-7d58-a2b1-0d5f2c9e4b78",
        "warren kinds list --json",
        "warren kinds pause orders.place --note down",
        "warren kinds resume orders.place",
        "warren dead redrive a b --note why --force",
        "warren dead redrive --all --queue jobs.orders.place --reason exhausted --yes",
        "warren dead discard a --reason test",
        "warren dead redrive --kind orders.place --reason exhausted --group 49956dcea5537768 --since 2h --rate 1000",
        "warren dead discard --group 49956dcea5537768 --reason test --yes --json",
        "warren dead edit a --body @b.json --request-id r1",
        "warren dead audit --actor ann --since 2026-01-02T03:04:05Z",
        "warren dead list --group 49956dcea5537768 --code smtp --text refused --until 1d",
        "warren topology export --config x --check definitions.json",
        "warren topology plan --prune --owner billing --json",
        "warren topology apply --prune --accept-loss --dry-run",
        "warren topology check --json",
        "warren topology migrate jobs.orders.place warren.retry.1s --timeout 30m --settle 1m --plan --json",
        "warren topology graph --config x --focus orders.place --format mermaid",
        "warren topology graph --check docs/topology.svg",
        "warren topology asyncapi --output asyncapi.json",
        "warren topology import definitions.json --json",
        "warren health --url http://127.0.0.1:8082",
        "warren config dump --json",
        "warren config check --json",
        "warren topology lint --strict --json --config x",
        "warren token mint --tenant a --subject b --scope jobs:read --scope jobs:submit --ttl 30d",
        "warren migrate --set store.url=sqlite://x.db",
        "warren conformance amqp reports.build --case normal,late-result --payload slow=s.json --grace 5s -- python worker.py --fast",
        "warren conformance http http://127.0.0.1:9000/x --header authorization=x --json --junit out.xml",
    ];
    for line in good {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).err().unwrap());
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_exit_code_2() {
    let bad = [
        "warren",
        "warren jobs cancel",
        "warren kinds pause",
        "warren dead redrive",
        "warren conformance amqp",
        "warren conformance amqp k --case slack",
        "warren conformance amqp k --timeout 30",
        "warren conformance http ftp://x",
        "warren dead redrive a --all --queue q",
        "warren dead redrive --all",
        "warren dead redrive a --yes",
        "warren dead discard a",
        "warren dead discard --reason test",
        "warren dead redrive --yes",
        "warren dead redrive a --kind k",
        "warren dead redrive --kind k --rate 0",
        "warren dead redrive --kind k --since yesterday",
        "warren dead edit a",
        "warren jobs list --cursor nonsense",
        "warren topology export --check a --output b",
        "warren topology apply --accept-loss",
        "warren topology plan --owner billing",
        "warren topology migrate",
        "warren topology migrate q --settle 0s",
        "warren topology graph --format png",
        "warren topology import",
        "warren token mint --tenant a --subject b --scope c --ttl 30",
        "warren serve --set nonsense",
    ];
    for line in bad {
        let Err(error) = parse(line) else { panic!("{line} was taken") };
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

/// Every command that does something, with its words.
fn leaves(command: &Definition, words: &str) -> Vec<(String, Definition)> {
    let words = format!("{words} {}", command.get_name()).trim().to_owned();
    if command.get_subcommands().next().is_none() {
        return vec![(words, command.clone())];
    }
    command.get_subcommands().flat_map(|sub| leaves(sub, &words)).collect()
}

#[test]
fn every_help_has_examples_that_parse() {
    for (words, command) in leaves(&Cli::command(), "") {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<&str> = help.lines().map(str::trim).filter(|line| line.starts_with(&words)).collect();
        assert!(!examples.is_empty(), "`{words} --help` has no example of it");
        for example in examples {
            let line = example.split(" | ").next().unwrap();
            // Quoted words count as one.
            let quoted: Vec<String> = line
                .split('\'')
                .enumerate()
                .map(|(i, part)| if i % 2 == 1 { part.replace(' ', "_") } else { part.to_owned() })
                .collect();
            parse(&quoted.concat()).unwrap_or_else(|error| panic!("{example}: {error}"));
        }
    }
}

#[test]
fn the_reference_is_up_to_date() {
    let mut text = String::from(
        "# The `warren` command line\n\nGenerated from the program's own help; `UPDATE=1 cargo test -p warren-hub the_reference` \
         writes it anew.\n\nData goes to stdout, talk to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration; \
         `topology plan` and `topology check` have 2 for a difference, and then 1 for a configuration that cannot be used. Commands on jobs and dead letters call the admin API of a running hub, never its database.\n",
    );
    for (words, command) in leaves(&Cli::command(), "") {
        // The width of the terminal the test runs in must not matter.
        let help = command.bin_name(&words).display_name(&words).term_width(100).render_long_help().to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        text += &format!("\n## `{words}`\n\n```text\n{}\n```\n", help.join("\n").trim_end());
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
    if std::env::vars_os().any(|(name, _)| name == "UPDATE") {
        std::fs::write(path, &text).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == text, "docs/cli.md is stale: run `UPDATE=1 cargo test -p warren-hub the_reference`");
}
