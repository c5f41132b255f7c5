//! The convolution of integers with AMX, the matrix unit of Intel's server processors: one instruction
//! multiplies 16 neighbouring pixels, three columns of 16 inputs each, with 16 outputs.
//!
//! The lines of one row of the kernel and one block of inputs are, as they lie, the right matrix. The
//! left one are the pixels as they lie: a matrix row begins one pixel after the one above it and is three
//! pixels long. So nothing is packed for this form. What it does not take, 1x1 kernels and the pixels that
//! 16 leave over, goes to [`super::avx512`].
#![allow(unsafe_code)]

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

use super::avx512;
use super::integer::{DEPTH, IntegerConv, Line};
use super::tiles::{Tile, for_each_tile};
use crate::layout::{BLOCK, Layout, Source};

/// Side of the kernels that are computed here.
const KERNEL: usize = 3;
/// Pixels of a matrix, and its rows.
const ROWS: usize = 16;
/// Lines of a matrix of weights.
const LINES: usize = KERNEL * BLOCK / DEPTH;

/// Sums of one matrix of pixels and one block of outputs.
type Sums = [[i32; BLOCK]; ROWS];

/// Whether the processor has the unit and the system, Linux, lets this process use it, for which it wants to be
/// asked: once.
pub fn available() -> bool {
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    *ALLOWED.get_or_init(|| {
        const TILES_AND_BYTES: u32 = 1 << 24 | 1 << 25;
        let most = __cpuid_count(0, 0).eax;
        let there = most >= 7 && __cpuid_count(7, 0).edx & TILES_AND_BYTES == TILES_AND_BYTES;
        there && cfg!(target_os = "linux") && allowed()
    })
}

/// Asks Linux to keep the unit's registers for this process.
fn allowed() -> bool {
    const ARCH_PRCTL: isize = 158;
    const REQUEST_PERMISSION: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let answer: isize;
    // SAFETY: this system call reads two numbers and changes nothing but the process's permission.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    answer == 0
}

/// As [`super::integer::convolve_rows`].
pub fn convolve_rows(
    conv: &IntegerConv,
    sources: &[Source<'_, u8>],
    first_row: usize,
    layout: Layout,
    output: &mut [u8],
) {
    if conv.kernel != KERNEL || layout.side < ROWS {
        return avx512::convolve_rows(conv, sources, first_row, layout, output);
    }
    let _unit = Unit::configured();
    let mut room = Room { inputs: Vec::new(), sums: [[[0; BLOCK]; ROWS]; 4] };
    for_each_tile(conv, sources, first_row, layout, output, [2 * ROWS, ROWS, 4, 1], 2, |tile| {
        // SAFETY: `Form::available` offers this form only where the processor has these
        // instructions and the system allows them, the unit is configured, and a tile's pointers are
        // good for what its docstring says.
        unsafe {
            match (tile.pixels, tile.blocks) {
                (32, 2) => compute::<2, 2>(tile, &mut room),
                (32, _) => compute::<2, 1>(tile, &mut room),
                (ROWS, 2) => compute::<1, 2>(tile, &mut room),
                (ROWS, _) => compute::<1, 1>(tile, &mut room),
                _ => avx512::compute_rest(tile),
            }
        }
    });
}

/// What tiles need in turn.
struct Room {
    /// Where each matrix of pixels begins.
    inputs: Vec<*const u8>,
    /// Pixels first, then blocks.
    sums: [Sums; 4],
}

/// The unit, set up for the matrices used here; given back when dropped, so that the system need not
/// keep 8 KiB of registers for the thread.
struct Unit;

/// What the unit is told of its eight registers: rows, and bytes of a row.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl Unit {
    fn configured() -> Self {
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            bytes: [0; 16],
            rows: [0; 16],
        };
        // 0 to 3: sums; 4 and 5: pixels; 6 and 7: weights.
        for register in 0..8 {
            let (rows, bytes) = match register {
                0..4 => (ROWS, size_of::<Line>()),
                4..6 => (ROWS, KERNEL * BLOCK),
                _ => (LINES, size_of::<Line>()),
            };
            configuration.rows[register] = rows as u8;
            configuration.bytes[register] = bytes as u16;
        }
        // SAFETY: the processor has the instruction and the system allows it (see `available`); the
        // configuration is one that the unit takes. No other code of the process uses these registers.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly));
        }
        Self
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // SAFETY: as above; it takes no operand.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

// What is written out in the instructions below: from the first matrix of pixels to the second, and the
// sums' size.
const _: () = assert!(ROWS * BLOCK == 256 && size_of::<Sums>() == 1024);

/// Multiplies and adds over all of `$inputs`, step by step, in the registers of the unit: clears the sums,
/// repeats the steps, writes the sums.
macro_rules! multiply {
    ($inputs:ident, $tile:ident, $sums:ident, clear: $($clear:literal)*, steps: $($step:literal)*, write: $($write:literal)*) => {
        asm!(
            $($clear,)*
            "2:",
            "mov {pixels}, qword ptr [{inputs}]",
            $($step,)*
            "add {first}, {lines}",
            "add {second}, {lines}",
            "add {inputs}, 8",
            "dec {left}",
            "jnz 2b",
            $($write,)*
            pixels = out(reg) _,
            inputs = inout(reg) $inputs.as_ptr() => _,
            first = inout(reg) $tile.lines => _,
            // Of one block alone this is not read.
            second = inout(reg) $tile.lines.wrapping_add($tile.lines_per_block) => _,
            left = inout(reg) $inputs.len() => _,
            sums = in(reg) $sums.as_mut_ptr(),
            pixel = in(reg) BLOCK,
            line = in(reg) size_of::<Line>(),
            lines = const LINES * size_of::<Line>(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        )
    };
}

/// Computes `HALVES` times 16 pixels of `BLOCKS` blocks. What `room` holds before does not matter.
///
/// # Safety
/// The processor has the instructions, the unit is configured, and `tile` is as its docstring says, of that
/// many pixels and blocks and a 3x3 kernel.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn compute<const HALVES: usize, const BLOCKS: usize>(
    tile: &Tile<'_>,
    Room { inputs, sums }: &mut Room,
) {
    inputs.clear();
    for window in tile.windows() {
        for row in 0..KERNEL {
            let row = window.start.wrapping_add(row * window.row_len);
            inputs.extend((0..window.blocks).map(|at| row.wrapping_add(at * window.block_len)));
        }
    }
    // No map is without channels, but the loop below must not run 2^64 times.
    if inputs.is_empty() {
        return;
    }
    // SAFETY: of each of `inputs` 16 rows of 48 bytes are read, one pixel apart, from `HALVES` pixels: what
    // a window promises; of the weights 12 lines of each block an input, which are all of them; written
    // are the four sums.
    unsafe {
        match (HALVES, BLOCKS) {
            (2, 2) => multiply!(inputs, tile, sums,
                clear: "tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3",
                steps:
                    "tileloadd tmm4, [{pixels} + {pixel}*1]"
                    "tileloadd tmm6, [{first} + {line}*1]"
                    "tdpbusd tmm0, tmm4, tmm6"
                    "tileloadd tmm7, [{second} + {line}*1]"
                    "tdpbusd tmm1, tmm4, tmm7"
                    "tileloadd tmm5, [{pixels} + {pixel}*1 + 256]"
                    "tdpbusd tmm2, tmm5, tmm6"
                    "tdpbusd tmm3, tmm5, tmm7",
                write:
                    "tilestored [{sums} + {line}*1], tmm0"
                    "tilestored [{sums} + {line}*1 + 1024], tmm1"
                    "tilestored [{sums} + {line}*1 + 2048], tmm2"
                    "tilestored [{sums} + {line}*1 + 3072], tmm3"),
            (2, _) => multiply!(inputs, tile, sums,
                clear: "tilezero tmm0" "tilezero tmm2",
                steps:
                    "tileloadd tmm4, [{pixels} + {pixel}*1]"
                    "tileloadd tmm6, [{first} + {line}*1]"
                    "tdpbusd tmm0, tmm4, tmm6"
                    "tileloadd tmm5, [{pixels} + {pixel}*1 + 256]"
                    "tdpbusd tmm2, tmm5, tmm6",
                write:
                    "tilestored [{sums} + {line}*1], tmm0"
                    "tilestored [{sums} + {line}*1 + 2048], tmm2"),
            (_, 2) => multiply!(inputs, tile, sums,
                clear: "tilezero tmm0" "tilezero tmm1",
                steps:
                    "tileloadd tmm4, [{pixels} + {pixel}*1]"
                    "tileloadd tmm6, [{first} + {line}*1]"
                    "tdpbusd tmm0, tmm4, tmm6"
                    "tileloadd tmm7, [{second} + {line}*1]"
                    "tdpbusd tmm1, tmm4, tmm7",
                write:
                    "tilestored [{sums} + {line}*1], tmm0"
                    "tilestored [{sums} + {line}*1 + 1024], tmm1"),
            (_, _) => multiply!(inputs, tile, sums,
                clear: "tilezero tmm0",
                steps:
                    "tileloadd tmm4, [{pixels} + {pixel}*1]"
                    "tileloadd tmm6, [{first} + {line}*1]"
                    "tdpbusd tmm0, tmm4, tmm6",
                write: "tilestored [{sums} + {line}*1], tmm0"),
        }
        let top = _mm512_set1_ps(f32::from(tile.top));
        for block in 0..BLOCKS {
            let bias = _mm512_loadu_si512(tile.bias.add(block * BLOCK).cast());
            let multiplier = _mm512_loadu_ps(tile.multiplier.add(block * BLOCK));
            let output = tile.output.add(block * tile.output_block_len);
            for half in 0..HALVES {
                for (row, sum) in sums[2 * half + block].iter().enumerate() {
                    let sum = _mm512_add_epi32(_mm512_loadu_si512(sum.as_ptr().cast()), bias);
                    let bytes = avx512::requantised(sum, multiplier, top);
                    _mm_storeu_si128(output.add((half * ROWS + row) * BLOCK).cast(), bytes);
                }
            }
        }
    }
}
