//! `host-train gate`: what the quality gate does on each camera and to each fault, as Markdown.

use crate::calibration::exam::Examiner;
use crate::calibration::gate::{LIMITS, Set, phantoms, photographs};
use crate::dataset::open;
use crate::dataset::phantom::Degradation;
use crate::training::data::loading_bar;
use anyhow::Context;
use glaucoma_common::manifest::QualityLimits;
use glaucoma_common::metrics::{quantile, share_interval};
use glaucoma_common::quality::Reason;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Of the intervals that are printed.
const CONFIDENCE: f64 = 0.95;

/// Options of `host-train gate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bundle whose gate it is.
    #[arg(long, value_name = "FILE.onnx")]
    model: PathBuf,
    /// Folders of photographs of real eyes, each of one camera.
    #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    /// Phantoms with each fault.
    #[arg(long, value_name = "N", default_value_t = 100)]
    phantoms: usize,
    /// Seed of the phantoms.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The share of the good photographs of a camera that a limit may send back.
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    allowed: f64,
    /// A photograph with a score of the publisher is good from this on.
    #[arg(long, value_name = "SCORE", default_value_t = 5.0)]
    good_score: f32,
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever stopped it, with the file it stopped at.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let named = || args.model.display().to_string();
    let examiner = Examiner::open(&std::fs::read(&args.model).with_context(named)?);
    let examiner = examiner.with_context(named)?;
    let mut sets = Vec::new();
    for dir in &args.data {
        let dataset = open(dir)?;
        let bar = loading_bar(&dataset.name, dataset.samples.len());
        sets.push(photographs(&examiner, &dataset.name, &dataset.samples, &|| bar.inc(1))?);
        bar.finish_and_clear();
    }
    let bar = loading_bar("phantoms", args.phantoms * (Degradation::ALL.len() + 1));
    sets.extend(phantoms(&examiner, args.seed, args.phantoms, &|| bar.inc(1))?);
    bar.finish_and_clear();
    print!("{}", Page { sets: &sets, limits: &examiner.manifest.quality, args: &args }.text());
    Ok(ExitCode::SUCCESS)
}

struct Page<'a> {
    sets: &'a [Set],
    limits: &'a QualityLimits,
    args: &'a Args,
}

impl Page<'_> {
    fn text(&self) -> String {
        let parts = [self.cameras(), self.faults(), self.measures(), self.scores(), self.held()];
        parts.join("\n")
    }

    fn cameras(&self) -> String {
        self.sent_and_graded(
            "photographs | n | sent back by the gate | for | graded in the end",
            false,
        )
    }

    fn faults(&self) -> String {
        self.sent_and_graded(
            "phantoms with | n | sent back by the gate | for | graded in the end",
            true,
        )
    }

    /// A row for each set, of phantoms or of photographs.
    fn sent_and_graded(&self, head: &str, phantoms: bool) -> String {
        let rows = self.sets.iter().filter(|set| set.phantoms == phantoms).map(|set| {
            let (sent, n) = sent_back(set);
            let graded = set.judged.iter().filter(|one| one.graded).count();
            format!(
                "| {} | {n} | {} | {} | {} |",
                set.name,
                share(sent, n),
                reasons(set),
                share(graded, n)
            )
        });
        table(head, rows)
    }

    fn measures(&self) -> String {
        let names = LIMITS.map(|limit| limit.name).join(" | ");
        let now = LIMITS.map(|limit| format!("{}", (limit.value)(self.limits))).join(" | ");
        let rows = self.sets.iter().map(|set| {
            let cells = LIMITS.map(|limit| {
                let fields = set.judged.iter().filter_map(|one| one.measures.field.as_ref());
                let mut values: Vec<f64> = fields.map(limit.measure).collect();
                values.sort_unstable_by(f64::total_cmp);
                if values.is_empty() {
                    return "-".to_owned();
                }
                [0.01, 0.5, 0.99].map(|at| format!("{:.3}", quantile(&values, at))).join(", ")
            });
            format!("| {} | {} |", set.name, cells.join(" | "))
        });
        let limits = std::iter::once(format!("| *the limit* | {now} |"));
        table(&format!("1 %, median, 99 % of what is bounded by | {names}"), limits.chain(rows))
    }

    fn scores(&self) -> String {
        let rows = self.sets.iter().flat_map(|set| {
            let of = |one: &&crate::calibration::gate::Judged| {
                one.score.is_some_and(|score| score < self.args.good_score)
            };
            let poor = set.judged.iter().filter(of).count();
            LIMITS.iter().filter_map(move |limit| {
                let told = limit.tells_scores(set, self.args.good_score)?;
                let name = limit.name;
                Some(format!(
                    "| {} | {poor} of {} | {name} | {:.2} [{:.2}, {:.2}] |",
                    set.name,
                    set.judged.len(),
                    told.estimate,
                    told.low,
                    told.high
                ))
            })
        });
        let poor = format!("scored below {}", self.args.good_score);
        table(&format!("photographs | {poor} | what is bounded by | AUC for those"), rows)
    }

    fn held(&self) -> String {
        let Args { allowed, good_score, .. } = *self.args;
        let rows = LIMITS.iter().filter_map(|limit| {
            let held = limit.held(self.sets, self.limits, allowed, good_score)?;
            let [now, tightest, n] = held.caught;
            Some(format!(
                "| {} | {} | {:.3} [{:.3}, {:.3}] | {} | {:?} | {now} | {tightest} of {n} |",
                limit.name,
                held.now,
                held.tightest.estimate,
                held.tightest.low,
                held.tightest.high,
                held.decided_by,
                limit.fault
            ))
        });
        let title = format!(
            "limit | now | tightest that sends back at most {:.0} % of any camera's good ones | decided by | \
             its fault | caught now | caught by the tightest",
            100.0 * allowed
        );
        table(&title, rows)
    }
}

fn table(title: &str, rows: impl Iterator<Item = String>) -> String {
    let line = "|---".repeat(title.split('|').count());
    let rows: Vec<String> = rows.collect();
    format!("| {title} |\n{line}|\n{}\n", rows.join("\n"))
}

fn sent_back(set: &Set) -> (usize, usize) {
    (set.judged.iter().filter(|one| !one.reasons.is_empty()).count(), set.judged.len())
}

/// A share in percent with Wilson's interval.
fn share(hits: usize, n: usize) -> String {
    share_interval(hits as u64, n as u64, CONFIDENCE).map_or("-".into(), |found| {
        let percent =
            [found.estimate, found.low, found.high].map(|value| format!("{:.0}", 100.0 * value));
        format!("{} % [{}, {}]", percent[0], percent[1], percent[2])
    })
}

/// The reasons by how often they are given.
fn reasons(set: &Set) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for code in set.judged.iter().flat_map(|one| &one.reasons).map(Reason::code) {
        *counts.entry(code).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let words: Vec<String> = counts.iter().map(|(code, count)| format!("{code} {count}")).collect();
    words.join(", ")
}
