//! Runs a program: its steps in order, each on all threads at once, rows apart.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use glaucoma_common::reading::NetworkOutput;
use rayon::prelude::*;

use crate::kernels::Form;
use crate::kernels::elementwise::{
    FirstConv, first_rows, head_rows, pool_rows, sigmoid, upsample_rows,
};
use crate::kernels::real::LARGE_TILES_FROM;
use crate::layout::{BLOCK, Layout, Source};
use crate::program::{Arithmetic, Place, Program, Work};

/// Threads to compute with.
#[derive(Debug)]
pub enum Threads {
    /// The calling thread alone.
    Caller,
    /// A pool of several.
    Pool(rayon::ThreadPool),
}

impl Threads {
    /// `count` threads; one or none is the calling thread.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn new(count: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        if count < 2 {
            return Ok(Self::Caller);
        }
        let builder = rayon::ThreadPoolBuilder::new().num_threads(count);
        builder.thread_name(|at| format!("engine-{at}")).build().map(Self::Pool)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Caller => 1,
            Self::Pool(pool) => pool.current_num_threads(),
        }
    }

    /// Calls `work` with each part of `parts` and its number.
    fn each<T: Send>(&self, parts: impl Iterator<Item = T>, work: impl Fn(usize, T) + Sync) {
        match self {
            Self::Caller => parts.enumerate().for_each(|(at, part)| work(at, part)),
            Self::Pool(pool) => {
                let parts: Vec<T> = parts.collect();
                pool.install(|| {
                    let parts = parts.into_par_iter().with_max_len(1).enumerate();
                    parts.for_each(|(at, part)| work(at, part));
                });
            }
        }
    }
}

/// The memory of one run.
#[derive(Debug)]
struct Workspace<E> {
    slots: Vec<Vec<E>>,
    image: Vec<f32>,
    logits: Vec<[f32; 3]>,
}

/// A program with threads and memory. Several callers may run it at once; each has its own memory.
#[derive(Debug)]
pub struct Runner<E: Arithmetic> {
    program: Program<E>,
    form: Form,
    threads: Threads,
    idle: Mutex<Vec<Workspace<E>>>,
}

/// How long one step took.
#[derive(Debug, Clone, PartialEq)]
pub struct Lap {
    /// The map that was made.
    pub name: String,
    /// What was done: `conv`, `upsample` or `heads`.
    pub kind: &'static str,
    /// Multiplications and additions, in pairs.
    pub macs: u64,
    /// Wall time.
    pub time: Duration,
}

impl<E: Arithmetic> Runner<E> {
    /// Makes `program` ready, with the memory of one run.
    pub fn new(program: Program<E>, form: Form, threads: Threads) -> Self {
        let runner = Self { program, form, threads, idle: Mutex::default() };
        runner.give_back(runner.new_workspace());
        runner
    }

    /// The program.
    pub fn program(&self) -> &Program<E> {
        &self.program
    }

    /// The instructions it computes with.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Runs on `image`, three channels of side x side, and says how long each step took.
    pub fn run_timed(&self, image: &[f32], lap: &mut dyn FnMut(Lap)) -> NetworkOutput {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut workspace = idle.unwrap_or_else(|| self.new_workspace());
        let output = self.run_in(&mut workspace, image, lap);
        self.give_back(workspace);
        output
    }

    fn new_workspace(&self) -> Workspace<E> {
        let side = self.program.side;
        Workspace {
            slots: self.program.slots.iter().map(|length| vec![E::default(); *length]).collect(),
            image: vec![0.0; 3 * (side + 2) * (side + 2)],
            logits: vec![[0.0; 3]; side * side],
        }
    }

    fn give_back(&self, workspace: Workspace<E>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
    }

    fn run_in(
        &self,
        workspace: &mut Workspace<E>,
        image: &[f32],
        lap: &mut dyn FnMut(Lap),
    ) -> NetworkOutput {
        let program = &self.program;
        let Workspace { slots, image: bordered, logits } = workspace;
        add_border(image, program.side, bordered);
        let mut class = program.class_bias;
        for step in &program.steps {
            let start = Instant::now();
            let kind = match &step.work {
                Work::First(conv, pooled) => {
                    self.first(slots, conv, bordered, step.output, *pooled);
                    "conv"
                }
                Work::Conv(conv, inputs, pooled) => {
                    self.conv(slots, conv, inputs, step.output, *pooled);
                    "conv"
                }
                Work::Upsample { input, ratio, top } => {
                    self.upsample(slots, *input, step.output, *ratio, *top);
                    "upsample"
                }
                Work::Peaks(input) => {
                    class += self.class(source(slots, *input));
                    "heads"
                }
            };
            lap(Lap { name: step.name.clone(), kind, macs: step.macs, time: start.elapsed() });
        }
        let start = Instant::now();
        self.heads(source(slots, program.heads_input), logits);
        let output = NetworkOutput {
            side: program.side as u32,
            glaucoma: sigmoid(class),
            disc: logits.iter().map(|logits| sigmoid(logits[0])).collect(),
            cup: logits.iter().map(|logits| sigmoid(logits[1])).collect(),
            fovea: logits.iter().map(|logits| sigmoid(logits[2])).collect(),
        };
        let macs = (program.heads.weights.len() * BLOCK * 3 * logits.len()) as u64;
        lap(Lap { name: "heads".into(), kind: "heads", macs, time: start.elapsed() });
        output
    }

    fn first(
        &self,
        slots: &mut [Vec<E>],
        conv: &FirstConv,
        image: &[f32],
        output: Place,
        pooled: Option<Place>,
    ) {
        self.make(slots, output, pooled, |_, first_row, rows| {
            first_rows(self.form, conv, image, first_row, output.layout, rows);
        });
    }

    fn conv(
        &self,
        slots: &mut [Vec<E>],
        conv: &E::Conv,
        inputs: &[Place],
        output: Place,
        pooled: Option<Place>,
    ) {
        self.make(slots, output, pooled, |slots, first_row, rows| {
            // One map is read, or the two of a concatenation.
            let first = source(slots, inputs[0]);
            let sources = [first, inputs.get(1).map_or(first, |input| source(slots, *input))];
            let sources = &sources[..inputs.len().min(2)];
            E::convolve_rows(self.form, conv, sources, first_row, output.layout, rows);
        });
    }

    fn upsample(&self, slots: &mut [Vec<E>], input: Place, output: Place, ratio: f32, top: f32) {
        self.make(slots, output, None, |slots, first_row, rows| {
            let source = source(slots, input);
            let mut scratch = vec![0.0; input.layout.side * BLOCK];
            upsample_rows(self.form, source, first_row, ratio, top, &mut scratch, rows);
        });
    }

    /// Makes the map at `output` (and its 2x2 maximum at `pooled`) by calling `compute` with the
    /// other maps, a first row and whole rows to fill in, on all threads.
    fn make(
        &self,
        slots: &mut [Vec<E>],
        output: Place,
        pooled: Option<Place>,
        compute: impl Fn(&[Vec<E>], usize, &mut [E]) + Sync,
    ) {
        // Taken out, so that the others can be read meanwhile.
        let mut map = std::mem::take(&mut slots[output.slot]);
        let mut small = pooled.map(|place| std::mem::take(&mut slots[place.slot]));
        let layout = output.layout;
        let tile = self.tile_rows(layout.side);
        let rows = interior(&mut map, layout).chunks_mut(tile * layout.row_len());
        let half = Layout { side: layout.side / 2, ..layout };
        let mut halves = small
            .iter_mut()
            .flat_map(|small| interior(small, half).chunks_mut((tile / 2).max(1) * half.row_len()));
        let parts = rows.map(|rows| (rows, halves.next()));
        let slots_read: &[Vec<E>] = slots;
        self.threads.each(parts, |at, (rows, halves)| {
            compute(slots_read, at * tile, rows);
            layout.clear_edges(rows, E::default());
            if let Some(halves) = halves {
                pool_rows(self.form, layout, rows, halves);
                half.clear_edges(halves, E::default());
            }
        });
        slots[output.slot] = map;
        if let (Some(place), Some(small)) = (pooled, small) {
            slots[place.slot] = small;
        }
    }

    /// Rows that one thread computes at a time: an even number (of a large map a multiple of four),
    /// enough of them that weights are used several times while they are near, few enough that all
    /// threads have something to do.
    fn tile_rows(&self, side: usize) -> usize {
        let share = side.div_ceil(self.threads.count());
        let step = if side < LARGE_TILES_FROM { 2 } else { 4 };
        share.min(MOST_TILE_ROWS).next_multiple_of(step)
    }

    fn class(&self, source: Source<'_, E>) -> f32 {
        let layout = source.layout;
        let mut sum = 0.0;
        for (block, weights) in self.program.class_weight.chunks(BLOCK).enumerate() {
            let mut peaks = [E::default(); BLOCK];
            for row in 0..layout.side {
                for pixel in source.pixels(row, block).as_chunks::<BLOCK>().0 {
                    for (peak, value) in peaks.iter_mut().zip(pixel) {
                        *peak = if *value > *peak { *value } else { *peak };
                    }
                }
            }
            for (weight, peak) in weights.iter().zip(peaks) {
                sum += weight * peak.widen();
            }
        }
        sum
    }

    fn heads(&self, source: Source<'_, E>, logits: &mut [[f32; 3]]) {
        let side = source.layout.side;
        let tile = self.tile_rows(side);
        self.threads.each(logits.chunks_mut(tile * side), |at, rows| {
            head_rows(self.form, &self.program.heads, source, at * tile, rows);
        });
    }
}

/// Rows of a tile at most: at 256 px and 64 channels they and what they read stay in a second-level
/// cache of 512 KiB.
const MOST_TILE_ROWS: usize = 16;

fn source<E>(slots: &[Vec<E>], place: Place) -> Source<'_, E> {
    Source { layout: place.layout, data: &slots[place.slot][..place.layout.len()] }
}

/// The rows inside the border, with the rows of the border cleared.
fn interior<E: Copy + Default>(map: &mut [E], layout: Layout) -> &mut [E] {
    let inside = layout.interior();
    map[..inside.start].fill(E::default());
    map[inside.end..layout.len()].fill(E::default());
    &mut map[inside]
}

fn add_border(image: &[f32], side: usize, bordered: &mut [f32]) {
    let wide = side + 2;
    for (row, pixels) in image.chunks_exact(side).enumerate() {
        let (channel, y) = (row / side, row % side);
        let start = (channel * wide + y + 1) * wide + 1;
        bordered[start..start + side].copy_from_slice(pixels);
    }
}
