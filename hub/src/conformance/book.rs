//! What was given, what was said of it, and whether the two fit. Pure.

use std::collections::{HashMap, HashSet};

use api_ack::run_token::RunTokens;
use messaging::message::{Message, Run};
use messaging::progress_report::{self, ProgressReport};
use messaging::results::{JobResult, MAX_RESULT};
use messaging::started_report::{self, StartedReport};
use uuid::Uuid;

use super::case::Stop;

/// One report that is as it should be.
#[derive(Debug)]
pub(super) enum Word {
    Started,
    Progress(u8),
    Result(Box<JobResult>),
}

#[derive(Debug)]
struct Said {
    job: Uuid,
    run: Run,
    word: Word,
}

/// Keeps account of one run of the kit.
#[derive(Debug)]
pub(super) struct Book {
    tokens: RunTokens,
    given: HashMap<Uuid, Vec<Run>>,
    /// Jobs whose message the worker gave away as a dead letter.
    rejected: HashSet<Uuid>,
    said: Vec<Said>,
    /// Reports that no hub could use, oldest first.
    wrong: Vec<String>,
}

impl Book {
    pub(super) fn new(tokens: RunTokens) -> Self {
        Self { tokens, given: HashMap::new(), rejected: HashSet::new(), said: Vec::new(), wrong: Vec::new() }
    }

    /// Puts down that a run is given; gives its token.
    pub(super) fn give(&mut self, job: Uuid, run: Run) -> String {
        let runs = self.given.entry(job).or_default();
        if !runs.contains(&run) {
            runs.push(run);
        }
        self.tokens.of(job, run)
    }

    /// The job that a message stands for, if it was given by this kit.
    pub(super) fn own(&self, message: &Message) -> Option<Uuid> {
        Uuid::parse_str(&message.id).ok().filter(|job| self.given.contains_key(job))
    }

    /// Puts down that the message of a job was given away.
    pub(super) fn reject(&mut self, job: Uuid) {
        self.rejected.insert(job);
    }

    /// Puts a report down; `false` when it names a job of somebody else, whose it remains.
    pub(super) fn hear(&mut self, report: &Message) -> bool {
        match self.read(report) {
            Ok(Some(said)) => self.said.push(said),
            Ok(None) => return false,
            Err(why) => self.wrong.push(why),
        }
        true
    }

    fn read(&self, report: &Message) -> Result<Option<Said>, String> {
        let Read { job, run, token, word } = Read::of(report)?;
        let Ok(id) = Uuid::parse_str(&job) else { return Err(format!("a report names `{job}`, which is no job")) };
        let Some(runs) = self.given.get(&id) else { return Ok(None) };
        let what = format!("the {} of attempt {} of job {id}", word.name(), run.attempt);
        if !runs.contains(&run) {
            return Err(format!(
                "{what} (epoch {}) is of a run that was not given: hand `warren-epoch` and `warren-attempt` of the message back",
                run.epoch
            ));
        }
        match token {
            None => return Err(format!("{what} has no `token`: hand `warren-token` of the message back")),
            Some(token) if !self.tokens.matches(id, run, &token) => {
                let of = runs.iter().find(|other| self.tokens.matches(id, **other, &token));
                let whose = of.map_or("of no run of the job".to_owned(), |other| format!("that of attempt {}", other.attempt));
                return Err(format!("{what} has a wrong `token`, {whose}: each attempt's message carries its own"));
            }
            Some(_) => {}
        }
        if let Word::Result(end) = &word
            && let Some(result) = &end.result
            && result.get().len() > MAX_RESULT
        {
            let bytes = result.get().len();
            return Err(format!("{what} is {bytes} bytes long, {MAX_RESULT} at most are kept: report a link, or a failure"));
        }
        Ok(Some(Said { job: id, run, word }))
    }

    /// The first report that no hub could use.
    pub(super) fn wrong(&self) -> Option<&str> {
        self.wrong.first().map(String::as_str)
    }

    /// Begins a case: what was wrong before has been told.
    pub(super) fn turn_page(&mut self) {
        self.wrong.clear();
    }

    /// How many reports have come.
    pub(super) fn words(&self) -> usize {
        self.said.len() + self.wrong.len()
    }

    /// The ends reported of a job, oldest first.
    pub(super) fn results(&self, job: Uuid) -> Vec<(Run, &JobResult)> {
        let ends = self.said.iter().filter(|said| said.job == job).filter_map(|said| match &said.word {
            Word::Result(result) => Some((said.run, &**result)),
            _ => None,
        });
        ends.collect()
    }

    /// The end reported of one run, the first if there are several.
    pub(super) fn result(&self, job: Uuid, run: Run) -> Option<&JobResult> {
        self.results(job).into_iter().find(|(of, _)| *of == run).map(|(_, result)| result)
    }

    /// The percentages reported of a job, in the order in which they came.
    pub(super) fn progress(&self, job: Uuid) -> Vec<u8> {
        let percent = |said: &Said| match said.word {
            Word::Progress(percent) if said.job == job => Some(percent),
            _ => None,
        };
        self.said.iter().filter_map(percent).collect()
    }

    /// How often the job was reported as started.
    pub(super) fn starts(&self, job: Uuid) -> usize {
        self.said.iter().filter(|said| said.job == job && matches!(said.word, Word::Started)).count()
    }

    /// Whether anything was said of the job.
    pub(super) fn is_known(&self, job: Uuid) -> bool {
        self.said.iter().any(|said| said.job == job)
    }

    /// Whether the message of the job was given away as a dead letter.
    pub(super) fn is_rejected(&self, job: Uuid) -> bool {
        self.rejected.contains(&job)
    }

    /// # Errors
    /// When ends of one run differ, or its message was given away besides.
    pub(super) fn alike(&self, job: Uuid) -> Result<(), Stop> {
        let results = self.results(job);
        let shown = |result: &JobResult| {
            let kept = result.result.as_ref().map_or("nothing", |raw| raw.get());
            format!("`{}` with {}", word_of(result), kept.chars().take(80).collect::<String>())
        };
        for (at, (run, first)) in results.iter().enumerate() {
            let other = results[at + 1..].iter().find(|(of, next)| of == run && shown(next) != shown(first));
            if let Some((_, other)) = other {
                let (first, other) = (shown(first), shown(other));
                return Err(Stop::fail(format!(
                    "one run ended in two ways, {first} and {other}: keep what was done by the job's id"
                )));
            }
        }
        if self.is_rejected(job) {
            return Err(Stop::fail("its message was rejected and is a dead letter now: ack one that comes again"));
        }
        Ok(())
    }
}

/// The word for an end, as it is on the wire.
pub(super) fn word_of(result: &JobResult) -> String {
    serde_json::to_value(result.outcome).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

struct Read {
    job: String,
    run: Run,
    token: Option<String>,
    word: Word,
}

impl Read {
    /// Reads a report as a hub does.
    fn of(report: &Message) -> Result<Self, String> {
        let kind = report.kind.as_str();
        let unreadable = |why: String| format!("a report of type `{kind}` cannot be read: {why}");
        match kind {
            started_report::KIND => {
                let read = StartedReport::decode(&report.body).map_err(|error| unreadable(error.to_string()))?;
                Ok(Self { run: read.run(), job: read.job, token: read.token, word: Word::Started })
            }
            progress_report::KIND => {
                let read = ProgressReport::decode(&report.body).map_err(|error| unreadable(error.to_string()))?;
                let run = Run { epoch: read.epoch, attempt: read.attempt };
                Ok(Self { job: read.job, run, token: read.token, word: Word::Progress(read.percent) })
            }
            _ => {
                let mut read = JobResult::decode(&report.body).map_err(|error| unreadable(error.to_string()))?;
                let (job, token) = (std::mem::take(&mut read.job), read.token.take());
                Ok(Self { job, run: read.run(), token, word: Word::Result(Box::new(read)) })
            }
        }
    }
}

impl Word {
    fn name(&self) -> &'static str {
        match self {
            Self::Started => "start",
            Self::Progress(_) => "progress",
            Self::Result(_) => "result",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    const JOB: Uuid = Uuid::from_u128(7);
    const FIRST: Run = Run { epoch: 1, attempt: 1 };
    const SECOND: Run = Run { epoch: 1, attempt: 2 };

    fn book() -> (Book, String, String) {
        let mut book = Book::new(RunTokens::with(&[1; 32]));
        let tokens = (book.give(JOB, FIRST), book.give(JOB, SECOND));
        (book, tokens.0, tokens.1)
    }

    fn report(kind: &str, body: &Value) -> Message {
        Message {
            id: "r".to_owned(),
            kind: kind.to_owned(),
            source: String::new(),
            time: Timestamp::UNIX_EPOCH,
            content_type: "application/json".to_owned(),
            traceparent: None,
            run: None,
            tenant: String::new(),
            headers: std::collections::BTreeMap::new(),
            body: body.to_string().into(),
        }
    }

    fn result(attempt: i32, token: &str, more: &Value) -> Message {
        let mut body = json!({"job": JOB, "epoch": 1, "attempt": attempt, "token": token, "outcome": "succeeded"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        report("warren.result", &body)
    }

    #[test]
    fn what_fits_is_put_down() {
        let (mut book, token, _) = book();
        assert!(book.hear(&result(1, &token, &json!({"result": {"a": 1}}))));
        let progress = json!({"job": JOB, "epoch": 1, "attempt": 1, "token": token, "percent": 40, "at": "2026-01-01T00:00:00Z"});
        assert!(book.hear(&report("warren.progress", &progress)));
        assert!(book.hear(&report("warren.started", &json!({"job": JOB, "epoch": 1, "attempt": 1, "token": token}))));
        assert_eq!((book.wrong(), book.words()), (None, 3));
        assert!(book.result(JOB, FIRST).is_some() && book.result(JOB, SECOND).is_none());
        assert_eq!((book.progress(JOB), book.starts(JOB)), (vec![40], 1));
        assert_eq!(book.alike(JOB), Ok(()));
    }

    #[test]
    fn what_no_hub_could_use_is_told_with_its_remedy() {
        let (_, first, second) = book();
        let large = json!({"result": "x".repeat(MAX_RESULT)});
        let cases = [
            (report("warren.result", &json!("no")), "cannot be read"),
            (report("warren.progress", &json!({"percent": 200})), "cannot be read"),
            (report("warren.result", &json!({"job": "7", "epoch": 1, "attempt": 1, "outcome": "dead"})), "`7`, which is no job"),
            (report("warren.result", &json!({"job": JOB, "epoch": 1, "attempt": 1, "outcome": "dead"})), "has no `token`"),
            (result(3, &first, &json!({})), "run that was not given"),
            (result(2, &first, &json!({})), "wrong `token`, that of attempt 1"),
            (result(2, "nonsense", &json!({})), "wrong `token`, of no run"),
            (result(2, &second, &large), "65538 bytes long"),
        ];
        for (message, why) in cases {
            let (mut book, ..) = book();
            assert!(book.hear(&message));
            assert!(book.wrong().unwrap().contains(why), "{why}: {:?}", book.wrong());
            assert!(book.results(JOB).is_empty());
        }
    }

    #[test]
    fn what_is_of_others_is_left_to_them() {
        let (mut book, ..) = book();
        let other = json!({"job": Uuid::from_u128(8), "epoch": 1, "attempt": 1, "outcome": "succeeded"});
        assert!(!book.hear(&report("warren.result", &other)));
        assert_eq!((book.wrong(), book.words()), (None, 0));
    }

    #[test]
    fn a_run_ends_in_one_way() {
        let (mut book, token, second) = book();
        book.hear(&result(1, &token, &json!({"result": 1})));
        book.hear(&result(1, &token, &json!({"result": 1, "worker": "another"})));
        book.hear(&result(2, &second, &json!({"result": 2})));
        assert_eq!(book.alike(JOB), Ok(()), "another attempt may end otherwise");
        book.hear(&result(1, &token, &json!({"outcome": "rejected"})));
        assert!(matches!(book.alike(JOB), Err(Stop::Fail(why)) if why.contains("`rejected`")));
    }
}
