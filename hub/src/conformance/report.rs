//! The verdicts: lines for people, JSON for programs, JUnit XML for CI.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::case::{Ended, Verdict};

/// How many cases passed, failed and were not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) not_run: usize,
}

impl Tally {
    pub(crate) fn of(cases: &[Ended]) -> Self {
        cases.iter().fold(Self::default(), |mut tally, ended| {
            match ended.verdict {
                Verdict::Pass => tally.passed += 1,
                Verdict::Fail(_) => tally.failed += 1,
                Verdict::NotRun(_) => tally.not_run += 1,
            }
            tally
        })
    }

    /// One line for people.
    pub(crate) fn line(self) -> String {
        let Self { passed, failed, not_run } = self;
        format!("{passed} passed, {failed} failed, {not_run} not run\n")
    }
}

/// One case for people: a line, then notes, then the worker's last lines if it failed.
pub(crate) fn line(ended: &Ended) -> String {
    let seconds = ended.took.as_secs_f64();
    let (word, reason) = match &ended.verdict {
        Verdict::Pass => ("pass", ""),
        Verdict::Fail(reason) => ("FAIL", reason.as_str()),
        Verdict::NotRun(reason) => ("not run", reason.as_str()),
    };
    let mut text = format!("{word:<7}  {:<17}  {seconds:>5.1} s  {}", ended.case, plain(reason)).trim_end().to_owned() + "\n";
    for note in &ended.notes {
        let _ = writeln!(text, "         note: {}", plain(note));
    }
    for said in &ended.output {
        let _ = writeln!(text, "         | {}", plain(said));
    }
    text
}

/// All cases for programs: `[{case, verdict, reason, notes, seconds, output}]`.
pub(crate) fn as_json(cases: &[Ended]) -> Value {
    cases
        .iter()
        .map(|ended| {
            let (verdict, reason) = match &ended.verdict {
                Verdict::Pass => ("pass", None),
                Verdict::Fail(reason) => ("fail", Some(reason)),
                Verdict::NotRun(reason) => ("not-run", Some(reason)),
            };
            json!({
                "case": ended.case.name(),
                "verdict": verdict,
                "reason": reason,
                "notes": ended.notes,
                "seconds": rounded(ended.took),
                "output": ended.output,
            })
        })
        .collect()
}

/// All cases as one JUnit test suite called `name`.
pub(crate) fn as_junit(name: &str, cases: &[Ended]) -> String {
    let Tally { failed, not_run, .. } = Tally::of(cases);
    let (name, all) = (xml(name), cases.len());
    let time: f64 = rounded(cases.iter().map(|ended| ended.took).sum());
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites>\n<testsuite name=\"{name}\" tests=\"{all}\" failures=\"{failed}\" errors=\"0\" skipped=\"{not_run}\" time=\"{time}\">\n"
    );
    for ended in cases {
        let _ = write!(text, "<testcase classname=\"{name}\" name=\"{}\" time=\"{}\">", ended.case, rounded(ended.took));
        match &ended.verdict {
            Verdict::Pass => {}
            Verdict::Fail(reason) => {
                let _ = write!(text, "<failure message=\"{}\">{}</failure>", xml(reason), xml(&ended.output.join("\n")));
            }
            Verdict::NotRun(reason) => {
                let _ = write!(text, "<skipped message=\"{}\"/>", xml(reason));
            }
        }
        if !ended.notes.is_empty() {
            let _ = write!(text, "<system-out>{}</system-out>", xml(&ended.notes.join("\n")));
        }
        text.push_str("</testcase>\n");
    }
    text + "</testsuite>\n</testsuites>\n"
}

fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// What a stranger wrote, without what a terminal would obey.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Text of an element or an attribute. XML has no way to write most control characters.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::case::Case;

    fn cases() -> Vec<Ended> {
        let ended =
            |case, verdict| Ended { case, verdict, notes: Vec::new(), took: Duration::from_millis(1234), output: Vec::new() };
        let mut failed = ended(Case::Retry, Verdict::Fail("a <b> & \"c\"\u{1b}[2J".to_owned()));
        failed.output = vec!["bad\u{0}line".to_owned()];
        let mut passed = ended(Case::Normal, Verdict::Pass);
        passed.notes = vec!["slow".to_owned()];
        vec![passed, failed, ended(Case::CrashAndRestart, Verdict::NotRun("give it".to_owned()))]
    }

    #[test]
    fn people_read_lines() {
        let text: String = cases().iter().map(line).collect();
        let expected = "pass     normal               1.2 s\n         note: slow\n\
                        FAIL     retry                1.2 s  a <b> & \"c\"?[2J\n         | bad?line\n\
                        not run  crash-and-restart    1.2 s  give it\n";
        assert_eq!(text, expected);
        assert_eq!(Tally::of(&cases()).line(), "1 passed, 1 failed, 1 not run\n");
    }

    #[test]
    fn programs_read_json() {
        let value = as_json(&cases());
        assert_eq!((&value[0]["verdict"], &value[0]["reason"]), (&json!("pass"), &Value::Null));
        assert_eq!((&value[1]["case"], &value[1]["verdict"]), (&json!("retry"), &json!("fail")));
        assert_eq!((&value[2]["verdict"], &value[2]["seconds"]), (&json!("not-run"), &json!(1.234)));
    }

    #[test]
    fn ci_reads_junit_with_nothing_in_it_that_xml_cannot_hold() {
        let text = as_junit("warren <amqp>", &cases());
        assert!(
            text.contains("name=\"warren &lt;amqp&gt;\" tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"3.702\"")
        );
        assert!(text.contains("<failure message=\"a &lt;b&gt; &amp; &quot;c&quot;?[2J\">bad?line</failure>"), "{text}");
        assert!(text.contains("<skipped message=\"give it\"/>") && text.contains("<system-out>slow</system-out>"));
    }
}
