//! A result in a few lines for people.

use std::fmt::Write;

use glaucoma_common::manifest::Manifest;
use glaucoma_common::preprocess::NativePoint;
use glaucoma_common::quality::Reason;
use glaucoma_common::reading::{Reading, Region};

use crate::exam::{ExamResult, Grading, Outcome, RiskBand, Timing, VcdrInterval};

/// Describes the exam of the photograph `file`; empty for a refused one, whose message goes where
/// errors go.
pub fn describe(file: &str, exam: &ExamResult, manifest: &Manifest) -> String {
    let mut lines = Lines(String::new());
    let size = exam.photo.as_ref().map_or(String::new(), |photo| {
        format!(" ({} x {} pixels)", photo.pixels.width(), photo.pixels.height())
    });
    match &exam.outcome {
        Outcome::Graded(grading) => {
            lines.title(&format!("{file}{size}"), band(grading.band));
            lines.graded(grading);
        }
        Outcome::Ungradable { reasons, reading } => {
            lines.title(
                &format!("{file}{size}"),
                "CANNOT BE GRADED (this is not a low-risk result)",
            );
            lines.ungradable(reasons, reading.as_deref());
        }
        Outcome::Refused(_) => return String::new(),
    }
    lines.row("model", &format!("{} {}", manifest.name, manifest.version));
    lines.row("time", &times(&exam.timing));
    lines.0
}

fn band(band: RiskBand) -> &'static str {
    match band {
        RiskBand::Suspected => "GLAUCOMA SUSPECTED: refer for an eye examination",
        RiskBand::NotSuspected => "glaucoma not suspected",
    }
}

struct Lines(String);

impl Lines {
    fn title(&mut self, file: &str, verdict: &str) {
        self.0.push_str(&format!("{file}\n  {verdict}\n"));
    }

    fn row(&mut self, label: &str, value: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "  {label:<21}{value}");
    }

    fn graded(&mut self, grading: &Grading) {
        let risk = &grading.risk;
        self.row(
            "glaucoma probability",
            &format!(
                "{:.2}  (whole image {:.2}, cup-to-disc ratio {:.2}; refer from {:.2})",
                risk.probability, risk.classifier, risk.vcdr_model, grading.threshold
            ),
        );
        let interval = grading.vcdr_interval.map_or_else(String::new, interval);
        self.row("vCDR", &format!("{:.2}{interval}", grading.vcdr));
        self.positions(&grading.reading);
        self.row("image quality", "gradable");
    }

    fn ungradable(&mut self, reasons: &[Reason], reading: Option<&Reading>) {
        self.row("image quality", "ungradable");
        for reason in reasons {
            self.row("", &format!("- {reason}"));
        }
        if let Some(reading) = reading {
            self.positions(reading);
        }
    }

    fn positions(&mut self, reading: &Reading) {
        let or_not = |text: Option<String>| text.unwrap_or_else(|| "not found".to_string());
        self.row("disc", &or_not(reading.disc.as_ref().map(region)));
        self.row("cup", &or_not(reading.cup.as_ref().map(region)));
        self.row("fovea", &or_not(reading.fovea.map(|at| format!("at {}", point(at)))));
        let eye = reading.laterality.map_or("unknown".to_string(), |eye| eye.to_string());
        self.row("eye", &eye);
    }
}

fn interval(VcdrInterval { low, high, share, real_eyes }: VcdrInterval) -> String {
    let percent = 100.0 * share;
    format!(
        "  ({low:.2} to {high:.2} for {percent:.0} % of the eyes measured, {real_eyes} of them real)"
    )
}

fn region(region: &Region) -> String {
    format!("at {}, {:.0} x {:.0} pixels", point(region.center), region.width, region.height)
}

fn point(at: NativePoint) -> String {
    format!("({:.0}, {:.0})", at.x, at.y)
}

fn times(timing: &Timing) -> String {
    let stages = [
        ("decode", timing.decode),
        ("quality", timing.quality),
        ("preprocess", timing.preprocess),
        ("network", timing.network),
        ("reading", timing.reading),
    ];
    let parts: Vec<String> = stages
        .iter()
        .filter_map(|(name, time)| time.map(|time| format!("{name} {time:.0}")))
        .collect();
    format!("{:.0} ms ({})", timing.total, parts.join(", "))
}
