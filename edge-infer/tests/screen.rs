//! The command line from outside: results, the JSON contract, bad input, exit codes.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use glaucoma_common::photo::sha256_hex;
use glaucoma_tests::retina;
use image::{DynamicImage, ImageFormat, RgbImage};
use serde_json::Value;
use support::{eye, model};

fn screen(args: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edge-infer"))
        .arg("screen")
        .arg("--model")
        .arg(model())
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn objects(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Writes a file of the given bytes and gives its path.
fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.into().write_to(&mut std::io::Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    bytes
}

#[test]
fn a_photograph_gives_text_and_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("retina-result.png");
    let output = screen(&[&retina(), Path::new("--out"), &out]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for part in ["glaucoma probability", "vCDR", "disc", "cup", "fovea", "image quality", "network"]
    {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    let picture = image::open(&out).unwrap();
    assert_eq!((picture.width(), picture.height()), (1600, 960));
    // The stand-in is no U-Net: that it runs slowly is said, with the node, and nothing else.
    let warnings = text(&output.stderr);
    assert_eq!(warnings.lines().count(), 1, "{warnings}");
    assert!(warnings.contains("tract's own operators, slowly: node `"), "{warnings}");
}

#[test]
fn the_json_contract_holds_when_graded() {
    let output = screen(&[&retina(), Path::new("--json")]);
    assert_eq!(output.status.code(), Some(0));
    let found = &objects(&output)[0];
    let contract = [
        "cup",
        "disc",
        "file",
        "fovea",
        "laterality",
        "model",
        "program",
        "quality",
        "risk",
        "sha256",
        "status",
        "timing_ms",
        "vcdr",
        "vcdr_interval",
    ];
    assert_eq!(keys(found), contract);
    assert_eq!(found["file"], retina().to_str().unwrap());
    assert_eq!(found["status"], "graded");
    assert!(found["vcdr_interval"].is_null(), "the stand-in does not know its errors");
    assert_eq!(keys(&found["risk"]), ["classifier", "probability", "vcdr_model"]);
    for part in ["disc", "cup"] {
        assert_eq!(keys(&found[part]), ["center", "height", "width"]);
        assert_eq!(keys(&found[part]["center"]), ["x", "y"]);
    }
    assert_eq!(keys(&found["fovea"]), ["x", "y"]);
    assert_eq!(found["laterality"], "left");
    assert_eq!(keys(&found["quality"]), ["reasons", "verdict"]);
    assert_eq!(found["quality"]["verdict"], "gradable");
    assert_eq!(keys(&found["model"]), ["name", "sha256", "version"]);
    assert_eq!(found["model"]["sha256"], sha256_hex(&std::fs::read(model()).unwrap()));
    assert_eq!(found["sha256"], sha256_hex(&std::fs::read(retina()).unwrap()));
    let stages = ["decode", "network", "preprocess", "quality", "reading", "total"];
    assert_eq!(keys(&found["timing_ms"]), stages);

    let number = |path: &str| found.pointer(path).unwrap().as_f64().unwrap();
    let mean = f64::midpoint(number("/risk/classifier"), number("/risk/vcdr_model"));
    assert!((number("/risk/probability") - mean).abs() < 1e-12);
    let ratio = number("/cup/height") / number("/disc/height");
    assert!((number("/vcdr") - ratio).abs() < 0.01);
    // Where they really are on this photograph, in native pixels.
    let off = |part: &str, x: f64, y: f64| {
        (number(&format!("{part}/x")) - x).hypot(number(&format!("{part}/y")) - y)
    };
    assert!(off("/disc/center", 250.0, 665.0) < 40.0);
    assert!(off("/fovea", 690.0, 715.0) < 60.0);
}

#[test]
fn an_ungradable_photograph_is_a_result_without_risk() {
    let folder = tempfile::tempdir().unwrap();
    let blurred = image::imageops::fast_blur(&eye(), 12.0);
    let path = file(folder.path(), "blurred.png", &png(blurred));
    let out = folder.path().join("result.png");
    let output = screen(&[&path, Path::new("--json"), Path::new("--out"), &out]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let found = &objects(&output)[0];
    assert_eq!(found["status"], "ungradable");
    assert!(found["risk"].is_null() && found["vcdr"].is_null());
    let reasons = found["quality"]["reasons"].to_string();
    assert!(reasons.contains("out of focus"), "{reasons}");
    assert!(out.is_file());
}

#[test]
fn a_made_up_eye_is_graded() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "eye.png", &png(eye()));
    let output = screen(&[&path, Path::new("--json")]);
    let found = &objects(&output)[0];
    assert_eq!(found["status"], "graded", "{found}");
    assert_eq!(found["laterality"], "right");
}

/// Width, height, format and checksum of a PNG of 20000 x 20000 grey pixels.
const HUGE_HEADER: [u8; 17] = [
    0x00, 0x00, 0x4E, 0x20, 0x00, 0x00, 0x4E, 0x20, 0x08, 0x00, 0x00, 0x00, 0x00, 0xC6, 0x1B, 0x19,
    0xE5,
];

/// Every file that is no photograph of a retina, what its message must say, and its maker.
fn bad_files(folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let jpeg = std::fs::read(retina()).unwrap();
    let grey = DynamicImage::ImageRgb8(eye()).to_luma8();
    // A small PNG whose header says 20000 x 20000.
    let mut huge = png(image::GrayImage::new(1, 1));
    huge[16..33].copy_from_slice(&HUGE_HEADER);
    let scenery = RgbImage::from_fn(640, 480, |x, y| {
        image::Rgb([(x / 3) as u8, (y / 2) as u8, ((x * y) % 251) as u8])
    });
    vec![
        (file(folder, "empty.jpg", b""), "empty"),
        (file(folder, "text.jpg", b"This is no picture."), "neither a JPEG nor a PNG"),
        (file(folder, "half.jpg", &jpeg[..jpeg.len() / 2]), "cut off"),
        (file(folder, "tiny.png", &png(RgbImage::new(1, 1))), "1 x 1 pixels"),
        (file(folder, "huge.png", &huge), "20000 x 20000 pixels"),
        (file(folder, "black.png", &png(RgbImage::new(800, 800))), "black"),
        (file(folder, "scenery.png", &png(scenery)), "Not a fundus photograph"),
        (file(folder, "grey.png", &png(grey)), "Unexpected colours"),
    ]
}

#[test]
fn bad_files_are_named_and_the_rest_is_still_examined() {
    let folder = tempfile::tempdir().unwrap();
    let bad = bad_files(folder.path());
    let empty = folder.path().join("empty-folder");
    std::fs::create_dir(&empty).unwrap();
    let gone = folder.path().join("gone.jpg");
    let good = retina();
    let mut args: Vec<&Path> = vec![&empty, &gone];
    args.extend(bad.iter().map(|(path, _)| path.as_path()));
    args.push(&good);
    let json = Path::new("--json");
    args.push(json);
    let output = screen(&args);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    let found = objects(&output);
    assert_eq!(found.len(), bad.len() + 3);
    let mut expected = vec![(empty.clone(), "no photographs"), (gone.clone(), "cannot be read")];
    expected.extend(bad.iter().cloned());
    for ((path, message), object) in expected.iter().zip(&found) {
        let name = path.to_str().unwrap();
        let lines: Vec<&str> = said.lines().filter(|line| line.contains(name)).collect();
        assert_eq!(lines.len(), 1, "one message for {name} in\n{said}");
        assert!(lines[0].contains(message), "{}", lines[0]);
        assert_eq!(object["file"], name);
        assert_eq!(object["status"], "error");
        assert_eq!(object["quality"]["verdict"], "refused");
        assert!(object["quality"]["reasons"][0].as_str().unwrap().contains(message));
        assert!(object["risk"].is_null());
    }
    assert_eq!(found.last().unwrap()["status"], "graded");
}

#[test]
fn folders_are_examined_into_a_folder_of_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    std::fs::create_dir_all(photos.join("late")).unwrap();
    file(&photos, "b.png", &png(eye()));
    file(&photos, "a.JPG", &std::fs::read(retina()).unwrap());
    file(&photos.join("late"), "c.png", &png(eye()));
    let out = photos.join("results");
    let sized = ["--size", "480x320", "--json", "--out"].map(Path::new);
    for _again in 0..2 {
        let mut args = vec![photos.as_path()];
        args.extend(sized);
        args.push(&out);
        let output = screen(&args);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let names: Vec<String> =
            objects(&output).iter().map(|found| found["file"].to_string()).collect();
        assert_eq!(names.len(), 3, "results are no photographs: {names:?}");
        assert!(names[0].contains("a.JPG") && names[2].contains("c.png"), "{names:?}");
    }
    for name in ["a-result.png", "b-result.png", "late-c-result.png"] {
        let picture = image::open(out.join(name)).unwrap();
        assert_eq!((picture.width(), picture.height()), (480, 320));
    }
}

#[test]
fn a_wrong_command_line_or_model_ends_with_one_message() {
    let folder = tempfile::tempdir().unwrap();
    let photo = retina();
    let cases: [(&[&Path], &str); 4] = [
        (&[&photo, Path::new("--out"), Path::new("result.jpg")], "must end in .png"),
        (&[&photo, &photo, Path::new("--out"), Path::new("r.png")], "name a folder"),
        (&[&photo, Path::new("--size"), Path::new("10x10")], "from 320 to 4096"),
        (&[], "required"),
    ];
    for (args, message) in cases {
        let output = screen(args);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    let program = env!("CARGO_BIN_EXE_edge-infer");
    let gone = folder.path().join("gone.onnx");
    let output =
        Command::new(program).arg("screen").arg(&photo).arg("--model").arg(&gone).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert_eq!(said.matches("gone.onnx").count(), 1, "{said}");
    assert_eq!(said.matches("No such file").count(), 1, "{said}");
}

#[cfg(unix)]
#[test]
fn a_path_that_may_not_be_read_is_named() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    // A link that leads back up cannot be walked, whoever runs the test.
    symlink(folder.path(), folder.path().join("loop")).unwrap();
    file(folder.path(), "eye.png", &png(eye()));
    let output = screen(&[folder.path(), Path::new("--json")]);
    assert_eq!(output.status.code(), Some(2));
    let found = objects(&output);
    let statuses: Vec<&str> = found.iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["graded", "error"], "{found:?}");
    assert!(text(&output.stderr).contains("loop"));
}
