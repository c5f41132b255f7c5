//! `host-train calibrate`.

use crate::calibration::amend::amend;
use crate::calibration::exam::Examiner;
use crate::calibration::{Findings, Group, Wanted, find, observe};
use crate::dataset::{Sample, hygd, open};
use crate::export::photographs::source_of;
use crate::training::Config;
use crate::training::data::{divide, loading_bar};
use anyhow::{Context, ensure};
use glaucoma_common::files;
use glaucoma_common::manifest::{Manifest, QualityLimits};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of `host-train calibrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The bundle to run: a file of `host-train export`.
    #[arg(long, value_name = "FILE.onnx")]
    model: PathBuf,
    /// Folders of photographs of real eyes; what is known of them is used, class or masks.
    #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    /// Folders of phantoms; they have a say in the error of the cup-to-disc ratio alone.
    #[arg(long, value_name = "DIR", num_args = 1..)]
    phantoms: Vec<PathBuf>,
    /// The configuration that the model was trained with: of the folders that it names, only the
    /// validation parts are used where truth is asked. Without it all photographs are, and none should have been learnt from.
    #[arg(long, value_name = "FILE.toml")]
    training: Option<PathBuf>,
    /// The share of graded photographs that may abstain because classifier and ratio disagree.
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    abstain_share: f64,
    /// The share of the ratio's errors that its interval holds.
    #[arg(long, value_name = "SHARE", default_value_t = 0.9)]
    error_share: f64,
    /// TOML with limits of the quality gate to put in place of the bundle's own, before anything is
    /// measured: keys of the manifest's `quality`.
    #[arg(long, value_name = "FILE.toml")]
    quality: Option<PathBuf>,
    /// The bundle to write: the same network, with what was found in its manifest.
    #[arg(long, value_name = "FILE.onnx")]
    out: PathBuf,
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever stopped it, with the file it stopped at.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    for (name, share) in
        [("--abstain-share", args.abstain_share), ("--error-share", args.error_share)]
    {
        ensure!(share > 0.0 && share < 1.0, "{name} {share} is not above 0 and below 1");
    }
    let named = || args.model.display().to_string();
    let bytes = std::fs::read(&args.model).with_context(named)?;
    let mut examiner = Examiner::open(&bytes).with_context(named)?;
    if let Some(path) = &args.quality {
        examiner.manifest.quality = limits(&examiner.manifest, path)?;
    }
    // What was found before has no say in what is found now.
    examiner.manifest.max_head_disagreement = None;
    let config = args.training.as_deref().map(Config::read).transpose()?;
    let mut groups = Vec::new();
    let folders = args.data.iter().map(|dir| (dir, false));
    for (dir, phantoms) in folders.chain(args.phantoms.iter().map(|dir| (dir, true))) {
        let Selected { name, held_out, learnt } = select(dir, config.as_ref(), phantoms)?;
        let bar = loading_bar(&name, held_out.len() + learnt.len());
        let observations = observe(&examiner, &held_out, &|| bar.inc(1))?;
        let learnt = observe(&examiner, &learnt, &|| bar.inc(1))?;
        bar.finish_and_clear();
        let learnt = learnt.into_iter().filter_map(|seen| seen.grade).collect();
        groups.push(Group { name, phantoms, observations, learnt });
    }
    let Args { abstain_share, error_share, .. } = args;
    let threshold = examiner.manifest.operating_point.threshold;
    let found = find(&groups, Wanted { abstain_share, error_share, threshold });
    print_summary(&groups, &found);
    let Findings { calibration, vcdr_error, max_head_disagreement } = found;
    let manifest = Manifest { calibration, vcdr_error, max_head_disagreement, ..examiner.manifest };
    let amended = amend(&bytes, &manifest).with_context(named)?;
    files::write(&args.out, &amended).with_context(|| args.out.display().to_string())?;
    println!("{}: {} {}", args.out.display(), manifest.name, manifest.version);
    Ok(ExitCode::SUCCESS)
}

/// The limits of the bundle with those in the file `path` in their place.
fn limits(manifest: &Manifest, path: &Path) -> anyhow::Result<QualityLimits> {
    let named = || path.display().to_string();
    let stated: toml::Table =
        std::fs::read_to_string(path).with_context(named)?.parse().with_context(named)?;
    let mut all = serde_json::to_value(manifest.quality)?;
    for (key, value) in stated {
        all[key] = serde_json::to_value(value)?;
    }
    serde_json::from_value(all).with_context(named)
}

/// The photographs of a folder.
struct Selected {
    /// What those are called that the model has not learnt from.
    name: String,
    held_out: Vec<Sample>,
    learnt: Vec<Sample>,
}

fn select(dir: &Path, config: Option<&Config>, phantoms: bool) -> anyhow::Result<Selected> {
    let dataset = open(dir)?;
    let own = if phantoms { "phantoms".to_owned() } else { dataset.name.clone() };
    let source = config.and_then(|config| Some((config, source_of(dir, config)?)));
    let (what, held_out, learnt) = match source {
        Some((config, source)) => {
            let share = source.validation_share;
            let parts = divide(&dataset, share, config.validation_share, config.split_seed);
            ("of the validation part of ", parts.validation, parts.train)
        }
        None => ("of ", dataset.samples, Vec::new()),
    };
    ensure!(!held_out.is_empty(), "{}: no photographs {what}{own}", dir.display());
    let caveat = if own == hygd::NAME { hygd::CAVEAT } else { "" };
    let name = format!("{} {what}{own}{caveat}", held_out.len());
    Ok(Selected { name, held_out, learnt })
}

fn print_summary(groups: &[Group], found: &Findings) {
    for Group { name, observations, .. } in groups {
        let graded = observations.iter().filter(|seen| seen.grade.is_some()).count();
        println!("{name}: {graded} of {} graded", observations.len());
    }
    match found.max_head_disagreement {
        Some(bound) => println!("abstains where classifier and ratio are more than {bound} apart"),
        None => println!("too few photographs for a bound on disagreement"),
    }
    match &found.vcdr_error {
        Some(error) => error.groups.iter().for_each(|group| {
            println!(
                "cup-to-disc ratio, measured less true: {:.3} to {:.3} ({} graded: {})",
                group.low, group.high, group.n, group.measured_on
            );
        }),
        None => println!("no photographs with disc and cup: the ratio's error is not known"),
    }
    match &found.calibration {
        Some(table) => {
            println!(
                "{} with glaucoma, {} without, {} not graded: {}",
                table.positives, table.negatives, table.ungraded, table.measured_on
            );
            println!("refer from  sensitivity  specificity");
            for row in &table.table {
                println!(
                    "{:>10.4}  {:>11.3}  {:>11.3}",
                    row.threshold, row.sensitivity, row.specificity
                );
            }
        }
        None => println!("no photographs of both classes: there is no table of thresholds"),
    }
}
