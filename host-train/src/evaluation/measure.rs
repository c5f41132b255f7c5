//! A model over the photographs of a data set: decode, prepare, predict, score.

use super::discs::position_of;
use super::report::{ClassReport, DatasetReport, RESAMPLES};
use super::score::{Scored, score};
use super::{EvaluationError, predict_batch};
use crate::dataset::Sample;
use crate::dataset::batches::{Batch, Example};
use crate::dataset::cache::Cache;
use crate::dataset::framing::{DiscCrop, reference_crop};
use crate::dataset::load::load;
use crate::network::UNet;
use candle_core::Device;
use glaucoma_common::preprocess::InputContract;
use glaucoma_common::reading::NetworkOutput;
use glaucoma_common::risk::VcdrModel;

/// Photographs decoded and judged at once: bounds the memory.
const CHUNK: usize = 16;
/// Views of the disc are cut from masters of this many times the network's side.
const MASTER: u32 = 2;

/// A network with everything that is needed to use it on photographs.
pub struct Model<'a> {
    /// The network.
    pub net: &'a UNet,
    /// How photographs are prepared.
    pub contract: InputContract,
    /// The linear classifier of the vertical cup-to-disc ratio, where there is one.
    pub vcdr_model: Option<VcdrModel>,
    /// Where to compute.
    pub device: Device,
}

/// How to measure.
#[derive(Default)]
pub struct Options<'a> {
    /// Judge the class on views of the disc as well, cut where a first pass finds it.
    pub disc_views: Option<&'a DiscCrop>,
    /// Decoded pictures from earlier runs.
    pub cache: Option<&'a Cache>,
}

impl Model<'_> {
    /// What the network says of pictures that are at its side already.
    ///
    /// # Errors
    /// Pictures of another side; failures of the network.
    pub fn judge(&self, examples: &[Example]) -> Result<Vec<NetworkOutput>, EvaluationError> {
        let batch = Batch::from_examples(examples, self.contract.scale, &self.device)?;
        predict_batch(self.net, &batch.images)
    }

    /// Prepares `samples` chunk by chunk and hands each photograph with its output to `take`.
    pub(super) fn each(
        &self,
        samples: &[Sample],
        cache: Option<&Cache>,
        done: &(dyn Fn() + Sync),
        mut take: impl FnMut(&Sample, &Example, &NetworkOutput) -> Result<(), EvaluationError>,
    ) -> Result<(), EvaluationError> {
        for chunk in samples.chunks(CHUNK) {
            let examples = load(chunk, &self.contract, self.contract.side, cache, done)?;
            for (example, output) in examples.iter().zip(self.judge(&examples)?) {
                take(&chunk[example.sample], example, &output)?;
            }
        }
        Ok(())
    }
}

/// Measures `model` on `samples`, the photographs of the data set `name`. `done` is called for each
/// photograph read.
///
/// # Errors
/// A photograph or mask that cannot be read; failures of the network.
pub fn measure(
    model: &Model<'_>,
    name: &str,
    samples: &[Sample],
    options: &Options<'_>,
    done: &(dyn Fn() + Sync),
) -> Result<DatasetReport, EvaluationError> {
    let mut scored = Vec::with_capacity(samples.len());
    model.each(samples, options.cache, done, |sample, example, output| {
        scored.push(score(example, width(sample, example), output, model.vcdr_model.as_ref()));
        Ok(())
    })?;
    let mut report = DatasetReport::of(name, &scored, RESAMPLES);
    if let Some(crop) = options.disc_views.filter(|_| report.glaucoma.is_some()) {
        let views = disc_views(model, samples, crop, options.cache)?;
        let (seen, labelled) = (views.len(), samples.iter().filter(|s| s.truth.glaucoma.is_some()));
        report.glaucoma_on_disc_crops = ClassReport::of(&views);
        let unseen = labelled.count() - seen;
        if unseen > 0 {
            report.notes.push(format!(
                "{unseen} photographs have no disc view: the first pass found no disc"
            ));
        }
    }
    report.notes.extend(notes(name, samples, &report));
    Ok(report)
}

/// What a reader must know of a data set's labels.
fn notes(name: &str, samples: &[Sample], report: &DatasetReport) -> Vec<String> {
    let mut notes = Vec::new();
    if name == "hygd" && report.glaucoma.is_some() {
        notes.push(
            "the class on whole pictures is confounded by framing here (glaucoma mostly \
             disc-centred, healthy mostly macula-centred): read the disc views"
                .to_owned(),
        );
    }
    let circle = |sample: &&Sample| {
        sample.truth.disc.as_ref().is_some_and(|mask| mask.source.is_approximate())
    };
    let circles = samples.iter().filter(circle).count();
    if circles > 0 {
        notes
            .push(format!("{circles} discs are circles from a centre and a diameter, no outlines"));
    }
    notes
}

fn width(sample: &Sample, example: &Example) -> f64 {
    let declared = sample.declared_size.or_else(|| image::image_dimensions(&sample.photo).ok());
    declared.map_or(example.placement.width, |(width, _)| f64::from(width))
}

/// Judges the class of labelled photographs on the reference view of the disc that the network
/// itself finds in the whole picture. Photographs in which it finds none are left out.
fn disc_views(
    model: &Model<'_>,
    samples: &[Sample],
    crop: &DiscCrop,
    cache: Option<&Cache>,
) -> Result<Vec<Scored>, EvaluationError> {
    let side = model.contract.side;
    let labelled: Vec<Sample> =
        samples.iter().filter(|s| s.truth.glaucoma.is_some()).cloned().collect();
    let mut positions = Vec::with_capacity(labelled.len());
    model.each(&labelled, cache, &|| (), |_, example, output| {
        positions.push(position_of(example, output));
        Ok(())
    })?;
    let mut scored = Vec::with_capacity(labelled.len());
    for (chunk, positions) in labelled.chunks(CHUNK).zip(positions.chunks(CHUNK)) {
        let masters = load(chunk, &model.contract, side * MASTER, cache, &|| ())?;
        let mut views = Vec::new();
        for (mut master, position) in masters.into_iter().zip(positions) {
            let Some(position) = position else { continue };
            master.disc_position = Some(position.in_picture(&master.placement));
            views.extend(reference_crop(&master, side, crop));
        }
        if views.is_empty() {
            continue;
        }
        for (view, output) in views.iter().zip(model.judge(&views)?) {
            let mut one = score(view, view.placement.width, &output, model.vcdr_model.as_ref());
            // The view may have lost a label with a part of the picture; the eye has not.
            one.glaucoma = chunk[view.sample].truth.glaucoma;
            scored.push(one);
        }
    }
    Ok(scored)
}
