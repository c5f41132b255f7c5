//! From the configured sources to what the loop needs: batches to learn from, pictures to choose by.

use super::config::{Config, Phantoms, Source};
use super::labels::Labels;
use super::{TrainingError, seed};
use crate::dataset::augment::Augment;
use crate::dataset::batches::{self, BatchOptions, Batches, Example, Ingredient, Source as _};
use crate::dataset::cache::Cache;
use crate::dataset::framing::{DiscCrop, attach_hints, reference_crop};
use crate::dataset::phantom::PhantomConfig;
use crate::dataset::{Dataset, DatasetError, Part, Sample, load, open, pseudo, split};
use crate::network::Task;
use candle_core::Device;
use glaucoma_common::mask::Mask;
use glaucoma_common::photo::hexadecimal;
use glaucoma_common::preprocess::{InputContract, NetworkPoint};
use glaucoma_common::reading::vcdr_of;
use glaucoma_common::risk::VcdrModel;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::sync::Arc;

/// How many phantoms of an endless series are looked at for what has to be counted.
const SEEN_OF_FRESH: usize = 100;

/// MiB of a GPU that keep examples where the configuration does not say how many: at 256 pixels 6500 of
/// them with both masks.
const GPU_CACHE_MIB: usize = 2048;

/// Augmented pictures are cut from masters of this many times the network's side, so that zooming
/// in loses no detail.
const MASTER: u32 = 2;

/// What the loop needs of the data.
pub struct Data {
    /// The batches of any epoch.
    pub batches: Batches,
    /// Batches an epoch.
    pub steps_per_epoch: u64,
    /// Pictures to learn from, not counting repeats.
    pub training_images: usize,
    /// Pictures to choose by, with real labels only.
    pub validation: Vec<Held>,
    /// Fitted to the true masks of the training pictures; `None` when they do not allow it.
    pub vcdr_model: Option<VcdrModel>,
    /// SHA-256 of all of it, in hex.
    pub hash: String,
}

/// A picture that is kept apart.
pub struct Held {
    /// At the network's side.
    pub example: Example,
    /// The data set's name, and the view where it is not the whole picture.
    pub group: String,
    /// Width of the photograph in native pixels.
    pub native_width: f64,
}

/// A data set divided.
pub struct Divided {
    /// To learn from.
    pub train: Vec<Sample>,
    /// To choose by.
    pub validation: Vec<Sample>,
    /// To report on; only where the publisher says so.
    pub test: Vec<Sample>,
}

/// Divides a data set: the publisher's own division where there is one with a validation part,
/// unless `share` asks for another; else `share` (or `default_share`) of the patients. What the
/// publisher calls the test part is in neither of the other two.
#[must_use]
pub fn divide(dataset: &Dataset, share: Option<f64>, default_share: f64, seed: u64) -> Divided {
    let part = |part: Part| dataset.part(part);
    let (test, published) = (part(Part::Test), part(Part::Validation));
    if share.is_none() && !published.is_empty() {
        return Divided { train: part(Part::Train), validation: published, test };
    }
    let of_test = |sample: &&Sample| sample.part != Some(Part::Test);
    let pool: Vec<Sample> = dataset.samples.iter().filter(of_test).cloned().collect();
    let (train, validation) = split(&pool, share.unwrap_or(default_share), seed);
    Divided { train, validation, test }
}

/// Loads every source.
///
/// # Errors
/// A source that cannot be read, or nothing to learn from or to choose by.
pub fn load(config: &Config, device: &Device) -> Result<Data, TrainingError> {
    let cache = config.cache.as_deref().map(Cache::open).transpose()?;
    let mut gathered = Gathered::default();
    for source in &config.data {
        match &source.phantoms {
            Some(phantoms) => gathered.phantoms(config, source, phantoms)?,
            None => gathered.folder(config, source, cache.as_ref())?,
        }
    }
    gathered.finish(config, device)
}

/// The sources loaded so far.
#[derive(Default)]
struct Gathered {
    ingredients: Vec<Ingredient>,
    training_images: usize,
    validation: Vec<Held>,
    vcdr: (Vec<f64>, Vec<bool>),
    labels: Labels,
    hash: Sha256,
}

impl Gathered {
    fn folder(
        &mut self,
        config: &Config,
        source: &Source,
        cache: Option<&Cache>,
    ) -> Result<(), TrainingError> {
        let path = source.path.as_path();
        let mut dataset = open(path)?;
        if !dataset.problems.is_empty() {
            let count = dataset.problems.len();
            eprintln!(
                "{}: {count} problems, the first: {} (`host-train data check` lists all)",
                path.display(),
                dataset.problems[0]
            );
        }
        if let Some(table) = &source.discs {
            let found = attach_hints(&mut dataset.samples, table)?;
            eprintln!("{}: {} disc positions", table.display(), found.attached);
        }
        let share = source.validation_share;
        let mut parts = divide(&dataset, share, config.validation_share, config.split_seed);
        // After the division: nothing machine-made can come among what is chosen by.
        if let Some(masks) = &source.pseudo_masks {
            let found = pseudo::attach(&mut parts.train, masks, true)?;
            let (discs, cups) = (found.discs, found.cups);
            eprintln!("{}: {discs} discs and {cups} cups to learn from", masks.display());
        }
        let labelled = |sample: &Sample| !sample.truth.is_unlabelled();
        // A teacher has something to say of every image.
        let taught = config.distill.is_some();
        parts.train.retain(|sample| taught || labelled(sample));
        parts.validation.retain(labelled);
        let views = Views::new(config, source);
        let (contract, side) = (config.input.contract(), views.master_side(config.input.side));
        let mut train = read(&dataset.name, &parts.train, &contract, side, cache)?;
        self.learn_ratio(&train);
        train.iter_mut().for_each(|example| limit_example(example, views.tasks.as_deref()));
        let classed = train.iter().filter(|e| e.glaucoma.is_some() && e.disc_position.is_none());
        let classed = classed.count();
        if views.disc_crop().is_some() && classed > 0 {
            eprintln!(
                "{}: the class of {classed} images is not learnt: where their disc lies is not \
                 known (`discs` can say it)",
                path.display()
            );
        }
        train.iter_mut().for_each(|example| views.withdraw_class(example));
        train.retain(|example| taught || is_labelled(example));
        self.learn(train, source, &views)?;
        self.hold(&dataset.name, &parts.validation, &contract, &views, cache)
    }

    /// Takes `train` among what is learnt from, as often as the source says.
    fn learn(
        &mut self,
        train: Vec<Example>,
        source: &Source,
        views: &Views,
    ) -> Result<(), TrainingError> {
        for example in &train {
            self.hash_example(example);
            self.labels.count(example);
        }
        self.training_images += train.len();
        let Some(share) = source.glaucoma_share else {
            self.add(train, source.weight, views);
            return Ok(());
        };
        let of_class = |class: Option<bool>| {
            train.iter().filter(|e| e.glaucoma == class).cloned().collect::<Vec<_>>()
        };
        let (sick, healthy) = (of_class(Some(true)), of_class(Some(false)));
        if sick.is_empty() || healthy.is_empty() {
            let label = source.label();
            let what =
                format!("{label}: glaucoma_share needs images of both classes to learn from");
            return Err(TrainingError::Data(what));
        }
        // The number of images an epoch shows stays what it was.
        let classed = source.weight * (sick.len() + healthy.len()) as f64;
        let repeats =
            [share * classed / sick.len() as f64, (1.0 - share) * classed / healthy.len() as f64];
        self.add(sick, repeats[0], views);
        self.add(healthy, repeats[1], views);
        self.add(of_class(None), source.weight, views);
        Ok(())
    }

    fn add(&mut self, examples: Vec<Example>, repeat: f64, views: &Views) {
        if !examples.is_empty() {
            self.ingredients.push(views.ingredient(Arc::new(examples), repeat));
        }
    }

    /// Phantoms: those to choose by come from a series of their own.
    fn phantoms(
        &mut self,
        config: &Config,
        source: &Source,
        phantoms: &Phantoms,
    ) -> Result<(), TrainingError> {
        let views = Views::new(config, source);
        let contract = config.input.contract();
        let series = |seed, count, fresh, side| batches::Phantoms {
            seed,
            count,
            fresh,
            config: PhantomConfig {
                side: phantoms.side,
                glaucoma_share: phantoms.glaucoma_share,
                degraded_share: phantoms.degraded_share,
                ..PhantomConfig::default()
            },
            contract: InputContract { side, ..contract },
        };
        let name = source.label();
        let master = views.master_side(contract.side);
        let train = series(phantoms.seed, phantoms.count, phantoms.fresh, master);
        // The first of fresh ones stand for all where numbers have to be counted.
        let seen = if phantoms.fresh { train.count.min(SEEN_OF_FRESH) } else { train.count };
        let mut seen = draw(&name, &train, seen)?;
        self.learn_ratio(&seen);
        seen.iter_mut().for_each(|example| limit_example(example, views.tasks.as_deref()));
        self.hash.update(serde_json::to_vec(phantoms).unwrap_or_default());
        if phantoms.fresh {
            seen.iter().for_each(|example| self.labels.count(example));
            self.training_images += train.count;
            let series = Limited { series: train, tasks: views.tasks.clone() };
            self.ingredients.push(views.ingredient(Arc::new(series), source.weight));
        } else {
            self.learn(seen, source, &views)?;
        }
        let held_seed = seed::mix(phantoms.seed, seed::VALIDATION);
        let held = series(held_seed, phantoms.validation, false, contract.side);
        let masters = match views.disc_crop() {
            Some(_) => {
                let side = contract.side * MASTER;
                let again = series(held_seed, phantoms.validation, false, side);
                draw(&name, &again, again.count)?
            }
            None => Vec::new(),
        };
        for example in draw(&name, &held, held.count)? {
            let native_width = f64::from(phantoms.side);
            let master = masters.get(example.sample);
            self.hold_one("phantoms", example, master, native_width, &views);
        }
        Ok(())
    }

    /// Keeps the pictures to choose by: whole, and, where classes are learnt from views of the
    /// disc, the one reference view for the class alone.
    fn hold(
        &mut self,
        name: &str,
        samples: &[Sample],
        contract: &InputContract,
        views: &Views,
        cache: Option<&Cache>,
    ) -> Result<(), TrainingError> {
        let whole = read(name, samples, contract, contract.side, cache)?;
        let masters = match views.disc_crop() {
            Some(_) => read(name, samples, contract, contract.side * MASTER, cache)?,
            None => Vec::new(),
        };
        for example in whole {
            let sample = &samples[example.sample];
            let native_width = native_width(sample).unwrap_or(example.placement.width);
            let master = masters.get(example.sample);
            self.hold_one(name, example, master, native_width, views);
        }
        Ok(())
    }

    fn hold_one(
        &mut self,
        name: &str,
        mut example: Example,
        master: Option<&Example>,
        native_width: f64,
        views: &Views,
    ) {
        let side = example.side();
        limit_example(&mut example, views.tasks.as_deref());
        if let Some(crop) = views.disc_crop() {
            let view = master.and_then(|master| reference_crop(master, side, crop));
            let classed = example.glaucoma.is_some();
            if let Some(mut view) = view.filter(|view| classed && view.glaucoma.is_some()) {
                (view.disc, view.cup, view.fovea, view.disc_center) = (None, None, None, None);
                self.hash_example(&view);
                let group = format!("{name}, disc views");
                self.validation.push(Held { example: view, group, native_width });
            }
            example.glaucoma = None;
        }
        if is_labelled(&example) {
            self.hash_example(&example);
            self.validation.push(Held { example, group: name.to_owned(), native_width });
        }
    }

    /// Notes the true cup-to-disc ratios for the linear classifier.
    fn learn_ratio<'a>(&mut self, examples: impl IntoIterator<Item = &'a Example>) {
        for example in examples {
            let masks = example.disc.as_ref().zip(example.cup.as_ref());
            let real = masks.filter(|_| !example.disc_pseudo && !example.cup_pseudo);
            let ratio = real.and_then(|(disc, cup)| vcdr_of(disc, cup));
            if let (Some(ratio), Some(glaucoma)) = (ratio, example.glaucoma) {
                self.vcdr.0.push(ratio);
                self.vcdr.1.push(glaucoma);
            }
        }
    }

    fn hash_example(&mut self, example: &Example) {
        let hash = &mut self.hash;
        hash.update((example.id.len() as u64).to_le_bytes());
        hash.update(&example.id);
        hash.update(example.pixels.as_raw());
        hash.update([example.glaucoma.map_or(2, u8::from)]);
        for mask in [&example.disc, &example.cup] {
            hash_mask(hash, mask.as_ref());
        }
        for point in [example.fovea, example.disc_center] {
            hash_point(hash, point);
        }
        hash_point(hash, example.disc_position.map(|position| position.center));
    }

    fn finish(self, config: &Config, device: &Device) -> Result<Data, TrainingError> {
        if self.ingredients.is_empty() {
            let what = "no labelled image is left to learn from (is validation_share too high?)";
            return Err(TrainingError::Data(what.into()));
        }
        self.labels.check(config)?;
        if self.validation.is_empty() {
            let what = "no labelled image is kept apart to choose the best model by: raise \
                        validation_share of at least one source";
            return Err(TrainingError::Data(what.into()));
        }
        let options = BatchOptions {
            batch_size: config.batch,
            side: config.input.side,
            scale: config.input.contract().scale,
            seed: seed::mix(config.seed, seed::ORDER),
            shuffle: true,
            // A last batch of one or two images would give batch normalisation poor statistics.
            drop_partial: true,
        };
        let cache = config.gpu_cache_mib.unwrap_or(GPU_CACHE_MIB).saturating_mul(1 << 20);
        let batches = Batches::new(self.ingredients, options, device.clone())?.keeping(cache)?;
        let (ratios, classes) = &self.vcdr;
        let hash = hexadecimal(&self.hash.finalize());
        Ok(Data {
            steps_per_epoch: batches.batches_per_epoch() as u64,
            batches,
            training_images: self.training_images,
            validation: self.validation,
            // One class only, or no masks: there is nothing to fit.
            vcdr_model: VcdrModel::fit(ratios, classes).ok(),
            hash,
        })
    }
}

/// How a source's pictures are shown.
struct Views {
    augment: Option<Augment>,
    tasks: Option<Vec<Task>>,
}

impl Views {
    fn new(config: &Config, source: &Source) -> Self {
        let mut augment = source.augment.clone().or_else(|| config.augment.clone());
        if source.disc_crop.is_some() {
            let base = augment.unwrap_or_else(Augment::none);
            augment = Some(Augment { disc_crop: source.disc_crop.clone(), ..base });
        }
        Self { augment, tasks: source.tasks.clone() }
    }

    fn disc_crop(&self) -> Option<&DiscCrop> {
        self.augment.as_ref()?.disc_crop.as_ref()
    }

    /// A class that is learnt from views of the disc only cannot be learnt where the disc is not known.
    fn withdraw_class(&self, example: &mut Example) {
        if self.disc_crop().is_some() && example.disc_position.is_none() {
            example.glaucoma = None;
        }
    }

    fn master_side(&self, side: u32) -> u32 {
        if self.augment.is_some() { side * MASTER } else { side }
    }

    fn ingredient(&self, source: Arc<dyn batches::Source>, repeat: f64) -> Ingredient {
        Ingredient { source, repeat, augment: self.augment.clone() }
    }
}

/// Phantoms of which only some labels are used.
struct Limited {
    series: batches::Phantoms,
    tasks: Option<Vec<Task>>,
}

impl batches::Source for Limited {
    fn len(&self) -> usize {
        self.series.count
    }

    fn example(&self, index: usize, epoch: u64) -> Result<Cow<'_, Example>, DatasetError> {
        let mut example = self.series.example(index, epoch)?;
        limit_example(example.to_mut(), self.tasks.as_deref());
        Ok(example)
    }
}

/// The first `count` of a series, on all cores.
fn draw(
    name: &str,
    series: &batches::Phantoms,
    count: usize,
) -> Result<Vec<Example>, TrainingError> {
    let bar = loading_bar(name, count);
    let one = |index| {
        let example = series.example(index, 0).map(Cow::into_owned);
        bar.inc(1);
        example
    };
    let examples: Result<Vec<Example>, DatasetError> =
        (0..count).into_par_iter().map(one).collect();
    bar.finish_and_clear();
    Ok(examples?)
}

fn read(
    name: &str,
    samples: &[Sample],
    contract: &InputContract,
    side: u32,
    cache: Option<&Cache>,
) -> Result<Vec<Example>, TrainingError> {
    let bar = loading_bar(name, samples.len());
    let examples = load::load(samples, contract, side, cache, &|| bar.inc(1))?;
    bar.finish_and_clear();
    Ok(examples)
}

/// A bar for the decoding of `count` photographs of `name`.
#[must_use]
pub fn loading_bar(name: &str, count: usize) -> ProgressBar {
    let bar = ProgressBar::new(count as u64).with_message(name.to_owned());
    match ProgressStyle::with_template("reading {msg} [{bar:30}] {pos}/{len}") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

/// Width of a sample's photograph in native pixels, without decoding it.
#[must_use]
pub fn native_width(sample: &Sample) -> Option<f64> {
    let size = sample.declared_size.or_else(|| image::image_dimensions(&sample.photo).ok());
    size.map(|(width, _)| f64::from(width))
}

pub(super) fn limit_example(example: &mut Example, tasks: Option<&[Task]>) {
    let Some(tasks) = tasks else { return };
    example.glaucoma = example.glaucoma.filter(|_| tasks.contains(&Task::Glaucoma));
    example.disc = example.disc.take().filter(|_| tasks.contains(&Task::Disc));
    example.cup = example.cup.take().filter(|_| tasks.contains(&Task::Cup));
    example.fovea = example.fovea.filter(|_| tasks.contains(&Task::Fovea));
}

fn is_labelled(example: &Example) -> bool {
    let maps = example.disc.is_some() || example.cup.is_some();
    maps || example.glaucoma.is_some() || example.fovea.is_some()
}

fn hash_mask(hash: &mut Sha256, mask: Option<&Mask>) {
    hash.update([u8::from(mask.is_some())]);
    if let Some(mask) = mask {
        let bytes: Vec<u8> = mask.data().iter().map(|&inside| u8::from(inside)).collect();
        hash.update(bytes);
    }
}

fn hash_point(hash: &mut Sha256, point: Option<NetworkPoint>) {
    hash.update([u8::from(point.is_some())]);
    if let Some(NetworkPoint { x, y }) = point {
        hash.update(x.to_le_bytes());
        hash.update(y.to_le_bytes());
    }
}
