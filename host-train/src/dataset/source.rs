//! Where batches draw their examples from, and how several data sets are mixed.

use super::DatasetError;
use super::augment::Augment;
use super::example::Example;
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
    /// A pure function of its arguments, because an interrupted training must see the same again.
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
