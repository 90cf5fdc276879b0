//! What statements look at, in pages of 8 KiB as Postgres counts them. Walking an index from end to end is no sequential scan and costs as much: what counts
//! is how much was read.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::server::Server;

/// Every statement is put down in the log with what it has read.
const EXPLAINED: [(&str, &str); 8] = [
    ("shared_preload_libraries", "auto_explain"),
    ("auto_explain.log_min_duration", "0"),
    ("auto_explain.log_analyze", "on"),
    ("auto_explain.log_buffers", "on"),
    ("auto_explain.log_timing", "off"),
    ("auto_explain.log_format", "json"),
    ("log_line_prefix", ""),
    ("autovacuum", "off"),
];

/// A server that tells what its statements look at.
pub fn server() -> Server {
    Server::start(&EXPLAINED)
}

/// What was looked at, and what of it was too much.
pub struct Looks<'a> {
    server: &'a Server,
    seen: usize,
    measured: BTreeMap<&'static str, u64>,
    faults: Vec<String>,
}

impl<'a> Looks<'a> {
    /// Of a server from [`server`], from now on.
    pub fn of(server: &'a Server) -> Self {
        Self { server, seen: server.log().len(), measured: BTreeMap::new(), faults: Vec::new() }
    }

    /// What was looked at until now does not count. Each connection reads the catalogs for itself, and those pages count too: the first round reads them.
    pub fn again(&mut self) {
        *self = Self::of(self.server);
    }

    /// What was asked since the last call was `what`: each statement of it has looked at `limit` pages at most.
    pub fn at(&mut self, what: &'static str, limit: u64) {
        let log = self.server.log();
        let found = statements(&log[self.seen..]);
        self.seen = log.len();
        assert!(!found.is_empty(), "{what} asked nothing");
        for statement in found {
            let looked = pages(&statement["Plan"]);
            if looked > limit {
                let (text, steps) = (statement["Query Text"].as_str().unwrap(), steps(&statement["Plan"], limit / 2));
                self.faults.push(format!("{what} has looked at {looked} pages, over {limit}, by {steps:?}: {text}"));
            }
            let most = self.measured.entry(what).or_default();
            *most = (*most).max(looked);
        }
    }

    /// Nothing was too much.
    pub fn judge(self) {
        eprintln!("{:?}", self.measured);
        assert!(self.faults.is_empty(), "{:#?}, of {:?}", self.faults, self.measured);
    }
}

/// Plans in a piece of the log, with their statements.
fn statements(log: &str) -> Vec<Value> {
    let text = |piece: &str| piece.lines().take_while(|line| line.starts_with('\t')).collect::<String>();
    let pieces = log.split("plan:\n").skip(1).map(text);
    pieces.map(|text| serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))).collect()
}

fn own(step: &Value) -> u64 {
    ["Shared Hit Blocks", "Shared Read Blocks"].iter().filter_map(|name| step[name].as_u64()).sum()
}

fn below(step: &Value) -> &[Value] {
    step["Plans"].as_array().map_or(&[], Vec::as_slice)
}

/// Pages that the statement of this plan has looked at; those below it are in the sum of the first step, or are steps of their own.
fn pages(plan: &Value) -> u64 {
    own(plan).max(below(plan).iter().map(own).sum())
}

/// Which indexes a plan has looked at over so many pages of.
fn steps(plan: &Value, limit: u64) -> Vec<String> {
    let mut found: Vec<String> = below(plan).iter().flat_map(|step| steps(step, limit)).collect();
    if let (Some(index), true) = (plan["Index Name"].as_str(), own(plan) > limit) {
        found.push(format!("{index} where {} ({} pages, {} times)", plan["Index Cond"], own(plan), plan["Actual Loops"]));
    }
    found
}
