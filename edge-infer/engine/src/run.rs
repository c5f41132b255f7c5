//! Runs a program: its steps in order, each on all threads at once, rows apart.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use glaucoma_common::reading::NetworkOutput;
use rayon::prelude::*;

use crate::kernels::Form;
use crate::kernels::elementwise::{
    FirstConv, Lanes, Upsampling, first_rows, head_rows, pool_rows, sigmoid, upsample_rows,
};
use crate::kernels::real::LARGE_TILES_FROM;
use crate::layout::{BLOCK, Layout, Source};
use crate::program::{Arithmetic, Input, Place, Program, Work};

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
    /// Disc, cup and fovea of each pixel.
    maps: Vec<[f32; 3]>,
    /// One a thread.
    rooms: Mutex<Vec<Room<E>>>,
}

/// Where a thread upsamples the rows that it is about to convolve.
#[derive(Debug, Clone)]
struct Room<E> {
    rows: Vec<E>,
    line: Vec<Lanes>,
}

impl<E: Arithmetic> Room<E> {
    /// Of a map of twice the side of `from`, what `rows` rows of a convolution from `first_row` on read.
    fn upsample(
        &mut self,
        form: Form,
        upsampling: &Upsampling,
        from: Source<'_, E>,
        first_row: usize,
        rows: usize,
    ) -> Source<'_, E> {
        let layout = from.layout.doubled();
        let length = (rows + 2) * layout.row_len();
        let made = &mut self.rows[..length];
        // At the map's ends its border is read, which holds zero.
        let above = usize::from(first_row == 0);
        let below = usize::from(first_row + rows == layout.side);
        let (start, end) = (above * layout.row_len(), length - below * layout.row_len());
        made[..start].fill(E::default());
        made[end..].fill(E::default());
        let inside = &mut made[start..end];
        let first_inside = first_row + above - 1;
        upsample_rows(form, upsampling, from, first_inside, &mut self.line, inside);
        layout.clear_edges(inside, E::default());
        Source::rows(layout, first_row, made)
    }
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
    /// What was done: `conv`, which includes upsampling what is read and pooling what is made, or `heads`.
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
            maps: vec![[0.0; 3]; side * side],
            rooms: Mutex::new(vec![self.new_room(); self.threads.count()]),
        }
    }

    /// Large enough for a tile of any map that is upsampled.
    fn new_room(&self) -> Room<E> {
        let inputs = self.program.steps.iter().filter_map(|step| match &step.work {
            Work::Conv(_, inputs, _) => Some(inputs),
            _ => None,
        });
        let upsampled = inputs.flatten().filter_map(Input::upsampled).map(|(from, _)| {
            let layout = from.layout.doubled();
            (self.tile_rows(layout.side) + 2) * layout.row_len()
        });
        Room { rows: vec![E::default(); upsampled.max().unwrap_or(0)], line: Vec::new() }
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
        let Workspace { slots, image: bordered, maps, rooms } = workspace;
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
                    self.conv(slots, rooms, conv, inputs, step.output, *pooled);
                    "conv"
                }
                Work::Peaks(input) => {
                    class += self.class(source(slots, *input));
                    "heads"
                }
            };
            lap(Lap { name: step.name.clone(), kind, macs: step.macs, time: start.elapsed() });
        }
        let start = Instant::now();
        self.heads(source(slots, program.heads_input), maps);
        let output = NetworkOutput {
            side: program.side as u32,
            glaucoma: sigmoid(class),
            disc: maps.iter().map(|maps| maps[0]).collect(),
            cup: maps.iter().map(|maps| maps[1]).collect(),
            fovea: maps.iter().map(|maps| maps[2]).collect(),
        };
        let macs = (program.heads.weights.len() * BLOCK * 3 * maps.len()) as u64;
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
        rooms: &Mutex<Vec<Room<E>>>,
        conv: &E::Conv,
        inputs: &[Input],
        output: Place,
        pooled: Option<Place>,
    ) {
        let rooms = || rooms.lock().unwrap_or_else(PoisonError::into_inner);
        self.make(slots, output, pooled, |slots, first_row, rows| {
            let mut room = rooms().pop().unwrap_or_else(|| self.new_room());
            let count = rows.len() / output.layout.row_len();
            let upsampled = inputs.iter().find_map(Input::upsampled).map(|(from, upsampling)| {
                room.upsample(self.form, upsampling, source(slots, from), first_row, count)
            });
            let sources = inputs.iter().filter_map(|input| match input {
                Input::Map(place) => Some(source(slots, *place)),
                Input::Upsampled(..) => upsampled,
            });
            let sources: Vec<Source<'_, E>> = sources.collect();
            E::convolve_rows(self.form, conv, &sources, first_row, output.layout, rows);
            rooms().push(room);
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

    fn heads(&self, source: Source<'_, E>, maps: &mut [[f32; 3]]) {
        let side = source.layout.side;
        let tile = self.tile_rows(side);
        self.threads.each(maps.chunks_mut(tile * side), |at, rows| {
            head_rows(self.form, &self.program.heads, source, at * tile, rows);
            for probability in rows.as_flattened_mut() {
                *probability = sigmoid(*probability);
            }
        });
    }
}

/// Rows of a tile at most: at 256 px and 64 channels they and what they read stay in a second-level
/// cache of 512 KiB.
const MOST_TILE_ROWS: usize = 16;

fn source<E>(slots: &[Vec<E>], place: Place) -> Source<'_, E> {
    Source::whole(place.layout, &slots[place.slot][..place.layout.len()])
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
