//! The U-Net of Pascal et al. 2022: a shared VGG encoder, one decoder, four heads.

use super::layers::conv2d::conv2d;
use super::layers::dropout::dropout;
use super::layers::global_max::global_max;
use super::layers::linear::linear;
use super::layers::upsample_concat::upsample_concat;
use super::quantize_aware::{MapScales, Maps, QuantizeAware};
use super::tape::Tape;
use super::vgg::{Initialiser, Stage, Vgg};
use super::{Mode, NetworkConfig, NetworkError, Outputs, Task};
use candle_core::{Device, Tensor, Var};
use std::rc::Rc;

/// The first bias of a map head: a disc, a cup or a fovea takes about one pixel in fifty, so that is
/// what an untrained network had better say (ln(0.02 / 0.98); Lin et al. 2017, section 4.1). From 0,
/// Adam at the usual rates spends hundreds of steps on nothing but learning that.
const PRIOR_LOGIT: f32 = -3.9;

/// The network with its parameters. All tensors are `f32` on the device it was built on.
#[derive(Debug)]
pub struct UNet {
    config: NetworkConfig,
    encoder: Vgg,
    /// From the deepest map upwards; empty where no task needs maps.
    decoder: Vec<Stage>,
    /// (1, C, 1, 1) and (1) of each map head, (1, C) and (1) of the glaucoma head.
    heads: Vec<(Task, Var, Var)>,
    /// Whether it computes as its quantised file will.
    maps: Maps,
}

impl UNet {
    /// Builds the network with random parameters, a pure function of `config` and `seed`.
    ///
    /// Decoder stages enlarge, concatenate the skip connection and convolve twice, first to half
    /// of the concatenated channels, then to 256, 128, 64, 64 times the width.
    pub fn new(config: &NetworkConfig, seed: u64, device: &Device) -> Result<Self, NetworkError> {
        config.validate()?;
        let mut init = Initialiser::new(seed, device);
        let channels = config.channels();
        let encoder = Vgg::new(config, &mut init)?;
        let mut decoder = Vec::new();
        if config.tasks.iter().any(|task| task.is_map()) {
            let mut deep = channels[4];
            for (at, skip) in channels[..4].iter().rev().enumerate() {
                let joined = deep + skip;
                deep = channels[2usize.saturating_sub(at)];
                let through = [joined, (joined / 2).max(1), deep];
                decoder.push(Stage::new(format!("decoder.stage{}", at + 1), &through, &mut init)?);
            }
        }
        let mut heads = Vec::new();
        for task in Task::ALL.into_iter().filter(|task| config.tasks.contains(task)) {
            let (inputs, weight) = if task.is_map() {
                (channels[0], init.uniform((1, channels[0], 1, 1), channels[0])?)
            } else {
                (channels[4], init.uniform((1, channels[4]), channels[4])?)
            };
            let bias = init.uniform(1, inputs)?;
            if task.is_map() {
                bias.set(&Tensor::full(PRIOR_LOGIT, 1, device)?)?;
            }
            heads.push((task, weight, bias));
        }
        Ok(Self { config: config.clone(), encoder, decoder, heads, maps: Maps::Float })
    }

    /// Logits of the asked tasks for `images` (B, 3, H, W), RGB in 0..1, sides multiples of 16.
    ///
    /// Only what the tasks need is computed: glaucoma alone runs the encoder only. In training
    /// mode every pass moves the running statistics of the normalisations it goes through, and
    /// [`Outputs::backward`] has a way back.
    pub fn forward(
        &self,
        images: &Tensor,
        tasks: &[Task],
        mode: Mode,
    ) -> Result<Outputs, NetworkError> {
        let images = images.contiguous()?;
        let tape = match mode {
            Mode::Train { .. } => Tape::begin(&images),
            Mode::Evaluate => Tape::none(),
        };
        self.forward_on(tape, &images, tasks, mode)
    }

    /// As [`UNet::forward`], on a tape of the caller's choice, of contiguous images.
    pub(crate) fn forward_on(
        &self,
        tape: Tape,
        images: &Tensor,
        tasks: &[Task],
        mode: Mode,
    ) -> Result<Outputs, NetworkError> {
        match images.dims() {
            [b, 3, h, w] if [b, h, w].iter().all(|n| **n > 0) && h % 16 == 0 && w % 16 == 0 => {}
            other => return Err(NetworkError::Images(other.to_vec())),
        }
        let mut maps = self.encoder.forward(&tape, images, mode, &self.maps)?;
        let mut outputs = Outputs::default();
        let deepest = maps.pop().ok_or(NetworkError::NoTasks)?;
        if tasks.contains(&Task::Glaucoma) {
            outputs.set(Task::Glaucoma, tape.end(&self.classify(&tape, &deepest, mode)?)?);
        }
        if tasks.iter().any(|task| task.is_map()) {
            let mut map = deepest;
            let above = self.encoder.stages.iter().rev().skip(1);
            for ((stage, skip), from) in self.decoder.iter().zip(maps.iter().rev()).zip(above) {
                let joined =
                    self.maps.pass(&tape, &from.group(), upsample_concat(&tape, &map, skip)?)?;
                map = stage.forward(&tape, &joined, mode, &self.maps)?;
            }
            for &task in tasks.iter().filter(|task| task.is_map()) {
                let (weight, bias) = self.head(task)?;
                outputs.set(task, tape.end(&conv2d(&tape, &map, weight, bias)?)?);
            }
        }
        outputs.tape = Rc::new(tape);
        Ok(outputs)
    }

    /// The encoder's five maps, from full resolution to a sixteenth of it.
    #[cfg(test)]
    pub(super) fn encode(&self, images: &Tensor, mode: Mode) -> Result<Vec<Tensor>, NetworkError> {
        Ok(self.encoder.forward(&Tape::none(), images, mode, &Maps::Float)?)
    }

    /// The grids it computes on; `None` for a network that computes in floating point.
    #[must_use]
    pub fn map_scales(&self) -> Option<&MapScales> {
        match &self.maps {
            Maps::Quantized(scales) => Some(scales),
            Maps::Float | Maps::Observed(_) => None,
        }
    }

    /// Computes on these grids from now on, in training and evaluation; `None`: in floating point.
    pub fn set_map_scales(&mut self, scales: Option<MapScales>) {
        self.maps = scales.map_or(Maps::Float, Maps::Quantized);
    }

    /// Chooses grids by `images` (N, 3, H, W) and computes on them from now on.
    ///
    /// # Errors
    /// A group of maps that is zero throughout; failures of the network.
    pub fn quantize_aware(
        &mut self,
        images: &Tensor,
        options: &QuantizeAware,
    ) -> Result<(), NetworkError> {
        self.maps = Maps::Observed(std::cell::RefCell::default());
        // One by one: the maps of all of them would not fit beside each other.
        for number in 0..images.dim(0)? {
            self.forward(&images.narrow(0, number, 1)?, &self.config.tasks, Mode::Evaluate)?;
        }
        let Maps::Observed(histograms) = std::mem::take(&mut self.maps) else { return Ok(()) };
        let scale = |(group, histogram): (String, super::grid::Histogram)| match histogram
            .scale(options.clipping, options.levels)
        {
            Some(scale) => Ok((group, scale)),
            None => Err(NetworkError::Dead(group)),
        };
        let scales = histograms.into_inner().into_iter().map(scale).collect::<Result<_, _>>()?;
        self.set_map_scales(Some(MapScales { levels: options.levels, scales }));
        Ok(())
    }

    /// (B): the strongest response of each deepest channel, dropout, one linear unit.
    fn classify(&self, tape: &Tape, deepest: &Tensor, mode: Mode) -> Result<Tensor, NetworkError> {
        let (weight, bias) = self.head(Task::Glaucoma)?;
        let mut features = global_max(tape, deepest)?;
        if let Mode::Train { dropout_seed } = mode {
            features = dropout(tape, &features, self.config.dropout, dropout_seed)?;
        }
        Ok(linear(tape, &features, weight, bias)?)
    }

    fn head(&self, task: Task) -> Result<(&Tensor, &Tensor), NetworkError> {
        let found = self.heads.iter().find(|(of, ..)| *of == task);
        let (_, weight, bias) = found.ok_or(NetworkError::NoHead(task))?;
        Ok((weight.as_tensor(), bias.as_tensor()))
    }

    /// What is trained, by name, in the order of the forward pass:
    /// `encoder.stage1.conv1.weight`, ..., `decoder.stage4.norm2.bias`, `head.disc.weight`, ...
    pub fn parameters(&self) -> Vec<(String, Var)> {
        let mut all = Vec::new();
        self.stages().for_each(|stage| stage.parameters(&mut all));
        for (task, weight, bias) in &self.heads {
            all.push((format!("head.{}.weight", task.name()), weight.clone()));
            all.push((format!("head.{}.bias", task.name()), bias.clone()));
        }
        all
    }

    /// The running statistics, by name: `encoder.stage1.norm1.running_mean`, ... They belong to
    /// the network's state as much as the parameters do.
    pub fn buffers(&self) -> Vec<(String, Var)> {
        let mut all = Vec::new();
        self.stages().for_each(|stage| stage.buffers(&mut all));
        all
    }

    /// Number of trained numbers.
    pub fn parameter_count(&self) -> usize {
        self.parameters().iter().map(|(_, var)| var.elem_count()).sum()
    }

    /// What the network was built from.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    fn stages(&self) -> impl Iterator<Item = &Stage> {
        self.encoder.stages.iter().chain(&self.decoder)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Encoder;
    use super::super::layers::check::noise;
    use super::*;

    fn count(encoder: Encoder, tasks: &[Task]) -> usize {
        let config = NetworkConfig { encoder, tasks: tasks.to_vec(), ..NetworkConfig::default() };
        UNet::new(&config, 1, &Device::Cpu).unwrap().parameter_count()
    }

    #[test]
    fn parameter_counts_are_the_papers() {
        assert_eq!(count(Encoder::Vgg13, &Task::ALL), 17_268_036);
        assert_eq!(count(Encoder::Vgg16, &Task::ALL), 22_580_292);
        let single: usize = Task::ALL.iter().map(|&task| count(Encoder::Vgg13, &[task])).sum();
        assert_eq!(single, 61_213_572);
    }

    fn narrow() -> NetworkConfig {
        NetworkConfig { width: 1.0 / 16.0, ..NetworkConfig::default() }
    }

    #[test]
    fn shapes_and_missing_heads() {
        let net = UNet::new(&narrow(), 1, &Device::Cpu).unwrap();
        let images = noise((2, 3, 32, 48), 1);
        let outputs = net.forward(&images, &Task::ALL, Mode::Evaluate).unwrap();
        assert_eq!(outputs.logits(Task::Glaucoma).unwrap().dims(), [2]);
        assert_eq!(outputs.logits(Task::Fovea).unwrap().dims(), [2, 1, 32, 48]);
        let only = net.forward(&images, &[Task::Glaucoma], Mode::Evaluate).unwrap();
        assert!(only.logits(Task::Disc).is_none());

        let config = NetworkConfig { tasks: vec![Task::Glaucoma], ..narrow() };
        let classifier = UNet::new(&config, 1, &Device::Cpu).unwrap();
        let refused = classifier.forward(&images, &[Task::Disc], Mode::Evaluate);
        assert!(matches!(refused, Err(NetworkError::NoHead(Task::Disc))));
        let odd = net.forward(&noise((1, 3, 20, 32), 1), &[Task::Disc], Mode::Evaluate);
        assert!(matches!(odd, Err(NetworkError::Images(_))));
    }

    #[test]
    fn the_seed_decides_the_parameters_and_evaluation_changes_nothing() {
        let flat = |net: &UNet| -> Vec<Vec<f32>> {
            let all = net.parameters().into_iter().chain(net.buffers());
            all.map(|(_, v)| v.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect()
        };
        let net = UNet::new(&narrow(), 7, &Device::Cpu).unwrap();
        let before = flat(&net);
        assert_eq!(before, flat(&UNet::new(&narrow(), 7, &Device::Cpu).unwrap()));
        assert_ne!(before, flat(&UNet::new(&narrow(), 8, &Device::Cpu).unwrap()));
        let images = noise((2, 3, 32, 32), 1);
        net.forward(&images, &Task::ALL, Mode::Evaluate).unwrap();
        assert_eq!(before, flat(&net));
        net.forward(&images, &Task::ALL, Mode::Train { dropout_seed: 1 }).unwrap();
        assert_ne!(before, flat(&net));
    }
}
