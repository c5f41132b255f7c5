//! Importers on a small tree of each layout, and on the real folders where they are at hand.
#![allow(clippy::unwrap_used)]

use super::check::{Report, Summary, check};
use super::*;
use glaucoma_common::preprocess::NativePoint;
use image::{GrayImage, Luma, Rgb, RgbImage};
use std::fs;

/// Writes a photograph that differs from every other `seed`'s: a bright circle on black.
fn photo(path: &Path, width: u32, height: u32, seed: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let (cx, cy) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
    let radius = cx.min(cy) * 0.95;
    let picture = RgbImage::from_fn(width, height, |x, y| {
        let inside = (f64::from(x) - cx).hypot(f64::from(y) - cy) < radius;
        if inside { Rgb([180, 90, 40 + seed * 3]) } else { Rgb([0; 3]) }
    });
    picture.save(path).unwrap();
}

/// A mask in REFUGE's levels: rim 128 within 20 pixels of the middle, cup 0 within 10.
fn refuge_mask(path: &Path, width: u32, height: u32) {
    grey(path, width, height, |distance| match distance {
        d if d < 10.0 => 0,
        d if d < 20.0 => 128,
        _ => 255,
    });
}

fn grey(path: &Path, width: u32, height: u32, level: impl Fn(f64) -> u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let (cx, cy) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
    let distance = |x: u32, y: u32| (f64::from(x) - cx).hypot(f64::from(y) - cy);
    GrayImage::from_fn(width, height, |x, y| Luma([level(distance(x, y))])).save(path).unwrap();
}

fn xlsx(path: &Path, rows: &[&[&str]]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet();
    for (r, row) in (0u32..).zip(rows) {
        for (c, cell) in (0u16..).zip(*row) {
            match cell.parse::<f64>() {
                Ok(number) => sheet.write_number(r, c, number).unwrap(),
                Err(_) => sheet.write_string(r, c, *cell).unwrap(),
            };
        }
    }
    book.save(path).unwrap();
}

fn report(dir: &Path) -> Report {
    check(&[open(dir).unwrap()], &|| ()).remove(0)
}

fn kinds(report: &Report) -> Vec<(String, ProblemKind)> {
    let name = |problem: &Problem| relative_name(&report.root, &problem.file);
    report.problems.iter().map(|problem| (name(problem), problem.kind)).collect()
}

fn relative_name(root: &Path, file: &Path) -> String {
    table::relative(root, file)
}

fn challenge_tree(root: &Path) {
    for (folder, name, seed) in [("Glaucoma", "g0001", 0), ("Non-Glaucoma", "n0001", 1)] {
        photo(&root.join(format!("Training400/{folder}/{name}.jpg")), 200, 180, seed);
        let masks = root.join("Annotation-Training400/Annotation-Training400/Disc_Cup_Masks");
        refuge_mask(&masks.join(format!("{folder}/{name}.bmp")), 200, 180);
    }
    xlsx(
        &root.join("Annotation-Training400/Annotation-Training400/Fovea_location.xlsx"),
        &[
            &["ID", "ImgName", "Fovea_X", "Fovea_Y"],
            &["1", "g0001.jpg", "60.5", "90.25"],
            &["2", "n0001.jpg", "140", "91"],
        ],
    );
    photo(&root.join("REFUGE-Validation400/V0001.jpg"), 160, 160, 2);
    refuge_mask(&root.join("REFUGE-Validation400-GT/Disc_Cup_Masks/V0001.bmp"), 160, 160);
    xlsx(
        &root.join("REFUGE-Validation400-GT/Fovea_locations.xlsx"),
        &[
            &["ID", "ImgName", "Fovea_X", "Fovea_Y", "Glaucoma Label"],
            &["1", "V0001.jpg", "50", "80", "1"],
        ],
    );
    photo(&root.join("REFUGE-Test400/Test400/T0001.jpg"), 160, 160, 3);
    refuge_mask(&root.join("REFUGE-Test-GT/Disc_Cup_Masks/T0001.bmp"), 160, 160);
    xlsx(
        &root.join("REFUGE-Test-GT/Glaucoma_label_and_Fovea_location.xlsx"),
        &[
            &["ID", "ImgName", "Label(Glaucoma=1)", "Fovea_X", "Fovea_Y"],
            &["1", "T0001.jpg", "0", "51", "81"],
        ],
    );
}

#[test]
fn refuge_as_the_challenge_has_it() {
    let dir = tempfile::tempdir().unwrap();
    challenge_tree(dir.path());
    let report = report(dir.path());
    assert_eq!(report.problems, []);
    let expected = Summary {
        photographs: 4,
        parts: [2, 1, 1],
        glaucoma: 2,
        healthy: 2,
        disc: 4,
        cup: 4,
        fovea: 4,
        complete: 4,
        ..Summary::default()
    };
    assert_eq!(report.summary, expected);
    let dataset = open(dir.path()).unwrap();
    let find = |id: &str| dataset.samples.iter().find(|s| s.id == id).unwrap();
    let first = find("refuge/Training400/Glaucoma/g0001.jpg");
    assert_eq!(first.truth.fovea, Some(NativePoint { x: 60.5, y: 90.25 }));
    assert_eq!((first.truth.glaucoma, first.part), (Some(true), Some(Part::Train)));
    let test = find("refuge/REFUGE-Test400/Test400/T0001.jpg");
    assert_eq!((test.truth.glaucoma, test.part), (Some(false), Some(Part::Test)));
    assert_eq!(dataset.part(Part::Validation).len(), 1);
    let area = |mask: &Option<MaskTruth>| {
        mask.as_ref().unwrap().source.load_native(200, 180).unwrap().area() as f64
    };
    let pi = std::f64::consts::PI;
    assert!((area(&first.truth.disc) - 400.0 * pi).abs() < 40.0);
    assert!((area(&first.truth.cup) - 100.0 * pi).abs() < 20.0);
}

#[test]
fn refuge_with_everything_wrong_names_every_file() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    challenge_tree(root);
    let masks = root.join("Annotation-Training400/Annotation-Training400/Disc_Cup_Masks");
    fs::remove_file(masks.join("Glaucoma/g0001.bmp")).unwrap();
    refuge_mask(&masks.join("Non-Glaucoma/n0001.bmp"), 100, 90);
    refuge_mask(&masks.join("Non-Glaucoma/n0009.bmp"), 100, 90);
    fs::copy(
        root.join("REFUGE-Test400/Test400/T0001.jpg"),
        root.join("REFUGE-Validation400/V0001.jpg"),
    )
    .unwrap();
    let cut = fs::read(root.join("Training400/Glaucoma/g0001.jpg")).unwrap();
    fs::write(root.join("Training400/Glaucoma/g0001.jpg"), &cut[..cut.len() / 2]).unwrap();
    photo(&root.join("Training400/Glaucoma/g0002.jpg"), 200, 180, 9);
    fs::write(root.join("Training400/Glaucoma/g0003.jpg"), "text").unwrap();
    xlsx(
        &root.join("REFUGE-Test-GT/Glaucoma_label_and_Fovea_location.xlsx"),
        &[
            &["ID", "ImgName", "Label(Glaucoma=1)", "Fovea_X", "Fovea_Y"],
            &["1", "T0001.jpg", "7", "5100", "81"],
            &["2", "T0002.jpg", "0", "50", "left"],
        ],
    );
    let report = report(root);
    let table = "REFUGE-Test-GT/Glaucoma_label_and_Fovea_location.xlsx";
    let train = "Annotation-Training400/Annotation-Training400/Disc_Cup_Masks/Non-Glaucoma";
    let has = |file: &str, kind: ProblemKind| {
        let found = kinds(&report).contains(&(file.to_owned(), kind));
        assert!(found, "{kind} of {file} is missing from\n{report}");
    };
    has("Training400/Glaucoma/g0001.jpg", ProblemKind::Truncated);
    has("Training400/Glaucoma/g0001.jpg", ProblemKind::Missing);
    has("Training400/Glaucoma/g0002.jpg", ProblemKind::Missing);
    has("Training400/Glaucoma/g0003.jpg", ProblemKind::Unreadable);
    has(&format!("{train}/n0001.bmp"), ProblemKind::SizeMismatch);
    has(&format!("{train}/n0009.bmp"), ProblemKind::NotListed);
    has(table, ProblemKind::BadAnnotation);
    has(table, ProblemKind::Missing);
    has("REFUGE-Test400/Test400/T0001.jpg", ProblemKind::OutOfImage);
    has("REFUGE-Test400/Test400/T0001.jpg", ProblemKind::Missing);
    // Files are looked at in the order of their names: the test part comes first.
    has("REFUGE-Validation400/V0001.jpg", ProblemKind::Duplicate);
    let text = report.to_string();
    assert!(text.contains("row 2: the glaucoma label is 7, neither 0 nor 1"), "{text}");
    assert!(text.contains("row 3: Fovea_Y is `left`, not a number"), "{text}");
}

#[test]
fn refuge_converted() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (folder, name, seed) in [("train", "g0001", 0), ("train", "n0002", 1), ("test", "T0001", 2)]
    {
        photo(&root.join(format!("{folder}/images/{name}.jpg")), 200, 180, seed);
        refuge_mask(&root.join(format!("{folder}/seg/{name}.bmp")), 200, 180);
    }
    fs::write(
        root.join("train/index.json"),
        r#"{"0": {"ImgName": "g0001.jpg", "Fovea_X": 60.5, "Fovea_Y": 90, "Size_X": 200, "Size_Y": 180, "Label": 1},
            "1": {"ImgName": "n0002.jpg", "Fovea_X": 61.5, "Fovea_Y": 91, "Size_X": 200, "Size_Y": 180, "Label": 0}}"#,
    )
    .unwrap();
    fs::write(
        root.join("test/index.json"),
        r#"[{"ImgName": "T0001.jpg", "Fovea_X": 1, "Fovea_Y": 2, "Label": 0}]"#,
    )
    .unwrap();
    let found = report(root);
    assert_eq!(found.problems, []);
    assert_eq!(found.summary.parts, [2, 0, 1]);
    assert_eq!((found.summary.complete, found.summary.glaucoma), (3, 1));
    // A wrong size, a mask gone, a photograph that no entry names.
    fs::write(
        root.join("test/index.json"),
        r#"{"0": {"ImgName": "T0001.jpg", "Fovea_X": 1, "Fovea_Y": 2, "Size_X": 180, "Size_Y": 200, "Label": 0},
            "1": {"ImgName": "T0002.jpg", "Fovea_X": 1, "Fovea_Y": 2, "Label": 0}}"#,
    )
    .unwrap();
    fs::remove_file(root.join("train/seg/n0002.bmp")).unwrap();
    photo(&root.join("train/images/n0003.jpg"), 200, 180, 5);
    let expected = [
        ("test/images/T0001.jpg", ProblemKind::SizeMismatch),
        ("test/images/T0002.jpg", ProblemKind::Missing),
        ("train/images/n0003.jpg", ProblemKind::NotListed),
        ("train/seg/n0002.bmp", ProblemKind::Missing),
    ];
    assert_eq!(kinds(&report(root)), expected.map(|(file, kind)| (file.to_owned(), kind)));
}

#[test]
fn idrid() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    photo(&root.join("images/seg/IDRiD_01.jpg"), 200, 150, 0);
    photo(&root.join("images/loc/test/IDRiD_001.jpg"), 200, 150, 1);
    photo(&root.join("images/loc/test/IDRiD_002.jpg"), 200, 150, 2);
    grey(&root.join("masks/od/IDRiD_01_OD.png"), 200, 150, |d| if d < 15.0 { 255 } else { 0 });
    grey(&root.join("masks/od/IDRiD_77_OD.png"), 200, 150, |_| 0);
    fs::write(
        root.join("annotations.csv"),
        "image,width,height,od_mask,fovea_x,fovea_y,od_x,od_y,same_photo_in_localisation_set,dr_grade,dme_risk\n\
         images/loc/test/IDRiD_001.jpg,200,150,,80,70,140,71,,0,0\n\
         images/seg/IDRiD_01.jpg,200,150,masks/od/IDRiD_01_OD.png,,,,,,,\n\
         images/seg/IDRiD_02.jpg,200,150,,1,1,1,1,,,\n",
    )
    .unwrap();
    let report = report(root);
    let expected = [
        ("images/loc/test/IDRiD_002.jpg", ProblemKind::NotListed),
        ("images/seg/IDRiD_02.jpg", ProblemKind::Missing),
        ("masks/od/IDRiD_77_OD.png", ProblemKind::NotListed),
    ];
    assert_eq!(kinds(&report), expected.map(|(file, kind)| (file.to_owned(), kind)));
    let truth = &open(root).unwrap().samples[0].truth;
    assert_eq!(truth.fovea, Some(NativePoint { x: 80.0, y: 70.0 }));
    assert_eq!(truth.disc_center, Some(NativePoint { x: 140.0, y: 71.0 }));
    assert_eq!((report.summary.disc, report.summary.fovea, report.summary.photographs), (1, 1, 2));
}

#[test]
fn hygd() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (name, seed) in [("1_0", 0), ("1_1", 1), ("2_0", 2)] {
        photo(&root.join(format!("images/{name}.jpg")), 150, 150, seed);
    }
    fs::write(
        root.join("annotations.csv"),
        "image,width,height,patient,label,quality_score\nimages/1_0.jpg,150,150,1,GON+,5.5\n\
         images/1_1.jpg,150,150,1,GON+,3.25\nimages/2_0.jpg,150,151,2,maybe,4\n",
    )
    .unwrap();
    let report = report(root);
    let expected = [
        ("annotations.csv", ProblemKind::BadAnnotation),
        ("images/2_0.jpg", ProblemKind::SizeMismatch),
        ("images/2_0.jpg", ProblemKind::Unlabelled),
    ];
    assert_eq!(kinds(&report), expected.map(|(file, kind)| (file.to_owned(), kind)));
    let samples = open(root).unwrap().samples;
    assert_eq!(samples[1].truth.quality_score, Some(3.25));
    assert_eq!(samples[1].patient.as_deref(), Some("1"));
    assert_eq!(
        (report.summary.patients, report.summary.glaucoma, report.summary.unlabelled),
        (2, 2, 1)
    );
}

#[test]
fn hrf_and_machine_made_masks() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("hrf");
    photo(&root.join("images/01_g.jpg"), 300, 200, 0);
    photo(&root.join("images/01_h.jpg"), 300, 200, 1);
    let expert = |e: &str| format!("expert{e}_disc_x,expert{e}_disc_y,expert{e}_disc_diameter");
    fs::write(
        root.join("annotations.csv"),
        format!(
            "image,width,height,label,{},{}\nimages/01_g.jpg,300,200,glaucoma,200,90,40,204,92,44\n\
             images/01_h.jpg,300,200,healthy,100,90,40,,,\n",
            expert("A"),
            expert("B")
        ),
    )
    .unwrap();
    assert_eq!(report(&root).problems, []);
    let mut samples = open(&root).unwrap().samples;
    let center = NativePoint { x: 202.0, y: 91.0 };
    let circle = MaskTruth::real(MaskSource::Circle { center, diameter: 42.0 });
    assert_eq!(samples[0].truth.disc, Some(circle.clone()));
    assert_eq!(samples[1].truth.disc_center, Some(NativePoint { x: 100.0, y: 90.0 }));

    let pseudo_dir = dir.path().join("pseudo");
    refuge_mask(&pseudo_dir.join("hrf/01_g.png"), 64, 64);
    fs::write(
        pseudo_dir.join("index.csv"),
        "image,mask,crop_x,crop_y,crop_side,plausible\nhrf/images/01_g.jpg,hrf/01_g.png,100,-10,128,1\n\
         hrf/images/01_h.jpg,hrf/01_h.png,0,0,128,0\nhrf/images/02_h.jpg,hrf/02_h.png,0,0,128,1\n",
    )
    .unwrap();
    let attached = pseudo::attach(&mut samples, &pseudo_dir, false).unwrap();
    assert_eq!(
        (attached.discs, attached.cups, attached.implausible, attached.unmatched),
        (0, 1, 1, 1)
    );
    // The experts' circle stays and stays real; only the cup is machine-made.
    assert_eq!(samples[0].truth.disc, Some(circle));
    let cup = samples[0].truth.cup.as_ref().unwrap();
    assert!(cup.pseudo && samples[1].truth.cup.is_none());
    // 10 mask pixels are 20 native ones; the mask's middle (32, 32) is native (164, 54).
    let native = cup.source.load_native(300, 200).unwrap();
    let (x, y) = native.centroid().unwrap();
    assert!((x - 164.0).abs() < 1.5 && (y - 54.0).abs() < 1.5, "{x} {y}");
    assert!((native.area() as f64 - 400.0 * std::f64::consts::PI).abs() < 60.0);
    let attached = pseudo::attach(&mut samples, &pseudo_dir, true).unwrap();
    assert_eq!((attached.discs, attached.cups), (1, 0));
    assert!(samples[0].truth.disc.as_ref().unwrap().pseudo);
}

#[test]
fn drishti() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    photo(&root.join("images/drishtiGS_005.png"), 200, 160, 0);
    photo(&root.join("images/drishtiGS_006.png"), 200, 160, 1);
    let soft = |d: f64| match d {
        d if d < 10.0 => 255,
        d if d < 20.0 => 191,
        d if d < 30.0 => 128,
        _ => 0,
    };
    grey(&root.join("gt/drishtiGS_005_ODsegSoftmap.png"), 200, 160, soft);
    grey(&root.join("gt/drishtiGS_005_cupsegSoftmap.png"), 200, 160, |d| {
        if d < 8.0 { 191 } else { 64 }
    });
    fs::write(root.join("gt/drishtiGS_005_diskCenter.txt"), "80 101").unwrap();
    let report = report(root);
    let expected = [
        ("gt/drishtiGS_006_ODsegSoftmap.png", ProblemKind::Missing),
        ("gt/drishtiGS_006_cupsegSoftmap.png", ProblemKind::Missing),
        ("gt/drishtiGS_006_diskCenter.txt", ProblemKind::Missing),
        ("images/drishtiGS_006.png", ProblemKind::Unlabelled),
    ];
    let mut found = kinds(&report);
    found.sort();
    assert_eq!(found, expected.map(|(file, kind)| (file.to_owned(), kind)));
    let truth = &open(root).unwrap().samples[0].truth;
    // Row first in the file: y = 80.
    assert_eq!(truth.disc_center, Some(NativePoint { x: 101.0, y: 80.0 }));
    let disc = truth.disc.as_ref().unwrap().source.load_native(200, 160).unwrap();
    assert!((disc.area() as f64 - 400.0 * std::f64::consts::PI).abs() < 40.0);
}

#[test]
fn what_is_no_data_set_is_told_what_was_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let message = open(dir.path()).unwrap_err().to_string();
    for name in ["Training400", "index.json", "od_mask", "HYGD", "HRF", "Drishti"] {
        assert!(message.contains(name), "{message}");
    }
    assert!(matches!(open(&dir.path().join("nowhere")), Err(DatasetError::Io { .. })));
}

/// The numbers are those of the folders' own README files.
#[test]
fn the_real_folders_hold_what_their_readmes_say() {
    let summary = |folder: &str| {
        let dataset = open(&glaucoma_tests::fundus_data(folder)?).unwrap();
        assert_eq!(dataset.problems, []);
        Some(Summary::of(&dataset.samples))
    };
    if let Some(s) = summary("idrid") {
        assert_eq!(
            (s.photographs, s.disc, s.fovea, s.disc_center, s.glaucoma),
            (90, 54, 77, 77, 0)
        );
        let both = open(&glaucoma_tests::fundus_data("idrid").unwrap()).unwrap().samples;
        let both = both.iter().filter(|s| s.truth.disc.is_some() && s.truth.fovea.is_some());
        assert_eq!(both.count(), 41);
    }
    if let Some(s) = summary("hygd") {
        assert_eq!(
            (s.photographs, s.patients, s.glaucoma, s.healthy, s.disc),
            (184, 155, 92, 92, 0)
        );
    }
    if let Some(s) = summary("hrf") {
        assert_eq!(
            (s.photographs, s.glaucoma, s.healthy, s.disc_circle, s.disc),
            (20, 10, 10, 20, 0)
        );
    }
    if let Some(s) = summary("drishti-gs1") {
        assert_eq!((s.photographs, s.disc, s.cup, s.disc_center, s.glaucoma), (4, 4, 4, 4, 0));
    }
}

/// 110 of the 111 machine-made masks belong to IDRiD and HRF, 106 of the 111 are plausible.
#[test]
fn the_real_machine_made_masks_attach() {
    let folders = ["idrid", "hrf", "pseudo-odoc-masks"].map(glaucoma_tests::fundus_data);
    let [Some(idrid), Some(hrf), Some(masks)] = folders else { return };
    let mut samples = open(&idrid).unwrap().samples;
    samples.extend(open(&hrf).unwrap().samples);
    let attached = pseudo::attach(&mut samples, &masks, false).unwrap();
    assert_eq!(attached.problems, []);
    assert_eq!(attached.implausible, 5);
    assert_eq!(attached.cups + attached.unmatched, 106);
    let discs = samples.iter().filter_map(|s| s.truth.disc.as_ref()).filter(|m| m.pseudo).count();
    assert_eq!(discs, attached.discs);
}
