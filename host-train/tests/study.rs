//! A small study of drawn eyes: resumed where it was stopped, and everything the page promises.
#![allow(clippy::unwrap_used)]

use candle_core::Device;
use host_train::dataset::phantom::layout::{Layout, Order, write};
use host_train::study::{Part, StudyConfig, run};
use host_train::training::Control;
use std::path::Path;

/// Eight eyes to learn from, four to choose by, six to report on.
fn config(folder: &Path) -> StudyConfig {
    let eyes = folder.join("eyes");
    let order = Order {
        layout: Layout::Index,
        counts: [8, 4, 6],
        seed: 3,
        side: 200,
        glaucoma_share: 0.5,
        degraded_share: 0.0,
    };
    write(&eyes, &order, || ()).unwrap();
    let text = format!(
        "out = {:?}\nseeds = [1, 2]\nrates = [1e-3, 1e-2]\nremark = \"a <small> study\"\n\
         pretrained = {:?}\n\
         methods = [\"single\", \"independent\", \"pcgrad\"]\n\
         [training]\nepochs = 2\nbatch = 4\nvalidate_every = 1\nlog_every = 1\n\
         telemetry_every = 2\n\
         [training.optimizer]\nlr = 1e-2\n\
         [training.network]\nwidth = 0.03125\n[training.input]\nside = 32\n\
         [[training.data]]\npath = {eyes:?}\n",
        folder.join("study"),
        glaucoma_tests::golden("pretrained").join("vgg13_bn.safetensors")
    );
    let path = folder.join("study.toml");
    std::fs::write(&path, text).unwrap();
    StudyConfig::read(&path).unwrap()
}

#[test]
fn a_study_is_resumed_and_its_page_complete() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let quiet = |_: &str| ();
    // Five steps: the first network is done, the second has begun.
    let short = Control { max_steps: Some(3), ..Control::default() };
    let outcome = run(&config, Part::Table1, &short, &Device::Cpu, &quiet).unwrap();
    assert_eq!((outcome.done, outcome.planned), (0, 6));
    let control = Control::default();
    let outcome = run(&config, Part::Table1, &control, &Device::Cpu, &quiet).unwrap();
    assert_eq!((outcome.done, outcome.planned), (6, 6));
    let result = config.out.join("trials/independent-lr1e-2-seed1/result.json");
    let written = std::fs::metadata(&result).unwrap().modified().unwrap();
    let outcome = run(&config, Part::LrSweep, &control, &Device::Cpu, &quiet).unwrap();
    assert_eq!((outcome.done, outcome.planned), (8, 8));
    // Half of Table 2's trials are Table 1's.
    let outcome = run(&config, Part::Table2, &control, &Device::Cpu, &quiet).unwrap();
    assert_eq!((outcome.done, outcome.planned), (8, 8));
    assert_eq!(std::fs::metadata(&result).unwrap().modified().unwrap(), written);

    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&result).unwrap()).unwrap();
    assert_eq!(json["report"]["n"], 6);
    assert_eq!(json["part"], "test part");
    assert!(json["seconds"].as_f64().unwrap() > 0.0);
    let page = std::fs::read_to_string(&outcome.page).unwrap();
    for word in [
        "a &lt;small&gt; study",
        "MTL-IO, published",
        "92.61 ± 0.38",
        "Table 2",
        "96.15 ± 0.14",
        "independent-pretrained-lr1e-2-seed2",
        "PCGrad",
        "figure1-roc",
        "conflict: Conflict of the tasks",
        "figure2-metrics",
        "figure3-losses",
        "figure4-hard-case",
        "figure6-fovea-map",
        "independent-lr1e-3-seed2",
        "<svg",
    ] {
        assert!(page.contains(word), "{word}");
    }
    // Self-contained: nothing is fetched from elsewhere.
    assert!(!page.contains("src=\"http") && !page.contains("<link"));
    for name in [
        "figure1-roc",
        "figure2-metrics",
        "figure3-losses",
        "figure4-hard-case",
        "figure6-fovea-map",
    ] {
        for extension in ["svg", "png"] {
            assert!(config.out.join(format!("{name}.{extension}")).exists(), "{name}.{extension}");
        }
    }
}

#[test]
fn a_trial_of_another_configuration_is_not_mixed_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.methods.truncate(2);
    config.methods.remove(0);
    config.seeds = vec![1];
    let quiet = |_: &str| ();
    run(&config, Part::Table1, &Control::default(), &Device::Cpu, &quiet).unwrap();
    config.training.batch = 2;
    let error = run(&config, Part::Table1, &Control::default(), &Device::Cpu, &quiet).unwrap_err();
    assert!(error.to_string().contains("another configuration"), "{error}");
}
