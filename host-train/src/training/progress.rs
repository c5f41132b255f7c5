//! What a person sees while a training runs: a bar on a terminal, a line an epoch elsewhere.

use super::validate::Validation;
use crate::network::Task;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A bar over all steps of a training.
pub struct Progress {
    bar: ProgressBar,
    speaks: bool,
}

impl Progress {
    /// A bar of `steps`, of which `done` are made already; one that does not speak shows nothing.
    pub fn new(steps: u64, done: u64, speaks: bool) -> Self {
        let target = match speaks {
            true => ProgressDrawTarget::stderr_with_hz(4),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(steps), target);
        let style = ProgressStyle::with_template(
            "{elapsed_precise} [{bar:30}] step {pos}/{len}, {eta_precise} left {wide_msg}",
        );
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_position(done);
        bar.reset_eta();
        Self { bar, speaks }
    }

    /// One step more.
    pub fn step(&self, epoch: u64, losses: &[Option<f64>; 4], lr: f64, took: Duration) {
        self.bar.inc(1);
        let seconds = took.as_secs_f64();
        self.bar.set_message(format!(
            "| epoch {epoch} {} lr {lr:.1e} {seconds:.2} s/step",
            describe(losses)
        ));
    }

    /// What a validation found.
    pub fn validated(&self, epoch: u64, step: u64, found: &Validation, best: bool) {
        let mark = if best { " (best)" } else { "" };
        self.say(&format!(
            "epoch {epoch} step {step}: validation loss {:.4}{mark}: {}",
            found.total,
            describe(&found.losses)
        ));
        for line in &found.lines {
            self.say(&format!("    {line}"));
        }
    }

    /// The end of an epoch without validation: nothing on a terminal, where the bar says it.
    pub fn epoch(&self, epoch: u64, step: u64, losses: &[Option<f64>; 4]) {
        if self.bar.is_hidden() {
            self.say(&format!("epoch {epoch} step {step}: training {}", describe(losses)));
        }
    }

    /// A line above the bar.
    pub fn say(&self, line: &str) {
        if self.speaks {
            self.bar.suspend(|| eprintln!("{line}"));
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn describe(losses: &[Option<f64>; 4]) -> String {
    let one = |task: Task| losses[task.index()].map(|loss| format!("{} {loss:.4}", task.name()));
    Task::ALL.into_iter().filter_map(one).collect::<Vec<_>>().join(" ")
}
