//! What a written file loses against the network it was made of, where the truth is known: the same
//! photographs judged by both, figure by figure, and decision by decision.

use crate::dataset::example::Example;
use crate::evaluation::score::{Scored, score_reading};
use glaucoma_common::grading::grade;
use glaucoma_common::manifest::Manifest;
use glaucoma_common::metrics::{auc, bootstrap_interval, share_interval};
use glaucoma_common::reading::{NetworkOutput, Reading, read};
use std::collections::BTreeMap;

const CONFIDENCE: f64 = 0.95;
const RESAMPLES: usize = 1000;
const SEED: u64 = 1;

/// A photograph to compare on, prepared for the network.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The photograph, side x side pixels, and what is truly known of it.
    pub example: &'a Example,
    /// A view of the disc, on which only the class is asked: discs there are several times larger than
    /// any that the maps have learnt, and what the maps say of them is never used.
    pub class_only: bool,
}

/// What the device would say of a photograph whose pixels are good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Abstained,
    Referred,
    NotReferred,
}

/// The decision of a device with `manifest`.
fn decide(reading: &Reading, manifest: &Manifest) -> Decision {
    match grade(reading, manifest) {
        Ok(graded) if manifest.operating_point.refers(graded.risk.probability) => {
            Decision::Referred
        }
        Ok(_) => Decision::NotReferred,
        Err(_) => Decision::Abstained,
    }
}

/// A figure before and after, photograph by photograph.
type Pairs = Vec<(f64, f64)>;

/// Photographs judged by the network and by the file that was written of it.
pub struct Quality<'a> {
    manifest: &'a Manifest,
    /// Figures whose mean counts.
    means: BTreeMap<&'static str, Pairs>,
    /// Scores whose ranking counts, with the truth.
    ranked: BTreeMap<&'static str, (Pairs, Vec<bool>)>,
    decisions: Vec<(Decision, Decision)>,
}

impl<'a> Quality<'a> {
    /// Nothing judged yet. Outputs are read and decided on as `manifest` says.
    #[must_use]
    pub fn new(manifest: &'a Manifest) -> Self {
        Self { manifest, means: BTreeMap::new(), ranked: BTreeMap::new(), decisions: Vec::new() }
    }

    /// Judges the network's outputs for one photograph, and the file's.
    pub fn add(&mut self, case: &Case<'_>, trained: &NetworkOutput, written: &NetworkOutput) {
        let readings = [trained, written].map(|output| {
            let Manifest { decoding, anatomy, .. } = self.manifest;
            read(output, &case.example.placement, decoding, anatomy)
        });
        let judged = |at: usize, output| {
            let width = case.example.placement.width;
            let model = Some(&self.manifest.vcdr_model);
            score_reading(case.example, width, output, &readings[at], model)
        };
        let (before, after) = (judged(0, trained), judged(1, written));
        if case.class_only {
            self.rank("view_classifier_auc", before.glaucoma, before.classifier, after.classifier);
            return;
        }
        self.rank("classifier_auc", before.glaucoma, before.classifier, after.classifier);
        self.rank("vcdr_auc", before.glaucoma, before.vcdr_probability, after.vcdr_probability);
        self.rank("fused_auc", before.glaucoma, before.fused, after.fused);
        self.mean("disc_dice", before.disc_dice, after.disc_dice);
        self.mean("cup_dice", before.cup_dice, after.cup_dice);
        self.mean("vcdr_mae", vcdr_error(&before), vcdr_error(&after));
        // No fovea found is as wrong as pointing to the opposite corner.
        let nowhere = f64::from(trained.side) * std::f64::consts::SQRT_2;
        let fovea = |one: &Scored| one.has_fovea.then(|| one.fovea_px.unwrap_or(nowhere));
        self.mean("fovea_error_px", fovea(&before), fovea(&after));
        let [before, after] = readings.map(|reading| decide(&reading, self.manifest));
        self.decisions.push((before, after));
    }

    fn mean(&mut self, name: &'static str, before: Option<f64>, after: Option<f64>) {
        self.means.entry(name).or_default().extend(before.zip(after));
    }

    fn rank(
        &mut self,
        name: &'static str,
        truth: Option<bool>,
        before: Option<f64>,
        after: Option<f64>,
    ) {
        if let (Some(truth), Some(pair)) = (truth, before.zip(after)) {
            let (pairs, truths) = self.ranked.entry(name).or_default();
            pairs.push(pair);
            truths.push(truth);
        }
    }

    /// The figures by name, those for which there was truth: `<name>` of the file, `<name>.change`
    /// from the network with its 95 % interval `.low` and `.high` (paired bootstrap over
    /// photographs), and `<name>.n`, the photographs it stands on.
    ///
    /// Mean Dice of disc and cup, mean error of the vertical cup-to-disc ratio, mean error of the
    /// fovea in network pixels; AUC of the classifier, of the ratio and of both fused on whole
    /// photographs, and of the classifier on views of the disc.
    #[must_use]
    pub fn figures(&self) -> BTreeMap<String, f64> {
        let mut figures = BTreeMap::new();
        for (name, pairs) in &self.means {
            let mean = |indices: &[usize], of: fn(&(f64, f64)) -> f64| {
                indices.iter().map(|&at| of(&pairs[at])).sum::<f64>() / indices.len() as f64
            };
            add(&mut figures, name, pairs.len(), |indices, of| Some(mean(indices, of)));
        }
        for (name, (pairs, truths)) in &self.ranked {
            add(&mut figures, name, pairs.len(), |indices, of| {
                let scores: Vec<f64> = indices.iter().map(|&at| of(&pairs[at])).collect();
                let truths: Vec<bool> = indices.iter().map(|&at| truths[at]).collect();
                auc(&scores, &truths)
            });
        }
        figures
    }

    /// How many decisions the file turns: `flipped` of `n` (Wilson's 95 % interval of the `share` is
    /// `share.low` and `share.high`), of them `referral` from or to a referral between two graded
    /// results and `abstention` from or to none; and how many of the file's decisions are `referred`
    /// and `abstained`. Empty where only the class was asked.
    #[must_use]
    pub fn decisions(&self) -> BTreeMap<String, f64> {
        let count = |of: &dyn Fn(Decision, Decision) -> bool| -> u64 {
            self.decisions.iter().filter(|(before, after)| of(*before, *after)).count() as u64
        };
        let flipped = count(&|before, after| before != after);
        let abstention = count(&|before, after| {
            before != after && [before, after].contains(&Decision::Abstained)
        });
        let n = self.decisions.len() as u64;
        let Some(share) = share_interval(flipped, n, CONFIDENCE) else { return BTreeMap::new() };
        [
            ("n", n as f64),
            ("flipped", flipped as f64),
            ("flipped.abstention", abstention as f64),
            ("flipped.referral", (flipped - abstention) as f64),
            ("flipped.share", share.estimate),
            ("flipped.share.low", share.low),
            ("flipped.share.high", share.high),
            ("referred", count(&|_, after| after == Decision::Referred) as f64),
            ("abstained", count(&|_, after| after == Decision::Abstained) as f64),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

/// How far the ratio lies from the true one, where both are known.
fn vcdr_error(scored: &Scored) -> Option<f64> {
    Some((scored.vcdr? - scored.true_vcdr?).abs())
}

/// Adds the figure `name` of `n` photographs: `statistic` of a resample, before or after.
fn add(
    figures: &mut BTreeMap<String, f64>,
    name: &str,
    n: usize,
    statistic: impl Fn(&[usize], fn(&(f64, f64)) -> f64) -> Option<f64>,
) {
    let change = |indices: &[usize]| {
        Some(statistic(indices, |pair| pair.1)? - statistic(indices, |pair| pair.0)?)
    };
    let all: Vec<usize> = (0..n).collect();
    let Some(after) = statistic(&all, |pair| pair.1).filter(|_| n > 0) else { return };
    figures.insert(name.to_owned(), after);
    figures.insert(format!("{name}.n"), n as f64);
    figures.extend(change(&all).map(|change| (format!("{name}.change"), change)));
    if let Some(interval) = bootstrap_interval(n, SEED, RESAMPLES, CONFIDENCE, change) {
        figures.insert(format!("{name}.change.low"), interval.low);
        figures.insert(format!("{name}.change.high"), interval.high);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::export::testing::{example, manifest};
    use glaucoma_common::manifest::Precision;
    use glaucoma_common::mask::Mask;
    use glaucoma_common::preprocess::NetworkPoint;

    const SIDE: u32 = 64;

    /// A square disc of 12 pixels, a cup of the given height in it, a fovea three diameters away.
    fn output(glaucoma: f32, cup: u32) -> NetworkOutput {
        let map = |inside: &dyn Fn(u32, u32) -> bool| -> Vec<f32> {
            let pixels = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
            pixels.map(|(x, y)| if inside(x, y) { 1.0 } else { 0.0 }).collect()
        };
        NetworkOutput {
            side: SIDE,
            glaucoma,
            disc: map(&|x, y| (4..16).contains(&x) && (20..32).contains(&y)),
            cup: map(&|x, y| (6..14).contains(&x) && (21..21 + cup).contains(&y)),
            fovea: map(&|x, y| (x, y) == (45, 26)),
        }
    }

    fn truth(glaucoma: Option<bool>) -> Example {
        let mask = |low: u32, high: u32| {
            Mask::from_fn(SIDE, SIDE, |x, y| (4..16).contains(&x) && (low..high).contains(&y))
        };
        Example {
            glaucoma,
            disc: Some(mask(20, 32)),
            cup: Some(mask(21, 27)),
            fovea: Some(NetworkPoint { x: 45.0, y: 23.0 }),
            ..example(SIDE, 1)
        }
    }

    #[test]
    fn changes_and_flipped_decisions_by_hand() {
        // The ratio's probability is 0.5 at 0.625: 5/12 gives 0.158, 8/12 gives 0.582.
        let manifest = manifest(SIDE, Precision::Int8Qdq);
        let mut quality = Quality::new(&manifest);
        let cases = [
            // Fused 0.529 and 0.541: referred both times.
            (true, output(0.9, 5), output(0.5, 8)),
            // 0.129 and 0.541: a referral that was none.
            (false, output(0.1, 5), output(0.5, 8)),
            // No cup any more: an abstention that was a referral.
            (true, output(0.9, 8), output(0.9, 0)),
        ];
        for (glaucoma, before, after) in &cases {
            let example = truth(Some(*glaucoma));
            quality.add(&Case { example: &example, class_only: false }, before, after);
        }
        let view = truth(Some(true));
        let (before, after) = (output(0.2, 5), output(0.9, 5));
        quality.add(&Case { example: &view, class_only: true }, &before, &after);

        let decisions = quality.decisions();
        assert_eq!((decisions["n"], decisions["flipped"]), (3.0, 2.0));
        assert_eq!((decisions["flipped.referral"], decisions["flipped.abstention"]), (1.0, 1.0));
        assert_eq!((decisions["referred"], decisions["abstained"]), (2.0, 1.0));
        assert!(decisions["flipped.share.low"] > 0.1 && decisions["flipped.share.high"] < 1.0);

        let figures = quality.figures();
        let close = |name: &str, expected: f64| {
            let found = figures[name];
            assert!((found - expected).abs() < 1e-9, "{name}: {found}, expected {expected}");
        };
        close("disc_dice", 1.0);
        close("disc_dice.change", 0.0);
        close("disc_dice.change.high", 0.0);
        close("fovea_error_px", 3.0);
        close("cup_dice.n", 3.0);
        // The truth is 6/12: errors 1/12, 1/12 before, 2/12, 2/12 after where both have a ratio.
        close("vcdr_mae.n", 2.0);
        close("vcdr_mae.change", 1.0 / 12.0);
        // Before 0.9, 0.9 against 0.1: 1. After 0.5 and 0.9 against 0.5: 0.75.
        close("classifier_auc", 0.75);
        close("classifier_auc.change", -0.25);
        close("classifier_auc.n", 3.0);
        assert!(!figures.contains_key("view_classifier_auc"), "one class only");
    }

    #[test]
    fn machine_made_masks_are_no_truth() {
        let manifest = manifest(SIDE, Precision::Int8Qdq);
        let mut quality = Quality::new(&manifest);
        let example = Example { disc_pseudo: true, cup_pseudo: true, ..truth(None) };
        let output = output(0.5, 5);
        quality.add(&Case { example: &example, class_only: false }, &output, &output);
        let figures = quality.figures();
        assert!(!figures.contains_key("disc_dice") && !figures.contains_key("vcdr_mae"));
        assert_eq!((figures["fovea_error_px.n"], quality.decisions()["flipped"]), (1.0, 0.0));
        assert!(Quality::new(&manifest).decisions().is_empty());
    }
}
