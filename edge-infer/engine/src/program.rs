//! The network made ready to run: weights packed, pools joined to the convolutions before them and
//! upsamplings to those behind them, concatenations dissolved, and a place in memory for every map, all
//! decided once.

use crate::kernels::Form;
use crate::kernels::elementwise::{Element, FIRST_PIXELS, FirstConv, Lanes, MapHeads, Upsampling};
use crate::kernels::integer::{IntegerConv, Plain};
use crate::kernels::real::RealConv;
use crate::layout::{BLOCK, Layout};
use crate::network::{Head, Layer, Map, MapId, Network, Weights};
use crate::recognise::Unknown;

/// A network whose maps are made of `E`.
#[derive(Debug, Clone, PartialEq)]
pub struct Program<E: Arithmetic> {
    /// Side of the photograph in network pixels.
    pub side: usize,
    /// What is computed, in order.
    pub steps: Vec<Step<E>>,
    /// Elements of each piece of memory that maps lie in.
    pub slots: Vec<usize>,
    /// Disc, cup and fovea.
    pub heads: MapHeads,
    /// Where the heads read.
    pub heads_input: Place,
    /// Weights of the class, times the input's step, one a channel.
    pub class_weight: Vec<f32>,
    /// Added to the class's sum.
    pub class_bias: f32,
}

/// Where a map lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The piece of memory.
    pub slot: usize,
    /// The map's sides.
    pub layout: Layout,
}

/// One step of the computation.
#[derive(Debug, Clone, PartialEq)]
pub struct Step<E: Arithmetic> {
    /// Name of the map that is made, as in the file.
    pub name: String,
    /// Multiplications and additions, in pairs.
    pub macs: u64,
    /// Where the map is made.
    pub output: Place,
    /// What is computed.
    pub work: Work<E>,
}

/// What one step computes.
#[derive(Debug, Clone, PartialEq)]
pub enum Work<E: Arithmetic> {
    /// The first convolution, from the photograph; and the map's 2x2 maximum, where it is wanted.
    First(FirstConv, Option<Place>),
    /// A convolution of one or two maps, in the order of their channels; and its map's 2x2 maximum.
    Conv(E::Conv, Vec<Input>, Option<Place>),
    /// The maximum of each channel of a map over all pixels, for the class; makes no map.
    Peaks(Place),
}

/// What a convolution reads.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A map as it lies.
    Map(Place),
    /// A map of half the side, upsampled row by row as rows are wanted; at most one of a convolution's.
    Upsampled(Place, Upsampling),
}

impl Input {
    /// What is upsampled, and how.
    pub fn upsampled(&self) -> Option<(Place, &Upsampling)> {
        match self {
            Self::Map(_) => None,
            Self::Upsampled(from, upsampling) => Some((*from, upsampling)),
        }
    }
}

/// How numbers of one kind are convolved.
pub trait Arithmetic: Element {
    /// Packed weights.
    type Conv: Send + Sync + Clone + PartialEq + std::fmt::Debug;

    /// Packs a layer's weights; `sources` are the maps that are read.
    fn pack(kernel: usize, weights: &Weights, sources: &[&Map], output: &Map)
    -> Option<Self::Conv>;

    /// Computes whole rows of the output from `first_row` on; see the kernels.
    fn convolve_rows(
        form: Form,
        conv: &Self::Conv,
        sources: &[crate::layout::Source<'_, Self>],
        first_row: usize,
        layout: Layout,
        output: &mut [Self],
    );
}

impl Arithmetic for u8 {
    type Conv = IntegerConv;

    fn pack(
        kernel: usize,
        weights: &Weights,
        sources: &[&Map],
        output: &Map,
    ) -> Option<IntegerConv> {
        let Weights::Integer { weight, scale, bias } = weights else { return None };
        let (from, to) = (sources.first()?.grid?, output.grid?);
        let multiplier: Vec<f32> =
            scale.iter().map(|scale| from.scale * scale / to.scale).collect();
        let sources: Vec<usize> = sources.iter().map(|map| map.channels).collect();
        Some(IntegerConv::pack(&Plain {
            kernel,
            weight,
            bias,
            multiplier: &multiplier,
            sources: &sources,
            top: to.top,
            full_inputs: from.top > 127,
        }))
    }

    fn convolve_rows(
        form: Form,
        conv: &IntegerConv,
        sources: &[crate::layout::Source<'_, u8>],
        first_row: usize,
        layout: Layout,
        output: &mut [u8],
    ) {
        crate::kernels::integer::convolve_rows(form, conv, sources, first_row, layout, output);
    }
}

impl Arithmetic for f32 {
    type Conv = RealConv;

    fn pack(kernel: usize, weights: &Weights, sources: &[&Map], output: &Map) -> Option<RealConv> {
        let Weights::Real { weight, bias } = weights else { return None };
        let sources: Vec<usize> = sources.iter().map(|map| map.channels).collect();
        Some(RealConv::pack(kernel, weight, bias, &sources, output.side))
    }

    fn convolve_rows(
        form: Form,
        conv: &RealConv,
        sources: &[crate::layout::Source<'_, f32>],
        first_row: usize,
        layout: Layout,
        output: &mut [f32],
    ) {
        crate::kernels::real::convolve_rows(form, conv, sources, first_row, layout, output);
    }
}

impl<E: Arithmetic> Program<E> {
    /// Lowers `network`, whose maps must all be of this arithmetic.
    ///
    /// # Errors
    /// A layer that reads what it cannot read in this form.
    pub fn lower(network: &Network) -> Result<Self, Unknown> {
        if !network.side.is_multiple_of(FIRST_PIXELS) {
            return Err(refused(network, 0, "has a side that is no multiple of four pixels"));
        }
        let drafts = drafts(network)?;
        let mut memory = Memory::plan(network, &drafts);
        let mut steps = Vec::new();
        for draft in &drafts {
            steps.push(step(network, draft, &mut memory)?);
        }
        let head = &network.heads[0];
        if network.heads.iter().any(|other| other.input != head.input) {
            return Err(refused(network, head.input, "the maps' heads read different maps"));
        }
        Ok(Self {
            side: network.side,
            steps,
            heads_input: memory.place(network, head.input),
            heads: map_heads::<E>(network),
            class_weight: scaled::<E>(network, &network.glaucoma).collect(),
            class_bias: network.glaucoma.bias,
            slots: memory.slots,
        })
    }
}

/// A map that is read.
#[derive(Clone, Copy)]
struct Read {
    map: MapId,
    /// The map that it is upsampled from; then only that one lies anywhere.
    from: Option<MapId>,
}

impl Read {
    /// The map that lies in memory.
    fn lying(self) -> MapId {
        self.from.unwrap_or(self.map)
    }
}

/// A step before its map has a place: what is read and made. The layer is a convolution, or there is none.
struct Draft<'a> {
    reads: Vec<Read>,
    makes: Option<MapId>,
    pooled: Option<MapId>,
    layer: Option<&'a Layer>,
}

/// The layers in order, pools and upsamplings joined to convolutions and concatenations dissolved.
fn drafts(network: &Network) -> Result<Vec<Draft<'_>>, Unknown> {
    let itself = |map| vec![Read { map, from: None }];
    let mut parts: Vec<Vec<Read>> = (0..network.maps.len()).map(itself).collect();
    let mut drafts: Vec<Draft<'_>> = Vec::new();
    let mut class_read = false;
    for layer in &network.layers {
        let (reads, output) = match layer {
            Layer::Conv { input, output, .. } => {
                let reads = input.map_or_else(Vec::new, |map| parts[map].clone());
                if reads.iter().filter(|read| read.from.is_some()).count() > 1 {
                    return Err(refused(network, *output, "reads two upsampled maps"));
                }
                (reads, *output)
            }
            Layer::Upsample { input, output } => match parts[*input][..] {
                [Read { map, from: None }] => {
                    parts[*output] = vec![Read { map: *output, from: Some(map) }];
                    continue;
                }
                _ => return Err(refused(network, *output, "upsamples what is no map in memory")),
            },
            Layer::Concat { inputs, output } => {
                parts[*output] = inputs.iter().flat_map(|map| parts[*map].clone()).collect();
                continue;
            }
            Layer::Pool { input, output } => {
                let conv = drafts.iter_mut().find(|draft| {
                    draft.makes == Some(*input) && matches!(draft.layer, Some(Layer::Conv { .. }))
                });
                match conv {
                    Some(conv) if conv.pooled.is_none() => conv.pooled = Some(*output),
                    _ => return Err(refused(network, *output, "pools no convolution's map")),
                }
                continue;
            }
        };
        drafts.push(Draft { reads, makes: Some(output), pooled: None, layer: Some(layer) });
        if output == network.glaucoma.input {
            drafts.push(Draft { reads: itself(output), makes: None, pooled: None, layer: None });
            class_read = true;
        }
    }
    let lies = matches!(parts[network.heads[0].input][..], [Read { from: None, .. }]);
    if !class_read || !lies {
        return Err(refused(network, network.glaucoma.input, "a head reads no convolution's map"));
    }
    Ok(drafts)
}

fn refused(network: &Network, map: MapId, reason: &str) -> Unknown {
    Unknown {
        node: network.maps[map].name.clone(),
        operator: "layer".into(),
        reason: reason.into(),
    }
}

fn step<E: Arithmetic>(
    network: &Network,
    draft: &Draft<'_>,
    memory: &mut Memory,
) -> Result<Step<E>, Unknown> {
    let maps = &network.maps;
    let (Some(made), Some(Layer::Conv { input, kernel, weights, .. })) = (draft.makes, draft.layer)
    else {
        let place = memory.place(network, draft.reads[0].map);
        return Ok(Step { name: "peaks".into(), macs: 0, output: place, work: Work::Peaks(place) });
    };
    let map = &maps[made];
    let pooled = draft.pooled.map(|map| memory.place(network, map));
    let wrong = || refused(network, made, "has weights of another kind than its maps");
    let inputs: usize = match input {
        None => 3,
        Some(_) => draft.reads.iter().map(|read| maps[read.map].channels).sum(),
    };
    let macs = (inputs * kernel * kernel * map.channels * map.side * map.side) as u64;
    let work = match (input, weights) {
        (Some(_), _) => {
            let sources: Vec<&Map> = draft.reads.iter().map(|read| &maps[read.map]).collect();
            let conv = E::pack(*kernel, weights, &sources, map).ok_or_else(wrong)?;
            let inputs = draft.reads.iter().map(|read| read_by::<E>(network, *read, memory));
            Work::Conv(conv, inputs.collect(), pooled)
        }
        (None, Weights::Real { weight, bias }) if *kernel == 3 => {
            let (step, top) = (E::step(map.grid), E::top(map.grid));
            Work::First(FirstConv::pack(weight, bias, step, top), pooled)
        }
        (None, _) => return Err(wrong()),
    };
    Ok(Step { name: map.name.clone(), macs, output: memory.place(network, made), work })
}

/// A map as a convolution reads it.
fn read_by<E: Element>(network: &Network, read: Read, memory: &Memory) -> Input {
    let place = memory.place(network, read.lying());
    let Some(from) = read.from else { return Input::Map(place) };
    let (from, to) = (&network.maps[from], &network.maps[read.map]);
    let ratio = E::step(from.grid) / E::step(to.grid);
    Input::Upsampled(place, Upsampling::new(from.side, ratio, E::top(to.grid)))
}

/// A head's weights times the step of what it reads.
fn scaled<E: Element>(network: &Network, head: &Head) -> impl Iterator<Item = f32> {
    let step = E::step(network.maps[head.input].grid);
    head.weight.iter().map(move |weight| weight * step)
}

fn map_heads<E: Element>(network: &Network) -> MapHeads {
    let weights =
        network.heads.each_ref().map(|head| scaled::<E>(network, head).collect::<Vec<_>>());
    let blocks = weights[0].len().div_ceil(BLOCK);
    let lanes = |head: &Vec<f32>, block: usize| -> Lanes {
        std::array::from_fn(|lane| head.get(block * BLOCK + lane).copied().unwrap_or(0.0))
    };
    MapHeads {
        weights: (0..blocks)
            .map(|block| weights.each_ref().map(|head| lanes(head, block)))
            .collect(),
        bias: network.heads.each_ref().map(|head| head.bias),
    }
}

/// Which piece of memory each map lies in. A piece is used again once nothing more reads its map.
struct Memory {
    slots: Vec<usize>,
    slot_of: Vec<Option<usize>>,
}

impl Memory {
    fn plan(network: &Network, drafts: &[Draft<'_>]) -> Self {
        let mut memory = Self { slots: Vec::new(), slot_of: vec![None; network.maps.len()] };
        let last_read = |map: MapId| {
            let heads = network.heads.iter().any(|head| head.input == map);
            let last =
                drafts.iter().rposition(|draft| draft.reads.iter().any(|read| read.lying() == map));
            if heads { Some(usize::MAX) } else { last }
        };
        let mut free: Vec<usize> = Vec::new();
        for (at, draft) in drafts.iter().enumerate() {
            for map in draft.makes.into_iter().chain(draft.pooled) {
                let wanted = layout(network, map).len();
                memory.slot_of[map] = Some(memory.take(&mut free, wanted));
            }
            // Behind the step: what it reads may lie in none of the pieces that it writes.
            let made_now = draft.makes.into_iter().chain(draft.pooled);
            for map in draft.reads.iter().map(|read| read.lying()).chain(made_now) {
                let over = last_read(map).is_none_or(|last| last <= at);
                if let Some(slot) = memory.slot_of[map].filter(|slot| over && !free.contains(slot))
                {
                    free.push(slot);
                }
            }
        }
        memory
    }

    /// The smallest free piece that is large enough, else the largest one made larger, else a new one.
    fn take(&mut self, free: &mut Vec<usize>, wanted: usize) -> usize {
        let fits = free.iter().filter(|slot| self.slots[**slot] >= wanted);
        let best = fits.min_by_key(|slot| self.slots[**slot]);
        let best = best.or_else(|| free.iter().max_by_key(|slot| self.slots[**slot])).copied();
        match best {
            Some(slot) => {
                free.retain(|other| *other != slot);
                self.slots[slot] = self.slots[slot].max(wanted);
                slot
            }
            None => {
                self.slots.push(wanted);
                self.slots.len() - 1
            }
        }
    }

    /// Where `map` lies. A map that no step makes, which is a concatenation or upsampled, has no place
    /// of its own; nothing asks for one.
    fn place(&self, network: &Network, map: MapId) -> Place {
        Place { slot: self.slot_of[map].unwrap_or(0), layout: layout(network, map) }
    }
}

fn layout(network: &Network, map: MapId) -> Layout {
    let Map { channels, side, .. } = network.maps[map];
    Layout::new(channels, side)
}
