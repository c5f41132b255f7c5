//! From measured pictures to numbers with their n and their uncertainty.

use super::native::NativeScore;
use super::reliability::Reliability;
use super::score::Scored;
use glaucoma_common::metrics::{
    auc, auc_interval, bootstrap_interval, mean_and_deviation, sensitivity_at_specificity,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Confidence of every interval.
pub const CONFIDENCE: f64 = 0.95;
/// Bootstrap resamples of a final report.
pub const RESAMPLES: usize = 2000;
/// Seed of the bootstrap: the same pictures give the same interval.
const BOOTSTRAP_SEED: u64 = 20_220_718;

/// An evaluation: which model, on what, and the numbers of each data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The checkpoint's file, or several that were measured as one model.
    pub checkpoint: String,
    /// SHA-256 of the data the model was trained on.
    pub trained_on_hash: String,
    /// Side of the network's input; Dice and `fovea_px` are in its pixels.
    pub side: u32,
    /// How photographs were framed.
    pub framing: String,
    /// Which part of each data set was measured.
    pub split: String,
    /// The data sets.
    pub datasets: Vec<DatasetReport>,
}

/// Numbers of one data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetReport {
    /// Its name.
    pub name: String,
    /// Photographs measured.
    pub n: usize,
    /// Dice of the disc, network pixels.
    pub disc_dice: Option<Summary>,
    /// Dice of the cup, network pixels.
    pub cup_dice: Option<Summary>,
    /// Absolute error of the vertical cup-to-disc ratio.
    pub vcdr_error: Option<Summary>,
    /// Pictures with true masks in which no ratio could be read (not in `vcdr_error`).
    pub vcdr_unread: usize,
    /// Distance of the fovea, network pixels.
    pub fovea_px: Option<Summary>,
    /// Distance of the fovea as a percentage of the photograph's native width.
    pub fovea_percent_of_width: Option<Summary>,
    /// Pictures with a true fovea in which none was read (not in the two above).
    pub fovea_unread: usize,
    /// The class, judged on whole pictures.
    pub glaucoma: Option<ClassReport>,
    /// The class, judged on crops round the disc that a first pass found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glaucoma_on_disc_crops: Option<ClassReport>,
    /// The same in native pixels, as the REFUGE challenge measures; where asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<NativeReport>,
    /// Whether the device's probability means what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reliability: Option<Reliability>,
    /// The same numbers for each camera and each class, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<DatasetReport>,
    /// What must be known to read these numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Numbers in native pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NativeReport {
    /// Dice of the disc.
    pub disc_dice: Option<Summary>,
    /// Dice of the cup.
    pub cup_dice: Option<Summary>,
    /// Absolute error of the vertical cup-to-disc ratio.
    pub vcdr_error: Option<Summary>,
    /// Distance of the fovea.
    pub fovea_px: Option<Summary>,
}

impl NativeReport {
    fn of(scored: &[Scored], resamples: usize) -> Option<Self> {
        let scores: Vec<NativeScore> = scored.iter().filter_map(|s| s.native).collect();
        let all = |value: &dyn Fn(&NativeScore) -> Option<f64>| {
            Summary::of(&scores.iter().filter_map(value).collect::<Vec<_>>(), resamples)
        };
        (!scores.is_empty()).then(|| Self {
            disc_dice: all(&|s| s.disc_dice),
            cup_dice: all(&|s| s.cup_dice),
            vcdr_error: all(&|s| Some((s.vcdr? - s.true_vcdr?).abs())),
            fovea_px: all(&|s| s.fovea_px),
        })
    }
}

/// A measurement over pictures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Pictures.
    pub n: usize,
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation.
    pub sd: f64,
    /// Median.
    pub median: f64,
    /// Bootstrap interval of the mean, lower and upper end; `None` when not asked for.
    pub interval: Option<[f64; 2]>,
}

/// How well the classes are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassReport {
    /// Pictures with glaucoma.
    pub positive: usize,
    /// Pictures without.
    pub negative: usize,
    /// The classifier.
    pub classifier: Option<AucReport>,
    /// The linear classifier of the ratio read from the masks.
    pub vcdr_model: Option<AucReport>,
    /// Mean of both (the classifier alone where no ratio was read).
    pub fused: Option<AucReport>,
}

/// One score's power to tell the classes apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AucReport {
    /// Pictures for which the score exists.
    pub n: usize,
    /// Area under the ROC curve.
    pub auc: f64,
    /// DeLong's interval of it, lower and upper end; `None` for fewer than two pictures of a class.
    pub interval: Option<[f64; 2]>,
    /// Sensitivity at a specificity of at least 85 %.
    pub sensitivity_at_85: Option<f64>,
    /// Sensitivity at a specificity of at least 95 %.
    pub sensitivity_at_95: Option<f64>,
}

impl Summary {
    /// Mean, deviation, median and, with `resamples` above 0, the bootstrap interval; `None` for no
    /// values.
    #[must_use]
    pub fn of(values: &[f64], resamples: usize) -> Option<Self> {
        let (mean, sd) = mean_and_deviation(values)?;
        let average = |indices: &[usize]| {
            Some(indices.iter().map(|&i| values[i]).sum::<f64>() / indices.len() as f64)
        };
        let interval = if resamples > 0 {
            bootstrap_interval(values.len(), BOOTSTRAP_SEED, resamples, CONFIDENCE, average)
                .map(|interval| [interval.low, interval.high])
        } else {
            None
        };
        Some(Self { n: values.len(), mean, sd, median: median(values), interval })
    }
}

impl Summary {
    fn between(&self) -> String {
        self.interval.map_or_else(String::new, |i| format!(" [{:.3}, {:.3}]", i[0], i[1]))
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
}

impl ClassReport {
    /// `None` unless both classes are there.
    #[must_use]
    pub fn of(scored: &[Scored]) -> Option<Self> {
        let count = |class: bool| scored.iter().filter(|s| s.glaucoma == Some(class)).count();
        let (positive, negative) = (count(true), count(false));
        let by = |score: fn(&Scored) -> Option<f64>| AucReport::of(scored, score);
        (positive > 0 && negative > 0).then(|| Self {
            positive,
            negative,
            classifier: by(|s| s.classifier),
            vcdr_model: by(|s| s.vcdr_probability),
            fused: by(|s| s.fused),
        })
    }
}

impl AucReport {
    fn of(scored: &[Scored], score: fn(&Scored) -> Option<f64>) -> Option<Self> {
        let pairs = scored.iter().filter_map(|s| Some((score(s)?, s.glaucoma?)));
        let (scores, positive): (Vec<f64>, Vec<bool>) = pairs.unzip();
        let at = |specificity| sensitivity_at_specificity(&scores, &positive, specificity);
        let interval = auc_interval(&scores, &positive, CONFIDENCE);
        Some(Self {
            n: scores.len(),
            auc: auc(&scores, &positive)?,
            interval: interval.map(|interval| [interval.low, interval.high]),
            sensitivity_at_85: at(0.85),
            sensitivity_at_95: at(0.95),
        })
    }
}

impl DatasetReport {
    /// The numbers of `scored`, in all and by camera and class; `resamples` 0 leaves bootstrap and
    /// groups out.
    #[must_use]
    pub fn of(name: &str, scored: &[Scored], resamples: usize) -> Self {
        let mut report = Self::of_all(name, scored, resamples);
        if resamples > 0 {
            report.groups = groups(scored)
                .into_iter()
                .map(|(name, scored)| Self::of_all(&name, &scored, resamples))
                .collect();
        }
        report
    }

    fn of_all(name: &str, scored: &[Scored], resamples: usize) -> Self {
        let all = |value: &dyn Fn(&Scored) -> Option<f64>| -> Option<Summary> {
            Summary::of(&scored.iter().filter_map(value).collect::<Vec<_>>(), resamples)
        };
        let vcdr_error = |s: &Scored| Some((s.vcdr? - s.true_vcdr?).abs());
        let unread = |s: &&Scored| s.true_vcdr.is_some() && s.vcdr.is_none();
        let unfound = |s: &&Scored| s.has_fovea && s.fovea_px.is_none();
        Self {
            name: name.to_owned(),
            n: scored.len(),
            disc_dice: all(&|s| s.disc_dice),
            cup_dice: all(&|s| s.cup_dice),
            vcdr_error: all(&vcdr_error),
            vcdr_unread: scored.iter().filter(unread).count(),
            fovea_px: all(&|s| s.fovea_px),
            fovea_percent_of_width: all(&|s| s.fovea_percent),
            fovea_unread: scored.iter().filter(unfound).count(),
            glaucoma: ClassReport::of(scored),
            glaucoma_on_disc_crops: None,
            native: NativeReport::of(scored, resamples),
            reliability: if resamples > 0 { Reliability::of(&pairs(scored)) } else { None },
            groups: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The means in one line, for a training's progress.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = format!("{}:", self.name);
        let mut add = |what: &str, summary: Option<Summary>| {
            if let Some(Summary { n, mean, .. }) = summary {
                // Writing to a String cannot fail.
                let _ = write!(line, " {what} {mean:.3} (n {n})");
            }
        };
        add("disc Dice", self.disc_dice);
        add("cup Dice", self.cup_dice);
        add("vCDR error", self.vcdr_error);
        add("fovea px", self.fovea_px);
        if let Some(AucReport { n, auc, .. }) = self.glaucoma.and_then(|class| class.classifier) {
            let _ = write!(line, " AUC {auc:.3} (n {n})");
        }
        line
    }
}

/// The device's probability and the class, where both are known.
#[must_use]
pub fn pairs(scored: &[Scored]) -> Vec<(f64, bool)> {
    scored.iter().filter_map(|s| Some((s.fused?, s.glaucoma?))).collect()
}

/// Pictures by camera and by class; a division into one group is none.
fn groups(scored: &[Scored]) -> Vec<(String, Vec<Scored>)> {
    let by = |key: &dyn Fn(&Scored) -> Option<String>| {
        let mut found: BTreeMap<String, Vec<Scored>> = BTreeMap::new();
        for one in scored {
            if let Some(key) = key(one) {
                found.entry(key).or_default().push(one.clone());
            }
        }
        if found.len() > 1 { found } else { BTreeMap::new() }
    };
    let camera = |s: &Scored| (!s.camera.is_empty()).then(|| s.camera.clone());
    let class = |s: &Scored| {
        s.glaucoma.map(|sick| if sick { "with glaucoma" } else { "without glaucoma" }.to_owned())
    };
    by(&camera).into_iter().chain(by(&class)).collect()
}

impl Report {
    /// The report as text for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = format!(
            "{} at {} px, {}, {}\nmean [95 % interval] ± standard deviation\n",
            self.checkpoint, self.side, self.framing, self.split
        );
        for dataset in &self.datasets {
            dataset.describe(&mut out);
        }
        out
    }
}

impl DatasetReport {
    fn describe(&self, out: &mut String) {
        let _ = writeln!(out, "\n{} ({} photographs)", self.name, self.n);
        let mut row = |what: &str, summary: Option<Summary>, unread: usize| {
            let Some(s) = summary else { return };
            let between = s.between();
            let missed = if unread > 0 { format!(", {unread} not read") } else { String::new() };
            let _ = writeln!(
                out,
                "  {what:<34} {:.3}{between} ± {:.3}, median {:.3}, n {}{missed}",
                s.mean, s.sd, s.median, s.n
            );
        };
        row("disc Dice (network px)", self.disc_dice, 0);
        row("cup Dice (network px)", self.cup_dice, 0);
        row("vCDR absolute error", self.vcdr_error, self.vcdr_unread);
        row("fovea error (network px)", self.fovea_px, self.fovea_unread);
        row("fovea error (% of native width)", self.fovea_percent_of_width, self.fovea_unread);
        let classes = [
            ("glaucoma, whole pictures", self.glaucoma),
            ("glaucoma, disc crops", self.glaucoma_on_disc_crops),
        ];
        for (what, class) in classes {
            if let Some(class) = class {
                class.describe(what, out);
            }
        }
        if let Some(native) = &self.native {
            let _ = writeln!(out, "  in native pixels");
            let mut row = |what: &str, summary: Option<Summary>| {
                let Some(s) = summary else { return };
                let between = s.between();
                let _ = writeln!(
                    out,
                    "    {what:<32} {:.3}{between} ± {:.3}, median {:.3}, n {}",
                    s.mean, s.sd, s.median, s.n
                );
            };
            row("disc Dice", native.disc_dice);
            row("cup Dice", native.cup_dice);
            row("vCDR absolute error", native.vcdr_error);
            row("fovea error (native px)", native.fovea_px);
        }
        if let Some(Reliability { n, brier, calibration_error, .. }) = &self.reliability {
            let _ = writeln!(
                out,
                "  probability: Brier score {brier:.3}, calibration error {calibration_error:.3}, n {n}"
            );
        }
        for group in &self.groups {
            let _ = writeln!(out, "  {}", group.line());
        }
        for note in &self.notes {
            let _ = writeln!(out, "  note: {note}");
        }
    }
}

impl ClassReport {
    fn describe(&self, what: &str, out: &mut String) {
        let _ = writeln!(out, "  {what}: {} with, {} without", self.positive, self.negative);
        let scores = [
            ("classifier", self.classifier),
            ("vCDR model", self.vcdr_model),
            ("fused", self.fused),
        ];
        for (name, report) in scores {
            let Some(AucReport { n, auc, interval, sensitivity_at_85, sensitivity_at_95 }) = report
            else {
                continue;
            };
            let between =
                interval.map_or_else(String::new, |i| format!(" [{:.3}, {:.3}]", i[0], i[1]));
            let share = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.3}"));
            let _ = writeln!(
                out,
                "    {name:<12} AUC {auc:.3}{between}, sensitivity {} at 85 % and {} at 95 % \
                 specificity, n {n}",
                share(sensitivity_at_85),
                share(sensitivity_at_95)
            );
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn picture(glaucoma: bool, classifier: f64, disc_dice: Option<f64>) -> Scored {
        Scored {
            glaucoma: Some(glaucoma),
            classifier: Some(classifier),
            disc_dice,
            ..Scored::default()
        }
    }

    #[test]
    fn every_number_has_its_own_n() {
        let scored = [
            picture(true, 0.9, Some(0.8)),
            picture(false, 0.2, None),
            picture(false, 0.4, Some(1.0)),
            Scored { disc_dice: Some(0.6), ..Scored::default() },
        ];
        let report = DatasetReport::of("set", &scored, 200);
        let disc = report.disc_dice.unwrap();
        assert_eq!((report.n, disc.n), (4, 3));
        assert!((disc.mean - 0.8).abs() < 1e-12 && (disc.sd - 0.2).abs() < 1e-12);
        assert_eq!(disc.median, 0.8);
        let interval = disc.interval.unwrap();
        assert!(interval[0] >= 0.6 && interval[0] < 0.8 && interval[1] <= 1.0);
        let class = report.glaucoma.unwrap();
        assert_eq!((class.positive, class.negative), (1, 2));
        assert_eq!(class.classifier.unwrap().n, 3);
        assert_eq!(class.classifier.unwrap().auc, 1.0);
        assert!(class.vcdr_model.is_none());
        assert!(report.cup_dice.is_none() && report.fovea_px.is_none());
    }

    #[test]
    fn one_class_has_no_auc() {
        assert!(ClassReport::of(&[picture(true, 0.9, None), picture(true, 0.1, None)]).is_none());
    }

    #[test]
    fn what_was_not_read_is_counted_not_averaged() {
        let unread = Scored { has_fovea: true, true_vcdr: Some(0.5), ..Scored::default() };
        let read = Scored { fovea_px: Some(2.0), vcdr: Some(0.7), ..unread.clone() };
        let report = DatasetReport::of("set", &[unread, read], 0);
        assert_eq!((report.fovea_unread, report.vcdr_unread), (1, 1));
        assert_eq!(report.fovea_px.unwrap().mean, 2.0);
        assert!((report.vcdr_error.unwrap().mean - 0.2).abs() < 1e-12);
    }
}
