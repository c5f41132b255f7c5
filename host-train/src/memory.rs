//! Keeps large freed blocks for the next allocation of their size.
//!
//! A training step allocates the same large tensors again and again. Returned to the system, each
//! costs a page fault every four kilobytes when it comes back: about a quarter of the CPU time of a
//! step. The blocks kept here make the program at most a quarter larger than it was at its own peak.

// An allocator hands out raw memory.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::{Mutex, PoisonError};

/// Smaller blocks are the system allocator's business, which keeps them itself.
const LARGE: usize = 512 * 1024;
/// Blocks kept at most.
const SLOTS: usize = 512;
/// What may be kept beside the most that was in use, as a part of it. The blocks of a step do not fit the
/// gaps that the step before left exactly: with nothing, three hundred of the nine hundred megabytes of a
/// step of the full network were returned and asked for again.
const SLACK: usize = 4;

/// The system allocator, with freed blocks of 512 KiB and more kept for reuse at their exact size.
///
/// The bytes in use and the bytes kept together never exceed the most that was ever in use by more than a
/// quarter.
#[derive(Debug)]
pub struct Recycler {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// Address and layout, oldest first.
    blocks: [(usize, Layout); SLOTS],
    count: usize,
    bytes: usize,
    in_use: usize,
    most_in_use: usize,
}

impl Recycler {
    /// An empty one, for a `#[global_allocator]`.
    pub const fn new() -> Self {
        let nothing = (0, Layout::new::<u8>());
        let blocks = [nothing; SLOTS];
        Self { kept: Mutex::new(Kept { blocks, count: 0, bytes: 0, in_use: 0, most_in_use: 0 }) }
    }

    /// A kept block of this layout, now counted as in use; if there is none, room for a new one.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // The youngest is the likeliest to be in a cache still.
        let found = (0..kept.count).rev().find(|&at| kept.blocks[at].1 == layout);
        let block = found.map(|at| kept.remove(at).0 as *mut u8);
        kept.in_use += layout.size();
        let most = kept.most_in_use + kept.most_in_use / SLACK;
        while kept.count > 0 && kept.in_use + kept.bytes > most {
            let (address, layout) = kept.remove(0);
            // SAFETY: the block came from the system with this layout, and nobody else has it.
            unsafe { System.dealloc(address as *mut u8, layout) };
        }
        kept.most_in_use = kept.most_in_use.max(kept.in_use);
        block
    }

    /// Keeps a block; false where there is no slot and the system must have it.
    fn keep(&self, block: *mut u8, layout: Layout) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.in_use -= layout.size();
        if kept.count == SLOTS {
            return false;
        }
        let at = kept.count;
        kept.blocks[at] = (block as usize, layout);
        kept.count += 1;
        kept.bytes += layout.size();
        true
    }
}

impl Default for Recycler {
    fn default() -> Self {
        Self::new()
    }
}

impl Kept {
    fn remove(&mut self, at: usize) -> (usize, Layout) {
        let block = self.blocks[at];
        self.blocks.copy_within(at + 1..self.count, at);
        self.count -= 1;
        self.bytes -= block.1.size();
        block
    }
}

// SAFETY: every block comes from the system allocator with the layout asked for, is handed out to
// one owner at a time (the table is behind a mutex), and goes back with the same layout. Nothing
// here allocates, so the allocator does not call itself.
unsafe impl GlobalAlloc for Recycler {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let kept = if layout.size() < LARGE { None } else { self.take(layout) };
        // SAFETY: the caller's layout.
        kept.unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let kept = if layout.size() < LARGE { None } else { self.take(layout) };
        match kept {
            Some(block) => {
                // SAFETY: the block has at least this size and belongs to the caller now.
                unsafe { block.write_bytes(0, layout.size()) };
                block
            }
            // SAFETY: the caller's layout.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.size() < LARGE || !self.keep(block, layout) {
            // SAFETY: the block came from the system with this layout.
            unsafe { System.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.size() < LARGE && size < LARGE {
            // SAFETY: the block came from the system with this layout.
            return unsafe { System.realloc(block, layout, size) };
        }
        // SAFETY: the size is the caller's, the alignment that of an existing layout; both blocks
        // are valid for the shorter length and do not overlap.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                block.copy_to_nonoverlapping(new, layout.size().min(size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 16).unwrap()
    }

    #[test]
    fn a_freed_block_comes_back_zeroed_if_asked_and_the_peak_hardly_grows() {
        let memory = Recycler::new();
        let size = 3 * LARGE;
        // SAFETY: blocks are used within their size and freed with their layout.
        unsafe {
            let first = memory.alloc(layout(size));
            first.write_bytes(7, size);
            memory.dealloc(first, layout(size));
            let second = memory.alloc_zeroed(layout(size));
            assert_eq!(first, second);
            assert!((0..size).all(|at| *second.add(at) == 0));
            memory.dealloc(second, layout(size));
            // Another size does not fit beside the kept block within a quarter above the peak: that
            // one must go.
            let third = memory.alloc(layout(2 * LARGE));
            {
                let kept = memory.kept.lock().unwrap();
                assert_eq!((kept.count, kept.bytes), (0, 0));
                assert_eq!((kept.in_use, kept.most_in_use), (2 * LARGE, size));
            }
            memory.dealloc(third, layout(2 * LARGE));
        }
    }

    #[test]
    fn growing_across_the_limit_keeps_the_contents() {
        let memory = Recycler::new();
        // SAFETY: as above.
        unsafe {
            let mut block = memory.alloc(layout(1000));
            (0..1000).for_each(|at| *block.add(at) = at as u8);
            let mut size = 1000;
            for next in [LARGE - 1, 2 * LARGE, 5 * LARGE, 900] {
                block = memory.realloc(block, layout(size), next);
                size = next;
                assert!((0..900).all(|at| *block.add(at) == at as u8), "{next}");
            }
            memory.dealloc(block, layout(size));
        }
        assert_eq!(memory.kept.lock().unwrap().in_use, 0);
    }
}
