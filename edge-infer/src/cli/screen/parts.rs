//! `screen --parts`: one process's share of an archive, into one part.

use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::num::NonZero;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::Completion;
use crate::archive::pipeline::{Event, Threads, examine_all};
use crate::archive::{Counts, Finished, Opened, Part, Shard, digest};
use crate::bundle::Bundle;
use crate::exam::{ExamResult, Outcome};
use crate::report::{Record, Status};
use crate::source::{Found, Photograph, Sources};

/// One line of a part: the JSON contract, and what tells whether the photograph has changed since.
#[derive(Serialize)]
struct PartLine<'a> {
    #[serde(flatten)]
    record: Record<'a>,
    stamp: Option<&'a str>,
}

/// One examined photograph, as it goes into the part.
struct Examined {
    line: serde_json::Result<String>,
    status: Status,
    /// Whether the photograph's bytes were there to be examined.
    read: bool,
    /// What an earlier line of the part says of it.
    before: Option<Status>,
    /// What is told of it on standard error.
    complaint: Option<String>,
}

/// What a run came to.
#[derive(Default)]
struct Tally {
    all: Counts,
    examined: u64,
    /// Photographs that could not be read, and searches that failed.
    missed: u64,
}

/// Examines the shard's photographs, leaving out those its part has already, and completes the part
/// when every one of them could be read.
///
/// # Errors
/// When the part cannot be opened or written.
pub fn run(
    folder: &Path,
    shard: Shard,
    jobs: Option<NonZero<usize>>,
    sources: &Sources,
    bundle: &Bundle,
) -> anyhow::Result<Completion> {
    let (mut part, finished) = match Part::open(folder, shard, bundle)? {
        Opened::Open(part, finished) => (part, finished),
        Opened::Complete(path) => {
            say(&format!("{}: complete, nothing to do", path.display()))?;
            return Ok(Completion::Whole);
        }
    };
    if finished.cut_bytes > 0 {
        let bytes = finished.cut_bytes;
        eprintln!("note: {}: {bytes} bytes of an unfinished line cut off", part.path().display());
    }
    let started = Instant::now();
    let progress = progress();
    let mut tally = Tally { all: finished.counts(), ..Tally::default() };
    examine_all(
        share(sources, shard),
        bundle,
        Threads::choose(jobs),
        |photograph| finished.has(&photograph.name(), || photograph.stamp()),
        |photograph, stamp, exam| conclude(photograph, stamp.as_deref(), &exam, bundle, &finished),
        |event| -> anyhow::Result<()> {
            if let Some(complaint) = tally.take(event, &mut part)? {
                progress.suspend(|| eprintln!("error: {complaint}"));
            }
            progress.inc(1);
            Ok(())
        },
    )?;
    progress.finish_and_clear();
    tally.end(part, started.elapsed())
}

/// The shard's photographs, each once however often it is named; problems are everybody's.
fn share(sources: &Sources, shard: Shard) -> impl Iterator<Item = Found> + Send + '_ {
    let mut seen = HashSet::new();
    sources.photographs().filter(move |found| match found {
        Ok(photograph) => shard.holds(&photograph.key()) && seen.insert(digest(&photograph.name())),
        Err(_) => true,
    })
}

fn conclude(
    photograph: &Photograph,
    stamp: Option<&str>,
    exam: &ExamResult,
    bundle: &Bundle,
    finished: &Finished,
) -> Examined {
    let name = photograph.name();
    let record = Record::new(&name, exam, bundle);
    let status = record.status;
    let line = serde_json::to_string(&PartLine { record, stamp }).map(|line| line + "\n");
    let complaint = match &exam.outcome {
        Outcome::Refused(refusal) => Some(format!("{name}: {refusal}")),
        _ => None,
    };
    let (read, before) = (exam.sha256.is_some(), finished.status(&name));
    Examined { line, status, read, before, complaint }
}

impl Tally {
    /// Counts and writes one event; returns what is to be told of it.
    fn take(&mut self, event: Event<Examined>, part: &mut Part) -> anyhow::Result<Option<String>> {
        match event {
            Event::Skipped => Ok(None),
            Event::Problem(problem) => {
                self.missed += 1;
                Ok(Some(format!("{}: {}", problem.place, problem.message)))
            }
            Event::Examined(examined) => {
                part.append(&examined.line?, examined.before.is_some())?;
                if let Some(before) = examined.before {
                    *self.all.of(before) -= 1;
                }
                *self.all.of(examined.status) += 1;
                self.examined += 1;
                self.missed += u64::from(!examined.read);
                Ok(examined.complaint)
            }
        }
    }

    /// Completes the part if nothing was missed, and says what was done.
    fn end(self, mut part: Part, took: Duration) -> anyhow::Result<Completion> {
        let path = if self.missed == 0 {
            part.complete()?
        } else {
            part.sync()?;
            part.path().to_path_buf()
        };
        let Counts { graded, ungradable, refused } = self.all;
        say(&format!(
            "{}: {graded} graded, {ungradable} ungradable, {refused} refused; \
             {} examined now in {:.1} s",
            path.display(),
            self.examined,
            took.as_secs_f64(),
        ))?;
        if self.missed > 0 {
            eprintln!(
                "error: {}: not complete, {} photographs or searches could not be read; \
                 the same command tries them again",
                path.display(),
                self.missed
            );
        }
        let whole = self.missed == 0 && refused == 0;
        Ok(if whole { Completion::Whole } else { Completion::Partial })
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("writing to standard output")
}

/// A running count on standard error where someone looks; how many there will be is not known.
fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{pos} photographs  {elapsed_precise}  {per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
