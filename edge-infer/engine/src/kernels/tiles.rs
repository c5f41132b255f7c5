//! Cuts rows of a convolution's output into register tiles, for the forms that have registers.

use super::integer::{IntegerConv, Line};
use crate::layout::{BLOCK, Layout, Source};

/// Some neighbouring pixels of one row and some neighbouring blocks of outputs.
///
/// The pointers are good for: `lines` the lines of all blocks, `bias` and `multiplier` one number
/// for each of their channels, `output` all pixels of each block, the next block
/// `output_block_len` behind; each window as [`Window`] says.
// The forms for 64-bit ARM compute one block at a time.
#[cfg_attr(target_arch = "aarch64", allow(dead_code))]
pub struct Tile<'a> {
    /// Pixels of the tile.
    pub pixels: usize,
    /// Blocks of outputs of the tile.
    pub blocks: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// The first block's lines.
    pub lines: *const Line,
    /// From one block's lines to the next one's.
    pub lines_per_block: usize,
    /// The first output channel's; for 64-bit ARM [`IntegerConv::signed_bias`].
    pub bias: *const i32,
    /// The first output channel's.
    pub multiplier: *const f32,
    /// The largest output.
    pub top: u8,
    /// The first pixel of the first block.
    pub output: *mut u8,
    /// From one block of an output row to the next.
    pub output_block_len: usize,
    sources: &'a [Source<'a, u8>],
    /// Row and column, border included, of the kernel's first place at the first pixel.
    corner: (usize, usize),
}

/// What a tile reads of one map.
pub struct Window {
    /// The first block's pixel at the first place of the kernel. From there `kernel` rows,
    /// `blocks` blocks and `kernel + pixels - 1` pixels of 16 bytes may be read.
    pub start: *const u8,
    /// From one row to the next.
    pub row_len: usize,
    /// From one block to the next.
    pub block_len: usize,
    /// Blocks of inputs.
    pub blocks: usize,
}

impl Tile<'_> {
    /// What is read of each map, in the order of the lines.
    #[inline(always)]
    pub fn windows(&self) -> impl Iterator<Item = Window> {
        let (row, column) = self.corner;
        self.sources.iter().map(move |source| {
            let layout = source.layout;
            Window {
                start: source.starting_at(row)[column * BLOCK..].as_ptr(),
                row_len: layout.row_len(),
                block_len: layout.block_len(),
                blocks: layout.blocks,
            }
        })
    }
}

/// Calls `compute` for tiles that cover the rows of `output` (see
/// [`super::integer::convolve_rows`], which has checked the arguments). A tile has one of the
/// numbers of pixels in `sizes`, largest first and the last 1, and at most `most_blocks` blocks.
///
/// The rows of one group of blocks come behind each other, so that its weights stay in the cache.
#[allow(clippy::too_many_arguments)]
pub fn for_each_tile(
    conv: &IntegerConv,
    sources: &[Source<'_, u8>],
    first_row: usize,
    layout: Layout,
    output: &mut [u8],
    sizes: [usize; 4],
    most_blocks: usize,
    mut compute: impl FnMut(&Tile<'_>),
) {
    let before = 1 - conv.kernel / 2;
    let bias = if cfg!(target_arch = "aarch64") { &conv.signed_bias } else { &conv.bias };
    for block in (0..layout.blocks).step_by(most_blocks) {
        for (row, output) in output.chunks_exact_mut(layout.row_len()).enumerate() {
            let mut column = 0;
            while column < layout.side {
                let left = layout.side - column;
                let pixels = sizes.into_iter().find(|size| *size <= left).unwrap_or(1);
                let start = block * layout.block_len() + (column + 1) * BLOCK;
                compute(&Tile {
                    pixels,
                    blocks: most_blocks.min(layout.blocks - block),
                    kernel: conv.kernel,
                    lines: conv.lines[block * conv.lines_per_block()..].as_ptr(),
                    lines_per_block: conv.lines_per_block(),
                    bias: bias[block * BLOCK..].as_ptr(),
                    multiplier: conv.multiplier[block * BLOCK..].as_ptr(),
                    top: conv.top,
                    output: output[start..].as_mut_ptr(),
                    output_block_len: layout.block_len(),
                    sources,
                    corner: (first_row + row + before, column + before),
                });
                column += pixels;
            }
        }
    }
}
