//! The shipped model in every form of the engine, and beside tract's own operators.

#![allow(clippy::unwrap_used)]

use glaucoma_common::manifest::{METADATA_KEY, Manifest};
use glaucoma_common::preprocess::to_input;
use glaucoma_common::reading::NetworkOutput;
use glaucoma_common::self_test::picture;
use glaucoma_engine::{Engine, EngineKind, Form, Options, ParsedModel};
use glaucoma_tests::workspace;

fn shipped() -> (ParsedModel, Manifest) {
    let folder = workspace().join("models");
    let name = std::fs::read_to_string(folder.join("default.txt")).unwrap();
    let parsed = ParsedModel::parse(&std::fs::read(folder.join(name.trim())).unwrap()).unwrap();
    let manifest = Manifest::from_json(&parsed.metadata(METADATA_KEY).unwrap()).unwrap();
    (parsed, manifest)
}

fn answer(options: Options, pixels: impl Fn(u32) -> Vec<f32>) -> NetworkOutput {
    let (parsed, manifest) = shipped();
    let side = manifest.input.side;
    let engine = Engine::new(&parsed, side, &manifest.outputs, &options).unwrap();
    assert_eq!(engine.not_fused(), None);
    engine.run(&pixels(side)).unwrap()
}

fn drawn(side: u32) -> Vec<f32> {
    to_input(&picture(side), 1.0 / 255.0)
}

#[test]
fn every_form_and_number_of_threads_gives_the_same_bits() {
    let nothing = |side: u32| vec![0.0; 3 * side as usize * side as usize];
    let saturated = |side: u32| vec![1.0; 3 * side as usize * side as usize];
    let pictures: [fn(u32) -> Vec<f32>; 3] = [drawn, nothing, saturated];
    for pixels in pictures {
        let expected =
            answer(Options { form: Form::Portable, threads: 4, ..Options::default() }, pixels);
        for form in Form::available() {
            for threads in [1, 2, 3] {
                let options = Options { form, threads, ..Options::default() };
                assert!(answer(options, pixels) == expected, "{form:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn tracts_own_operators_say_nearly_the_same() {
    let fused = answer(Options::default(), drawn);
    let stock = answer(Options { kind: EngineKind::Stock, ..Options::default() }, drawn);
    // Both round the same maps; a sum next to a half is taken the other way by sums in f32.
    assert!((fused.glaucoma - stock.glaucoma).abs() < 0.005);
    let maps = [(&fused.disc, &stock.disc), (&fused.cup, &stock.cup), (&fused.fovea, &stock.fovea)];
    for (fused, stock) in maps {
        let differences = fused.iter().zip(stock).map(|(a, b)| f64::from((a - b).abs()));
        let mean = differences.sum::<f64>() / fused.len() as f64;
        assert!(mean < 1e-3, "{mean}");
        let spread = fused.iter().fold(0.0f32, |most, value| most.max(*value));
        assert!(spread > 0.01, "a flat map would agree with anything: {spread}");
    }
}

#[test]
fn input_that_is_no_number_or_too_short_is_refused() {
    let (parsed, manifest) = shipped();
    let side = manifest.input.side;
    for kind in [EngineKind::Fused, EngineKind::Stock] {
        let options = Options { kind, ..Options::default() };
        let engine = Engine::new(&parsed, side, &manifest.outputs, &options).unwrap();
        let mut input = drawn(side);
        input[777] = f32::NAN;
        assert!(engine.run(&input).unwrap_err().to_string().contains("777 is not finite"));
        assert!(engine.run(&input[1..]).unwrap_err().to_string().contains("expected"));
    }
}
