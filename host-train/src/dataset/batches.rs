//! Batches in a seeded order, prepared ahead on a thread of their own.
//!
//! What batch k of epoch n holds is a pure function of (seed, n, k): each example's changes are drawn
//! from its own random numbers, so that neither threads nor an interruption can shift them.

pub use super::example::{DiscPosition, Example, Field};
pub use super::source::{Ingredient, Phantoms, Source};
pub use super::target::{Batch, Target, fovea_map};

use super::DatasetError;
use super::augment::augment;
use super::packed::PackedBatch;
use super::target::HostBatch;
use crate::network::cuda::Kept;
use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// How many batches wait ready while a step runs: enough to even out examples that take longer.
const AHEAD: usize = 2;

/// How batches are made.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchOptions {
    /// Examples a batch, at least 1.
    pub batch_size: usize,
    /// The network's side in pixels.
    pub side: u32,
    /// From 0..=255 to the network's range: the input contract's scale.
    pub scale: f32,
    /// Determines order and augmentation.
    pub seed: u64,
    /// False: every epoch takes the examples as they lie (for validation).
    pub shuffle: bool,
    /// Leaves out a last batch with fewer than `batch_size` examples, unless it is the only one.
    pub drop_partial: bool,
}

/// The batches of any epoch of a mixture of sources.
#[derive(Clone)]
pub struct Batches {
    ingredients: Arc<Vec<Ingredient>>,
    options: BatchOptions,
    device: Device,
    /// What a GPU keeps; the CPU has the examples at hand.
    kept: Option<Arc<Kept>>,
    entries: usize,
    /// Of each batch the examples that are prepared here: the first and each so manieth after it.
    part: (usize, usize),
}

/// One example's place in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    ingredient: usize,
    index: usize,
    /// Which of the example's repeats this is.
    pass: usize,
}

impl Batches {
    /// Checks the mixture; nothing is prepared yet.
    ///
    /// # Errors
    /// [`DatasetError::Options`]: a batch size or side of 0, a bad repeat or augmentation, nothing to draw.
    /// A GPU in a program without CUDA.
    pub fn new(
        ingredients: Vec<Ingredient>,
        options: BatchOptions,
        device: Device,
    ) -> Result<Self, DatasetError> {
        let fail = |what: &str| Err(DatasetError::Options(what.to_owned()));
        if options.batch_size == 0 || options.side == 0 {
            return fail("batch size and side must be at least 1");
        }
        for ingredient in &ingredients {
            if !(ingredient.repeat >= 0.0 && ingredient.repeat <= 1000.0) {
                return fail("a repeat must be within 0..=1000");
            }
            if let Some(augment) = &ingredient.augment {
                augment.validate()?;
            }
        }
        let entries = ingredients.iter().map(|i| drawn(i.repeat, i.source.len())).sum();
        if entries == 0 {
            return fail("no examples to make batches of");
        }
        let kept = device.is_cuda().then(|| Kept::new(&device, 0)).transpose()?.map(Arc::new);
        let ingredients = Arc::new(ingredients);
        Ok(Self { ingredients, options, device, kept, entries, part: (0, 1) })
    }

    /// The same batches on a GPU that keeps up to `bytes` of the examples that are shown unchanged: what
    /// it keeps is copied to it once. On the CPU nothing changes.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn keeping(self, bytes: usize) -> Result<Self, DatasetError> {
        let kept = self.kept.map(|_| Kept::new(&self.device, bytes)).transpose()?.map(Arc::new);
        Ok(Self { kept, ..self })
    }

    /// The same batches for one of `count` processes that share each of them: examples `rank`,
    /// `rank + count`, ... of every batch.
    ///
    /// # Errors
    /// [`DatasetError::Options`] when a batch has no example for some process.
    pub fn part(self, rank: usize, count: usize) -> Result<Self, DatasetError> {
        let size = self.options.batch_size;
        let smallest = match self.entries % size {
            _ if self.entries < size => self.entries,
            0 => size,
            _ if self.options.drop_partial => size,
            rest => rest,
        };
        if rank >= count || smallest < count {
            let what =
                format!("a batch of {smallest} images cannot be shared by {count} processes");
            return Err(DatasetError::Options(what));
        }
        Ok(Self { part: (rank, count), ..self })
    }

    /// The first `count` images of the first epoch as they are learnt from, (N, 3, S, S); fewer where
    /// an epoch has fewer. The same in all processes that share batches.
    ///
    /// # Errors
    /// As the batches themselves.
    pub fn first_images(&self, count: usize) -> Result<Tensor, DatasetError> {
        let whole = Self { part: (0, 1), ..self.clone() };
        let batches = whole.epoch(0, 0).take(count.div_ceil(self.options.batch_size));
        let images =
            batches.map(|batch| Ok(batch?.images)).collect::<Result<Vec<_>, DatasetError>>()?;
        let images = Tensor::cat(&images, 0)?;
        Ok(images.narrow(0, 0, count.min(images.dim(0)?))?)
    }

    /// Batches an epoch; the same for every epoch.
    pub fn batches_per_epoch(&self) -> usize {
        let size = self.options.batch_size;
        if self.options.drop_partial {
            (self.entries / size).max(1)
        } else {
            self.entries.div_ceil(size)
        }
    }

    /// The batches of `epoch` from `first_batch` on, prepared ahead on a thread.
    pub fn epoch(&self, epoch: u64, first_batch: usize) -> Epoch {
        let (sender, receiver) = sync_channel(AHEAD);
        let (batches, last) = (self.clone(), self.batches_per_epoch());
        let left = last.saturating_sub(first_batch);
        let preparer = std::thread::Builder::new()
            .name("batches".into())
            .spawn(move || batches.prepare(epoch, first_batch..last, &sender));
        let (preparer, failure) = match preparer {
            Ok(handle) => (Some(handle), None),
            Err(error) => (
                None,
                Some(DatasetError::Options(format!("starting the preparing thread: {error}"))),
            ),
        };
        Epoch { receiver: Some(receiver), preparer, failure, device: self.device.clone(), left }
    }

    fn prepare(
        &self,
        epoch: u64,
        range: std::ops::Range<usize>,
        sender: &SyncSender<Result<Prepared, DatasetError>>,
    ) {
        let order = self.order(epoch);
        let chunks: Vec<&[Entry]> = order.chunks(self.options.batch_size).collect();
        for chunk in chunks.get(range).unwrap_or_default() {
            let batch = self.prepared(epoch, chunk);
            let failed = batch.is_err();
            // The consumer has gone, or cannot use what comes after an error.
            if sender.send(batch).is_err() || failed {
                return;
            }
        }
    }

    fn prepared(&self, epoch: u64, chunk: &[Entry]) -> Result<Prepared, DatasetError> {
        let (first, step) = self.part;
        let own: Vec<Entry> = chunk.iter().skip(first).step_by(step).copied().collect();
        let examples: Result<Vec<Cow<'_, Example>>, DatasetError> =
            own.par_iter().map(|entry| self.example(epoch, *entry)).collect();
        let (examples, scale) = (examples?, self.options.scale);
        let Some(kept) = &self.kept else {
            return HostBatch::new(&examples, scale).map(Prepared::Values);
        };
        let keyed: Vec<_> = own
            .iter()
            .zip(&examples)
            .map(|(entry, example)| {
                // What is lent is the same in every epoch.
                let lent = matches!(example, Cow::Borrowed(_));
                (example.as_ref(), lent.then_some((entry.ingredient, entry.index)))
            })
            .collect();
        PackedBatch::new(&keyed, scale, kept).map(Prepared::Packed)
    }

    fn example(&self, epoch: u64, entry: Entry) -> Result<Cow<'_, Example>, DatasetError> {
        let ingredient = &self.ingredients[entry.ingredient];
        let master = ingredient.source.example(entry.index, epoch)?;
        let side = self.options.side;
        match &ingredient.augment {
            Some(options) => {
                let mut rng = example_rng(self.options.seed, epoch, entry);
                Ok(Cow::Owned(augment(&master, side, options, &mut rng)))
            }
            None if master.side() == side => Ok(master),
            None => Err(DatasetError::Options(format!(
                "{}: {} pixels wide, but without augmentation it must have the network's {side}",
                master.id,
                master.side()
            ))),
        }
    }

    /// The epoch's examples in order.
    fn order(&self, epoch: u64) -> Vec<Entry> {
        let mut rng = order_rng(self.options.seed, epoch);
        let mut order = Vec::with_capacity(self.entries);
        for (number, ingredient) in self.ingredients.iter().enumerate() {
            let (length, total) =
                (ingredient.source.len(), drawn(ingredient.repeat, ingredient.source.len()));
            let mut last: Vec<usize> = (0..length).collect();
            if self.options.shuffle {
                // Which examples an incomplete last pass takes.
                last.shuffle(&mut rng);
            }
            let whole = total.checked_div(length).unwrap_or(0);
            for pass in 0..whole {
                order.extend((0..length).map(|index| Entry { ingredient: number, index, pass }));
            }
            let rest = last.into_iter().take(total - whole * length);
            order.extend(rest.map(|index| Entry { ingredient: number, index, pass: whole }));
        }
        if self.options.shuffle {
            order.shuffle(&mut rng);
        }
        order
    }
}

/// How many examples of `length` a repeat draws.
fn drawn(repeat: f64, length: usize) -> usize {
    (repeat * length as f64).round() as usize
}

fn order_rng(seed: u64, epoch: u64) -> ChaCha8Rng {
    let mut bytes = [0xff; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&epoch.to_le_bytes());
    ChaCha8Rng::from_seed(bytes)
}

fn example_rng(seed: u64, epoch: u64, entry: Entry) -> ChaCha8Rng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&epoch.to_le_bytes());
    bytes[16..20].copy_from_slice(&(entry.ingredient as u32).to_le_bytes());
    bytes[20..24].copy_from_slice(&(entry.pass as u32).to_le_bytes());
    bytes[24..].copy_from_slice(&(entry.index as u64).to_le_bytes());
    ChaCha8Rng::from_seed(bytes)
}

/// What the preparing thread makes and the consumer moves to the device.
enum Prepared {
    Values(HostBatch),
    Packed(PackedBatch),
}

impl Prepared {
    fn into_batch(self, device: &Device) -> Result<Batch, DatasetError> {
        match self {
            Self::Values(batch) => batch.into_batch(device),
            Self::Packed(batch) => batch.into_batch(),
        }
    }
}

/// The batches of one epoch. Dropping it stops the preparation.
pub struct Epoch {
    receiver: Option<Receiver<Result<Prepared, DatasetError>>>,
    preparer: Option<JoinHandle<()>>,
    failure: Option<DatasetError>,
    device: Device,
    left: usize,
}

impl Iterator for Epoch {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let received = match (self.failure.take(), &self.receiver) {
            (Some(error), _) => Err(error),
            (None, Some(receiver)) => receiver.recv().unwrap_or_else(|_| {
                Err(DatasetError::Options(
                    "the thread that prepares batches has stopped early".into(),
                ))
            }),
            (None, None) => return None,
        };
        self.left = if received.is_ok() { self.left - 1 } else { 0 };
        Some(received.and_then(|batch| batch.into_batch(&self.device)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        // Without a receiver the preparer's next send fails and it ends.
        drop(self.receiver.take());
        if let Some(preparer) = self.preparer.take() {
            // A panic there has been reported by its own message; here it only means that it is over.
            let _ = preparer.join();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dataset::augment::Augment;
    use crate::network::Task;
    use glaucoma_common::mask::Mask;
    use glaucoma_common::preprocess::{NetworkPoint, Placement};
    use image::{Rgb, RgbImage};

    fn example(number: usize, side: u32) -> Example {
        let placement = Placement {
            origin_x: 0.0,
            origin_y: 0.0,
            width: f64::from(side),
            height: f64::from(side),
            side,
        };
        let pixels = RgbImage::from_fn(side, side, |x, y| Rgb([x as u8, y as u8, number as u8]));
        Example::unlabelled(format!("set/{number}"), number, pixels, placement)
    }

    fn options(seed: u64) -> BatchOptions {
        BatchOptions {
            batch_size: 4,
            side: 32,
            scale: 1.0 / 255.0,
            seed,
            shuffle: true,
            drop_partial: false,
        }
    }

    fn mixture(seed: u64, augment: Option<Augment>) -> Batches {
        let side = if augment.is_some() { 48 } else { 32 };
        let set = |count: usize| -> Arc<Vec<Example>> {
            Arc::new((0..count).map(|i| example(i, side)).collect())
        };
        let ingredients = vec![
            Ingredient { source: set(7), repeat: 1.0, augment: augment.clone() },
            Ingredient { source: set(4), repeat: 2.5, augment },
        ];
        Batches::new(ingredients, options(seed), Device::Cpu).unwrap()
    }

    fn pictures(epoch: Epoch) -> Vec<(Vec<String>, Vec<f32>)> {
        epoch
            .map(|batch| batch.unwrap())
            .map(|b| (b.ids.clone(), b.images.flatten_all().unwrap().to_vec1::<f32>().unwrap()))
            .collect()
    }

    #[test]
    fn repeats_draw_what_they_say() {
        let batches = mixture(3, None);
        let order = batches.order(0);
        let count = |ingredient: usize, index: usize| {
            order.iter().filter(|e| e.ingredient == ingredient && e.index == index).count()
        };
        assert!((0..7).all(|i| count(0, i) == 1));
        let mut second: Vec<usize> = (0..4).map(|i| count(1, i)).collect();
        second.sort_unstable();
        assert_eq!(second, [2, 2, 3, 3]);
        assert_eq!(batches.batches_per_epoch(), 5);
        assert_ne!(batches.order(0), batches.order(1));
        assert_ne!(batches.order(0), mixture(4, None).order(0));
    }

    #[test]
    fn a_resumed_epoch_goes_on_with_the_same_pictures() {
        let batches = mixture(3, Some(Augment::default()));
        let whole = pictures(batches.epoch(2, 0));
        assert_eq!(whole.len(), 5);
        assert_eq!(pictures(mixture(3, Some(Augment::default())).epoch(2, 3)), whole[3..]);
        assert_ne!(pictures(batches.epoch(3, 0)), whole);
        assert!(batches.epoch(2, 9).next().is_none());
    }

    #[test]
    fn processes_share_each_batch_without_overlap() {
        let complete = |drop_partial| {
            let whole = mixture(3, Some(Augment::default()));
            Batches { options: BatchOptions { drop_partial, ..whole.options }, ..whole }
        };
        let share = |rank| pictures(complete(true).part(rank, 2).unwrap().epoch(1, 0));
        let (whole, even, odd) = (pictures(complete(true).epoch(1, 0)), share(0), share(1));
        assert_eq!((whole.len(), even.len(), odd.len()), (4, 4, 4));
        for ((whole, even), odd) in whole.iter().zip(even).zip(odd) {
            let image = whole.1.len() / whole.0.len();
            for (at, id) in whole.0.iter().enumerate() {
                let (ids, pixels) = if at % 2 == 0 { &even } else { &odd };
                assert_eq!(&ids[at / 2], id);
                assert!(pixels[at / 2 * image..][..image] == whole.1[at * image..][..image]);
            }
        }
        // 17 examples in batches of 4: the last has one.
        assert!(complete(false).part(0, 2).is_err());
        assert!(complete(true).part(0, 5).is_err() && complete(true).part(1, 1).is_err());
    }

    #[test]
    fn the_first_images_are_those_of_the_first_batches_in_every_process() {
        let batches = mixture(3, None);
        let first = batches.first_images(6).unwrap();
        assert_eq!(first.dims(), [6, 3, 32, 32]);
        let vector = first.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let shown: Vec<f32> = pictures(batches.epoch(0, 0)).into_iter().flat_map(|b| b.1).collect();
        assert!(vector == shown[..vector.len()]);
        let whole = BatchOptions { drop_partial: true, ..options(3) };
        let part = Batches { options: whole, ..batches.clone() }.part(1, 2).unwrap();
        let same = part.first_images(6).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(vector == same);
        assert_eq!(batches.first_images(100).unwrap().dims()[0], 17);
    }

    #[test]
    fn stopping_half_way_does_not_hang() {
        let mut epoch = mixture(3, None).epoch(0, 0);
        assert!(epoch.next().is_some());
        drop(epoch);
    }

    #[test]
    fn a_wrong_side_is_an_error_and_the_end() {
        let set = Arc::new(vec![example(0, 48)]);
        let batches = Batches::new(vec![Ingredient::plain(set)], options(1), Device::Cpu).unwrap();
        let mut epoch = batches.epoch(0, 0);
        let message = epoch.next().unwrap().unwrap_err().to_string();
        assert!(message.contains("set/0") && message.contains("48"), "{message}");
        assert!(epoch.next().is_none());
        assert!(Batches::new(vec![], options(1), Device::Cpu).is_err());
    }

    #[test]
    fn missing_labels_weigh_nothing_and_absent_tasks_are_none() {
        let mut examples: Vec<Example> = (0..3).map(|i| example(i, 32)).collect();
        examples[1].glaucoma = Some(true);
        examples[2].glaucoma = Some(false);
        examples[0].disc = Some(Mask::from_fn(32, 32, |x, y| x < 3 && y == 5));
        examples[2].fovea = Some(NetworkPoint { x: 10.0, y: 20.0 });
        let batch = Batch::from_examples(&examples, 1.0 / 255.0, &Device::Cpu).unwrap();
        assert_eq!(batch.images.dims(), [3, 3, 32, 32]);
        let vector =
            |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let glaucoma = batch.target(Task::Glaucoma).unwrap();
        assert_eq!(vector(&glaucoma.values), [0.0, 1.0, 0.0]);
        assert_eq!(vector(&glaucoma.weights), [0.0, 1.0, 1.0]);
        assert_eq!(glaucoma.labelled, 2);
        let disc = batch.target(Task::Disc).unwrap();
        assert_eq!(disc.values.dims(), [3, 1, 32, 32]);
        assert_eq!(vector(&disc.weights), [1.0, 0.0, 0.0]);
        assert_eq!(vector(&disc.values).iter().sum::<f32>(), 3.0);
        assert_eq!(vector(&disc.values)[5 * 32 + 2], 1.0);
        assert!(batch.target(Task::Cup).is_none());
        let fovea = vector(&batch.target(Task::Fovea).unwrap().values);
        assert_eq!(fovea[2 * 1024 + 20 * 32 + 10], 1.0);
        assert!(fovea[..2 * 1024].iter().all(|&value| value == 0.0));
        // RGB planes, scaled: the blue plane of image 2 holds its number.
        assert_eq!(vector(&batch.images)[(2 * 3 + 2) * 1024], 2.0 / 255.0);
    }

    #[test]
    fn the_fovea_map_is_the_papers() {
        let map = fovea_map(NetworkPoint { x: 100.0, y: 60.0 }, 256);
        let at = |x: usize, y: usize| map[y * 256 + x];
        assert_eq!(at(100, 60), 1.0);
        // exp(-d^2 / 100): variance 50 at 256 pixels.
        assert!((at(110, 60) - (-1.0f32).exp()).abs() < 1e-6);
        assert!((at(106, 68) - (-1.0f32).exp()).abs() < 1e-6);
        // The same blob on half the side.
        let half = fovea_map(NetworkPoint { x: 50.0, y: 30.0 }, 128);
        assert!((half[30 * 128 + 55] - (-1.0f32).exp()).abs() < 1e-6);
    }
}
