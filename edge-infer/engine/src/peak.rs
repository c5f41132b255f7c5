//! The rate a core can reach: how fast the kernels multiply and add when everything they read lies
//! in the cache nearest to it.

use std::time::{Duration, Instant};

use crate::kernels::Form;
use crate::layout::{Layout, Source};
use crate::network::{Grid, Map, Weights};
use crate::program::Arithmetic;

/// Outputs: two blocks, the most that a register tile spans.
const OUTPUTS: usize = 32;
/// Bytes of all that one output is made of. The weights are then 18 KiB and the pixels of a register tile
/// 7 KiB at most: they fit into 32 KiB, which is what the cores of the boards have.
const BYTES: usize = 576;

/// Sides of the kernel and of the map. The kernel is one that every arithmetic computes by the definition,
/// with as many multiplications as it says; the map is whole register tiles of every form.
fn sides(form: Form, grid: Option<Grid>) -> (usize, usize) {
    match (form, grid) {
        // The matrix unit takes 3x3 kernels alone.
        #[cfg(target_arch = "x86_64")]
        (Form::Amx, Some(_)) => (3, 32),
        _ => (1, 24),
    }
}

/// Multiplications and additions, in pairs, that one thread computes in a second: the fastest of the
/// repetitions that fit into `time`, at least one. `grid` is what integer maps lie on.
///
/// Pairs are those of the convolution's definition. In f32 it is computed with fewer, the fewer the
/// larger the map (see [`crate::kernels::real`]), so that a layer may go faster than this.
///
/// `None` when this arithmetic has no weights of that kind.
pub fn macs_per_second<E: Arithmetic>(
    form: Form,
    grid: Option<Grid>,
    time: Duration,
) -> Option<f64> {
    let (kernel, side) = sides(form, grid);
    let inputs = BYTES / size_of::<E>() / (kernel * kernel);
    let map = |channels| Map { name: String::new(), channels, side, grid };
    let (read, made) = (map(inputs), map(OUTPUTS));
    let conv = E::pack(kernel, &weights(inputs * kernel * kernel, grid), &[&read], &made)?;
    let (from, to) = (Layout::new(inputs, side), Layout::new(OUTPUTS, side));
    let (data, mut output) = (vec![E::default(); from.len()], vec![E::default(); to.len()]);
    let sources = [Source::whole(from, &data)];
    let end = Instant::now() + time;
    let mut fastest = Duration::MAX;
    loop {
        let start = Instant::now();
        E::convolve_rows(form, &conv, &sources, 0, to, &mut output[to.interior()]);
        fastest = fastest.min(start.elapsed());
        if Instant::now() >= end {
            break;
        }
    }
    let macs = (inputs * kernel * kernel * OUTPUTS * side * side) as f64;
    Some(macs / fastest.as_secs_f64().max(f64::MIN_POSITIVE))
}

/// Weights for maps on `grid`. Their values do not matter to the time: no form looks at them.
fn weights(per_output: usize, grid: Option<Grid>) -> Weights {
    let count = OUTPUTS * per_output;
    match grid {
        Some(_) => Weights::Integer {
            weight: vec![1; count],
            scale: vec![1.0; OUTPUTS],
            bias: vec![0; OUTPUTS],
        },
        None => Weights::Real { weight: vec![1.0; count], bias: vec![0.0; OUTPUTS] },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TIME: Duration = Duration::from_millis(5);

    #[test]
    fn every_form_has_a_peak_that_a_core_can_have() {
        for form in Form::available() {
            let grid = Some(Grid { scale: 1.0, top: 255 });
            let rates = [
                macs_per_second::<u8>(form, grid, TIME).unwrap(),
                macs_per_second::<f32>(form, None, TIME).unwrap(),
            ];
            // From a slow core in plain code on a busy machine to far beyond any core.
            assert!(rates.iter().all(|rate| (1e6..1e13).contains(rate)), "{form:?}: {rates:?}");
        }
    }

    #[test]
    fn weights_of_another_kind_have_none() {
        let grid = Some(Grid { scale: 1.0, top: 127 });
        assert!(macs_per_second::<f32>(Form::Portable, grid, TIME).is_none());
        assert!(macs_per_second::<u8>(Form::Portable, None, TIME).is_none());
    }
}
