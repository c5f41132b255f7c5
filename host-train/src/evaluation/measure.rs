//! A model over the photographs of a data set: decode, prepare, predict, score.

use super::discs::position_of;
use super::native::native_score;
use super::report::{ClassReport, DatasetReport, RESAMPLES};
use super::score::{Scored, reading_of, score, score_reading};
use super::{EvaluationError, predict_batch};
use crate::dataset::Sample;
use crate::dataset::batches::{Batch, Example};
use crate::dataset::cache::Cache;
use crate::dataset::framing::{DiscCrop, reference_crop};
use crate::dataset::load::load;
use crate::network::UNet;
use candle_core::Device;
use glaucoma_common::manifest::Decoding;
use glaucoma_common::preprocess::InputContract;
use glaucoma_common::reading::NetworkOutput;
use glaucoma_common::risk::VcdrModel;

/// Photographs decoded and judged at once: bounds the memory.
const CHUNK: usize = 16;
/// Views of the disc are cut from masters of this many times the network's side.
const MASTER: u32 = 2;

/// A network with everything that is needed to use it on photographs.
pub struct Model<'a> {
    /// The network, or several that know different tasks (single-task learning).
    pub nets: Vec<&'a UNet>,
    /// How photographs are prepared.
    pub contract: InputContract,
    /// How its outputs are read.
    pub decoding: Decoding,
    /// The linear classifier of the vertical cup-to-disc ratio, where there is one.
    pub vcdr_model: Option<VcdrModel>,
    /// Where to compute.
    pub device: Device,
}

/// Takes into `all` what `one` knows and `all` does not.
fn add(all: &mut NetworkOutput, one: NetworkOutput) {
    if all.glaucoma.is_nan() {
        all.glaucoma = one.glaucoma;
    }
    for (own, other) in
        [(&mut all.disc, one.disc), (&mut all.cup, one.cup), (&mut all.fovea, one.fovea)]
    {
        if own.is_empty() {
            *own = other;
        }
    }
}

/// How to measure.
#[derive(Default)]
pub struct Options<'a> {
    /// Measure in native pixels as well.
    pub native: bool,
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
        let mut answers = self.nets.iter().map(|net| predict_batch(net, &batch.images));
        let mut together = answers.next().transpose()?.unwrap_or_default();
        for answer in answers {
            together.iter_mut().zip(answer?).for_each(|(all, one)| add(all, one));
        }
        Ok(together)
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

/// A data set's numbers, and the pictures they were made of.
pub struct Measured {
    /// The numbers.
    pub report: DatasetReport,
    /// Whole pictures, in the order of the samples.
    pub scored: Vec<Scored>,
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
) -> Result<Measured, EvaluationError> {
    let mut scored = Vec::with_capacity(samples.len());
    model.each(samples, options.cache, done, |sample, example, output| {
        scored.push(score_sample(model, sample, example, output, options)?);
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
    Ok(Measured { report, scored })
}

fn score_sample(
    model: &Model<'_>,
    sample: &Sample,
    example: &Example,
    output: &NetworkOutput,
    options: &Options<'_>,
) -> Result<Scored, EvaluationError> {
    let size = sample.declared_size.or_else(|| image::image_dimensions(&sample.photo).ok());
    let width = size.map_or(example.placement.width, |(width, _)| f64::from(width));
    let reading = reading_of(example, output, &model.decoding);
    let mut scored = score_reading(example, width, output, &reading, model.vcdr_model.as_ref());
    if let Some(size) = size {
        scored.camera = camera(&sample.dataset, size);
        if options.native {
            scored.native = Some(native_score(sample, size, &example.placement, output, &reading)?);
        }
    }
    Ok(scored)
}

/// What stands for the camera: no data set names it for each photograph, but each camera has its own
/// picture size. REFUGE's two are known by name.
fn camera(dataset: &str, (width, height): (u32, u32)) -> String {
    match (dataset, width, height) {
        ("refuge", 2124, 2056) => "camera Zeiss Visucam 500".to_owned(),
        ("refuge", 1634, 1634) => "camera Canon CR-2".to_owned(),
        _ => format!("size {width} x {height}"),
    }
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
        positions.push(position_of(example, output, &model.decoding));
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
            let mut one = score(
                view,
                view.placement.width,
                &output,
                &model.decoding,
                model.vcdr_model.as_ref(),
            );
            // The view may have lost a label with a part of the picture; the eye has not.
            one.glaucoma = chunk[view.sample].truth.glaucoma;
            scored.push(one);
        }
    }
    Ok(scored)
}
