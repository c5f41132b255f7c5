//! Where batches draw their examples from, and how several data sets are mixed.

use super::DatasetError;
use super::augment::Augment;
use super::example::{DiscPosition, Example};
use super::load::prepare_example;
use super::phantom::{Phantom, PhantomConfig, generate};
use glaucoma_common::preprocess::{InputContract, NetworkPoint};
use std::borrow::Cow;
use std::sync::Arc;

/// Something that examples can be drawn from.
pub trait Source: Send + Sync {
    /// How many examples one pass has.
    fn len(&self) -> usize;

    /// True when there is nothing to draw.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The example `index` (below [`Source::len`]) as `epoch` sees it, at the network's side or larger.
    ///
    /// A pure function of its arguments, because an interrupted training must see the same again. What is
    /// lent must be the same in every epoch: a GPU keeps it.
    ///
    /// # Errors
    /// Whatever stops the example's making.
    fn example(&self, index: usize, epoch: u64) -> Result<Cow<'_, Example>, DatasetError>;
}

impl Source for Vec<Example> {
    fn len(&self) -> usize {
        self.len()
    }

    fn example(&self, index: usize, _epoch: u64) -> Result<Cow<'_, Example>, DatasetError> {
        let missing =
            || DatasetError::Options(format!("example {index} of {} asked for", self.len()));
        self.get(index).map(Cow::Borrowed).ok_or_else(missing)
    }
}

/// One source in a mixture.
#[derive(Clone)]
pub struct Ingredient {
    /// The examples.
    pub source: Arc<dyn Source>,
    /// How often each example comes in an epoch: 2.5 is two whole passes and a random half.
    pub repeat: f64,
    /// How its examples are changed; `None`: not at all (they must then have the network's side).
    pub augment: Option<Augment>,
}

impl Ingredient {
    /// Every example once an epoch, unchanged.
    pub fn plain(examples: Arc<Vec<Example>>) -> Self {
        Self { source: examples, repeat: 1.0, augment: None }
    }
}

/// Synthetic photographs made when they are asked for.
#[derive(Debug, Clone)]
pub struct Phantoms {
    /// Seed of the series.
    pub seed: u64,
    /// How many an epoch sees.
    pub count: usize,
    /// Every epoch sees new ones; otherwise every epoch sees the same.
    pub fresh: bool,
    /// What they are like. Their side should not be below the example's.
    pub config: PhantomConfig,
    /// Framing, filter and side of the examples.
    pub contract: InputContract,
}

impl Source for Phantoms {
    fn len(&self) -> usize {
        self.count
    }

    fn example(&self, index: usize, epoch: u64) -> Result<Cow<'_, Example>, DatasetError> {
        let first = if self.fresh { epoch * self.count as u64 } else { 0 };
        let number = first + index as u64;
        let phantom = generate(self.seed, number, &self.config);
        let id = format!("phantom/{}/{number}", self.seed);
        phantom_example(&phantom, id, index, &self.contract).map(Cow::Owned)
    }
}

/// A phantom's labels in network pixels. Its class is withheld where nobody could grade the picture.
fn phantom_example(
    phantom: &Phantom,
    id: String,
    index: usize,
    contract: &InputContract,
) -> Result<Example, DatasetError> {
    let mut example = prepare_example(&phantom.photo, id, index, contract)?;
    let placement = example.placement;
    let disc = placement.mask_to_network(&phantom.disc);
    let center = disc.centroid().map(|(x, y)| NetworkPoint { x, y });
    example.glaucoma = phantom.gradable.then_some(phantom.glaucoma);
    example.cup = Some(placement.mask_to_network(&phantom.cup));
    example.fovea = phantom.fovea.map(|fovea| placement.to_network(fovea));
    example.disc_center = center;
    example.disc_position = center.map(|center| DiscPosition {
        center,
        diameter: Some(2.0 * (disc.area() as f64 / std::f64::consts::PI).sqrt()),
        fovea: example.fovea,
    });
    example.disc = Some(disc);
    Ok(example)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use glaucoma_common::preprocess::{Framing, ResizeFilter};

    #[test]
    fn phantoms_are_labelled_examples_and_new_ones_only_when_asked() {
        let mut phantoms = Phantoms {
            seed: 5,
            count: 3,
            fresh: false,
            config: PhantomConfig { side: 160, fovea_in_field: true, ..PhantomConfig::default() },
            contract: InputContract {
                side: 96,
                framing: Framing::FieldOfView,
                filter: ResizeFilter::AntialiasedBilinear,
                scale: 1.0 / 255.0,
            },
        };
        let first = phantoms.example(1, 0).unwrap().into_owned();
        assert_eq!(first, phantoms.example(1, 7).unwrap().into_owned());
        phantoms.fresh = true;
        assert_eq!(first, phantoms.example(1, 0).unwrap().into_owned());
        let later = phantoms.example(1, 7).unwrap().into_owned();
        assert_eq!(later.id, "phantom/5/22");
        assert_ne!(first.pixels, later.pixels);
        assert_eq!((first.side(), phantoms.len()), (96, 3));
        let (disc, cup) = (first.disc.unwrap(), first.cup.unwrap());
        assert!(disc.area() > 20 && cup.area() > 0 && cup.is_subset_of(&disc));
        assert!(first.glaucoma.is_some() && first.fovea.is_some());
        assert_eq!((first.disc_pseudo, first.cup_pseudo), (false, false));
    }
}
