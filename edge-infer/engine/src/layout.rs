//! How a map lies in memory: rows, in each row blocks of 16 channels, in each block the pixels with
//! one pixel of border to either side, in each pixel its 16 channels.
//!
//! A row of border stands above and below. The border holds zero, so that a 3x3 convolution reads
//! it as any other pixel; blocks of channels make two maps behind each other one for whoever reads
//! them, so that a concatenation copies nothing.

/// Channels of a block; the last block of a map is filled up with channels that are zero.
pub const BLOCK: usize = 16;

/// Sides of one map in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The map's side in pixels.
    pub side: usize,
    /// Blocks of channels.
    pub blocks: usize,
}

impl Layout {
    /// Of a map of `channels` and `side` pixels.
    pub fn new(channels: usize, side: usize) -> Self {
        Self { side, blocks: channels.div_ceil(BLOCK) }
    }

    /// Of a map of twice the side.
    pub fn doubled(self) -> Self {
        Self { side: 2 * self.side, ..self }
    }

    /// Elements of one block of one row, border included.
    pub fn block_len(self) -> usize {
        (self.side + 2) * BLOCK
    }

    /// Elements of one row.
    pub fn row_len(self) -> usize {
        self.blocks * self.block_len()
    }

    /// Elements of the whole map.
    pub fn len(self) -> usize {
        (self.side + 2) * self.row_len()
    }

    /// Where the pixels of the rows inside the border begin and end.
    pub fn interior(self) -> std::ops::Range<usize> {
        self.row_len()..(self.side + 1) * self.row_len()
    }

    /// Fills the border with `zero` in `rows`, which are whole rows of the map.
    pub fn clear_edges<E: Copy>(self, rows: &mut [E], zero: E) {
        for block in rows.chunks_exact_mut(self.block_len()) {
            block[..BLOCK].fill(zero);
            block[(self.side + 1) * BLOCK..].fill(zero);
        }
    }
}

/// A map that is read, or as many of its rows as are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a, E> {
    /// The map's sides.
    pub layout: Layout,
    /// The first row that `data` holds, the border above counted as row 0.
    first: usize,
    data: &'a [E],
}

impl<'a, E> Source<'a, E> {
    /// All of a map, border included: `data` has [`Layout::len`] elements.
    pub fn whole(layout: Layout, data: &'a [E]) -> Self {
        Self { layout, first: 0, data }
    }

    /// Whole rows of a map, from row `first` on, the border above counted as row 0.
    pub fn rows(layout: Layout, first: usize, data: &'a [E]) -> Self {
        Self { layout, first, data }
    }

    /// From a row on, the border above counted as row 0.
    ///
    /// # Panics
    /// Where the source does not hold the row.
    pub fn starting_at(&self, row: usize) -> &'a [E] {
        &self.data[(row - self.first) * self.layout.row_len()..]
    }

    /// The pixels of one block in one row of the interior, without the border.
    ///
    /// # Panics
    /// Where the source does not hold the row.
    pub fn pixels(&self, row: usize, block: usize) -> &'a [E] {
        let start = block * self.layout.block_len() + BLOCK;
        &self.starting_at(row + 1)[start..start + self.layout.side * BLOCK]
    }

    /// Whether the source holds `rows` rows from row `first` on, the border above counted as row 0.
    fn holds(&self, first: usize, rows: usize) -> bool {
        self.first <= first
            && (first - self.first + rows) * self.layout.row_len() <= self.data.len()
    }
}

/// Checks that rows of a map can be computed: `sources` have the blocks of channels that were `packed` for
/// and the side of `layout`, and a map of `blocks` and `elements` of whole rows from `first_row` on lie in
/// it. Gives the number of rows. The kernels read and write by pointers on the strength of this.
///
/// # Panics
/// Where anything else was given.
pub fn checked_rows<E>(
    sources: &[Source<'_, E>],
    packed: &[usize],
    layout: Layout,
    blocks: usize,
    first_row: usize,
    elements: usize,
) -> usize {
    assert_eq!(layout.blocks, blocks, "the output has as many blocks as the weights");
    assert_eq!(sources.len(), packed.len(), "as many maps are read as were packed for");
    let rows = elements / layout.row_len();
    for (source, blocks) in sources.iter().zip(packed) {
        assert_eq!((source.layout.blocks, source.layout.side), (*blocks, layout.side));
        assert!(source.holds(first_row, rows + 2), "the rows that a kernel reads are there");
    }
    assert_eq!(elements, rows * layout.row_len(), "the output is whole rows");
    assert!(first_row + rows <= layout.side, "the rows lie in the map");
    rows
}
