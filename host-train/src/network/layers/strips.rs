//! How the 3x3 convolution cuts and packs its planes.
//!
//! A strip is four rows of one image's output. All strips of a batch are numbered through, and what
//! they need of a channel (six rows of an input, four of a gradient) is turned into six lines by
//! `winograd`. In a line strips stand one after the other with one zero between them, so that the
//! zero is the right padding of one and the left padding of the next: a tap across is nothing but
//! an offset into the line, and vectors run over the ends without a remainder. The results at the
//! zeros are computed and thrown away.

use super::simd::{LINE, Level};
use super::winograd::{LINES, Matrix, OfGradient, OfInput, ROWS, combine};
use std::cell::RefCell;
use std::ops::Range;

/// Sizes of a convolution: input (batch, inputs, height, width), output with `outputs` channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Sizes {
    pub(super) fn plane(&self) -> usize {
        self.height * self.width
    }
    /// Distance between strips in a line.
    pub(super) fn pitch(&self) -> usize {
        self.width + 1
    }
    /// Strips of an image; the last may reach below it.
    pub(super) fn strips(&self) -> usize {
        self.height.div_ceil(ROWS)
    }
    /// Positions of a line of `strips` strips, in whole vectors.
    pub(super) fn line(&self, strips: usize) -> usize {
        (strips * self.pitch()).next_multiple_of(LINE)
    }
    /// The same for a line that taps reach beyond.
    pub(super) fn input_line(&self, strips: usize) -> usize {
        self.line(strips) + LINE
    }
    /// Image and first row of a strip.
    pub(super) fn place(&self, strip: usize) -> (usize, usize) {
        (strip / self.strips(), strip % self.strips() * ROWS)
    }
}

/// `count` things in nearly equal parts of about `wanted`: number of parts, things in all but the
/// last.
pub(super) fn parts(count: usize, wanted: usize) -> (usize, usize) {
    let each = count.div_ceil(count.div_ceil(wanted.clamp(1, count)));
    (count.div_ceil(each), each)
}

thread_local! {
    // Tiles are packed thousands of times a second; fresh memory each time costs page faults.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `length` elements of any content, whose start is that of a cache line.
pub(super) fn with_scratch<R>(length: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with(|scratch| {
        let mut scratch = scratch.borrow_mut();
        if scratch.len() < length + LINE {
            scratch.resize(length + LINE, 0.0);
        }
        let start = scratch.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        f(&mut scratch[start..start + length])
    })
}

/// A channel of a tensor: its plane in image `n` starts at `n * step + at`.
#[derive(Clone, Copy)]
pub(super) struct Channel<'a> {
    pub(super) values: &'a [f32],
    pub(super) at: usize,
    pub(super) step: usize,
}

/// The six lines of `strips` of an input's channel.
pub(super) fn pack_input(
    level: Level,
    channel: Channel,
    sizes: &Sizes,
    strips: Range<usize>,
    lines: [&mut [f32]; LINES],
    zeros: &[f32],
) {
    pack::<OfInput, LINES>(level, channel, sizes, strips, lines, zeros, 1);
}

/// The six lines of `strips` of a gradient's channel.
pub(super) fn pack_gradient(
    level: Level,
    channel: Channel,
    sizes: &Sizes,
    strips: Range<usize>,
    lines: [&mut [f32]; LINES],
    zeros: &[f32],
) {
    pack::<OfGradient, ROWS>(level, channel, sizes, strips, lines, zeros, 0);
}

/// Packs strips that begin `halo` rows above their output, behind `halo` zeros; `zeros` stand for
/// the rows outside the plane.
fn pack<M: Matrix<FROM, LINES>, const FROM: usize>(
    level: Level,
    channel: Channel,
    sizes: &Sizes,
    strips: Range<usize>,
    mut lines: [&mut [f32]; LINES],
    zeros: &[f32],
    halo: usize,
) {
    let (width, pitch) = (sizes.width, sizes.pitch());
    for (k, strip) in strips.clone().enumerate() {
        let (image, first) = sizes.place(strip);
        let plane = &channel.values[image * channel.step + channel.at..][..sizes.plane()];
        let rows = std::array::from_fn(|r| match (first + r).checked_sub(halo) {
            Some(y) if y < sizes.height => &plane[y * width..][..width],
            _ => &zeros[..width],
        });
        let start = halo + k * pitch;
        let to = lines.each_mut().map(|line| {
            line[start + width] = 0.0;
            &mut line[start..start + width]
        });
        combine::<M, FROM, LINES>(level, rows, to, 0.0);
    }
    let end = halo + strips.len() * pitch;
    for line in lines {
        line[..halo].fill(0.0);
        line[end..].fill(0.0);
    }
}

/// `values` in `N` parts of one length.
pub(super) fn equal_parts<const N: usize>(values: &mut [f32]) -> [&mut [f32]; N] {
    let length = values.len() / N;
    let mut rest = values;
    std::array::from_fn(|_| {
        let (part, others) = std::mem::take(&mut rest).split_at_mut(length);
        rest = others;
        part
    })
}

/// Line `at` of each of the six groups of lines that `groups` holds one after the other.
pub(super) fn six_lines(groups: &mut [f32], at: usize, length: usize) -> [&mut [f32]; LINES] {
    equal_parts::<LINES>(groups).map(|group| &mut group[at * length..][..length])
}

/// The output's memory, shared by tasks that write disjoint parts of it.
#[derive(Clone, Copy)]
pub(super) struct Shared(*mut f32);
// SAFETY: see `part`.
#[allow(unsafe_code)]
unsafe impl Send for Shared {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}

/// A vector of `length` elements that `fill` writes: writing zeros first would be one more way
/// through memory.
///
/// # Safety
/// `fill` must write every element, and read none before.
#[allow(unsafe_code)]
pub(super) unsafe fn written(length: usize, fill: impl FnOnce(Shared)) -> Vec<f32> {
    let mut values = Vec::with_capacity(length);
    fill(Shared(values.as_mut_ptr()));
    // SAFETY: the capacity is there, and the caller vouches for the elements.
    unsafe { values.set_len(length) };
    values
}

impl Shared {
    /// # Safety
    /// `[at, at + length)` lies inside the output, which is alive, and belongs to the calling task
    /// alone.
    #[allow(unsafe_code)]
    pub(super) unsafe fn part<'a>(self, at: usize, length: usize) -> &'a mut [f32] {
        // SAFETY: the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at), length) }
    }
}
