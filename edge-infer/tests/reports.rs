//! `journal export` from outside: every kind of file, with identity and without, again and in part.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use edge_infer::kiosk::config::DeviceNames;
use edge_infer::reports::{self, Format, What};
use embedded_graphics::pixelcolor::RgbColor;
use glaucoma_common::photo::sha256_hex;
use glaucoma_common::reading::Laterality;
use glaucoma_kiosk::theme;
use glaucoma_kiosk::words::Language;
use glaucoma_records::clock::Timestamp;
use glaucoma_records::export::Identity;
use glaucoma_records::journal::{Journal, Settings};
use glaucoma_records::visit::{Decision, EyeExam, Finding, ModelName, Person, Sex, Uid, Visit};
use glaucoma_tests::retina;
use image::RgbImage;
use serde_json::Value;
use support::camp::{Camp, PIN, done, one_person, text};

const ALL: &str = "csv,json,fhir,dicom,pdf,png";

/// Every file under `folder`, by its path in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inside) = folders.pop() {
        for entry in std::fs::read_dir(inside).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}

fn of_kind<'a>(files: &'a BTreeMap<String, Vec<u8>>, ending: &str) -> Vec<&'a Vec<u8>> {
    files.iter().filter(|(name, _)| name.ends_with(ending)).map(|(_, bytes)| bytes).collect()
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What `journal export` wrote, and what it said.
fn exported(camp: &Camp, folder: &str, args: &[&str]) -> (BTreeMap<String, Vec<u8>>, String) {
    let out = camp.path(folder);
    let standard = ["export", "--operator", "Asha", "--out", out.to_str().unwrap()];
    let output = camp.journal(&[&standard[..], args].concat(), PIN);
    done(&output);
    (files(&out), text(&output.stderr))
}

#[test]
fn a_day_is_exported_in_every_form_and_again() {
    let camp = Camp::founded();
    one_person(&camp);
    let (written, said) = exported(&camp, "out/new", &["--format", ALL]);
    assert!(!said.contains("outlines") && !said.contains("not exported"), "{said}");
    let kinds = ["csv", "json", "dcm", "pdf", "png"].map(|kind| of_kind(&written, kind).len());
    assert_eq!(kinds, [1, 2, 4, 1, 1], "{:?}", written.keys());
    let visits: Value = serde_json::from_slice(&written["visits.json"]).unwrap();
    let visit = &visits["visits"][0];
    let uid = visit["visit"].as_str().unwrap();
    let bundle: Value = serde_json::from_slice(&written[&format!("fhir/{uid}.json")]).unwrap();
    assert_eq!(bundle["type"], "transaction");
    // The photograph is in its object as it came from the camera.
    let left = visit["exams"].as_array().unwrap().iter().find(|exam| exam["eye"] == "left");
    let object = format!("dicom/{}.dcm", left.unwrap()["uid"].as_str().unwrap());
    assert!(has(&written[&object], &std::fs::read(retina()).unwrap()));
    // A page with two photographs and their outlines.
    let page = image::load_from_memory(&written[&format!("reports/{uid}.png")]).unwrap().to_rgb8();
    assert_eq!(page.dimensions(), (1654, 2339));
    for half in [0, 827] {
        let drawn = outline(&page, half);
        assert!(drawn > 500, "{drawn} pixels of the disc's outline");
    }
    let pdf = &written[&format!("reports/{uid}.pdf")];
    assert!(pdf.starts_with(b"%PDF-") && pdf.len() < 1 << 20, "{} bytes", pdf.len());

    // Over itself, after a part of it went missing: the same files, but for the audit's head, which unlocking moved on.
    std::fs::remove_file(camp.path("out/new").join(&object)).unwrap();
    std::fs::write(camp.path("out/new/reports/x.pdf.7.partial"), "half").unwrap();
    let (again, _) = exported(&camp, "out/new", &["--format", ALL]);
    let names: Vec<_> = written.keys().collect();
    assert_eq!(again.keys().collect::<Vec<_>>(), names);
    for (name, bytes) in written.iter().filter(|(name, _)| !name.starts_with("reports/")) {
        assert!(*name == "visits.json" || again[name] == *bytes, "{name}");
    }
}

/// Pixels in the colour of the disc's outline, in the half of a page that begins at `left`, above its legend.
fn outline(page: &RgbImage, left: u32) -> usize {
    let color = [theme::DISC.r(), theme::DISC.g(), theme::DISC.b()];
    let near = |pixel: &image::Rgb<u8>| (0..3).all(|c| pixel.0[c].abs_diff(color[c]) < 40);
    let half = page.enumerate_pixels().filter(|(x, ..)| (left..left + 827).contains(x));
    half.filter(|(_, y, pixel)| *y < 1400 && near(pixel)).count()
}

#[test]
fn without_identity_nobody_is_named_and_pixels_stay_unless_vouched_for() {
    let camp = Camp::founded();
    one_person(&camp);
    let (open, _) = exported(&camp, "open", &["--format", ALL]);
    let bare = ["--format", ALL, "--without-identity"];
    let (hidden, said) = exported(&camp, "hidden", &bare);
    assert!(said.contains("2 photographs may show who somebody is and were left out"), "{said}");
    assert_eq!(of_kind(&hidden, "dcm").len(), 0);
    assert_eq!(of_kind(&hidden, "pdf").len(), 1);
    let (vouched, said) =
        exported(&camp, "vouched", &[&bare[..], &["--pixels-name-nobody"]].concat());
    assert!(!said.contains("left out"), "{said}");
    assert_eq!(of_kind(&vouched, "dcm").len(), 4);

    let visits: Value = serde_json::from_slice(&open["visits.json"]).unwrap();
    let visit = &visits["visits"][0];
    let exam = &visit["exams"][0];
    let mut secrets: Vec<&str> =
        [&visit["visit"], &visit["person"], &exam["uid"], &exam["photograph_sha256"]]
            .map(|value| value.as_str().unwrap())
            .into();
    let begun = visit["begun_at"].as_str().unwrap();
    let day = begun[..10].replace('-', "");
    secrets.extend(["Huye", "Asha", &begun[..10], &day]);
    secrets.push("serialNumber");
    // What is compressed holds any few letters by chance; the page's words are not the file's.
    let words = |name: &str| !name.starts_with("reports/");
    for secret in secrets {
        let named = |(name, bytes): &(&String, &Vec<u8>)| {
            name.contains(secret) || words(name) && has(bytes, secret.as_bytes())
        };
        assert!(open.iter().any(|file| named(&file)), "{secret} would be found if it were there");
        for file in hidden.iter().chain(&vouched) {
            assert!(!named(&file), "{secret} in {}", file.0);
        }
    }
    // The same pseudonym and the same UIDs in every form.
    let csv = text(&vouched["visits.csv"]);
    let pseudonym = csv.lines().nth(1).unwrap().split(',').nth(2).unwrap();
    let page = vouched.keys().find(|name| name.ends_with(".pdf")).unwrap();
    let study = page.trim_start_matches("reports/").trim_end_matches(".pdf");
    for bytes in of_kind(&vouched, "dcm") {
        assert!(has(bytes, pseudonym.as_bytes()) && has(bytes, study.as_bytes()));
    }
    assert!(has(&vouched[&format!("fhir/{study}.json")], pseudonym.as_bytes()));
}

#[test]
fn days_choose_and_what_cannot_be_written_is_named() {
    let camp = Camp::founded();
    one_person(&camp);
    let lines = |args: &[&str]| {
        let (files, _) = exported(&camp, "days", &[&["--format", "csv"], args].concat());
        text(&files["visits.csv"]).lines().count() - 1
    };
    assert_eq!(lines(&[]), 1);
    assert_eq!(lines(&["--to", "2020-01-31"]), 0);
    assert_eq!(lines(&["--from", "2020-01-31"]), 1);
    let export = |out: &Path, args: &[&str]| {
        let standard = ["export", "--operator", "Asha", "--out", out.to_str().unwrap()];
        let output = camp.journal(&[&standard[..], args].concat(), PIN);
        (output.status.code(), text(&output.stderr))
    };
    let (code, said) = export(&camp.path("days"), &["--from", "31.1.2020"]);
    assert!(code == Some(2) && said.contains("2026-05-01"), "{said}");
    let (code, said) = export(&camp.path("config.toml").join("x"), &[]);
    assert!(code == Some(2) && said.contains("config.toml"), "{said}");

    // One photograph is damaged: it is named, the rest is written.
    let sealed = std::fs::read_dir(camp.path("journal/sealed")).unwrap().next().unwrap().unwrap();
    let mut bytes = std::fs::read(sealed.path()).unwrap();
    bytes[100] ^= 1;
    std::fs::write(sealed.path(), bytes).unwrap();
    let (code, said) = export(&camp.path("rest"), &["--format", "dicom,pdf"]);
    assert!(code == Some(2) && said.contains("not exported") && said.contains(".dcm"), "{said}");
    let rest = files(&camp.path("rest"));
    assert_eq!((of_kind(&rest, "dcm").len(), of_kind(&rest, "pdf").len()), (2, 1));
}

/// A journal with one visit, whose right eye's photograph its source says something of.
fn journal(folder: &Path, burned_in: Option<bool>) -> Journal {
    let journal =
        Journal::open(Settings::new(folder.join("journal"), folder.join("secret"))).unwrap();
    let (_, public) = glaucoma_records::seal::RecoveryKey::generate();
    journal.found("Asha", PIN, public).unwrap();
    let bytes = std::fs::read(retina()).unwrap();
    let person = Person {
        id: "P-1".into(),
        name: Some("Nobody".into()),
        age_years: Some(93),
        sex: Sex::Male,
    };
    let mut visit = Visit {
        uid: Uid("2.25.1".into()),
        person,
        site: "Huye".into(),
        operator: "Asha".into(),
        begun_at: "2026-05-01T09:30:00Z".into(),
        note: None,
        without_photograph: Vec::new(),
        exams: Vec::new(),
        decision: None,
        decided_by: None,
    };
    journal.begin_visit(&visit).unwrap();
    let exam = EyeExam {
        uid: Uid("2.25.2".into()),
        eye: Laterality::Right,
        eye_seen: None,
        eye_confirmed: false,
        taken_at: "2026-05-01T09:31:00Z".into(),
        photograph_sha256: sha256_hex(&bytes),
        photograph_type: "image/jpeg".into(),
        burned_in,
        finding: Finding::Ungradable { reasons: vec!["glare".into()] },
        model: ModelName { name: "m".into(), version: "1".into(), sha256: "ab".repeat(32) },
    };
    journal.record_exam(&visit.uid, &exam, bytes).unwrap();
    visit.decision = Some(Decision::Refer { reasons: vec!["ungradable_right".into()] });
    journal.decide_visit(&visit.uid, visit.decision.as_ref().unwrap(), &[]).unwrap();
    journal
}

fn what(
    identity: Identity,
    vouched: bool,
    programme: &glaucoma_exchange::fhir::Programme,
) -> What<'_> {
    What {
        formats: &[Format::Dicom, Format::Png],
        identity,
        vouched,
        period: reports::always(),
        language: Language::En,
        bundle: None,
        programme,
    }
}

#[test]
fn what_a_source_says_of_its_pixels_decides() {
    let programme = DeviceNames::default().programme();
    for (burned_in, vouched, objects) in [
        (Some(true), false, 0),
        (Some(true), true, 0),
        (Some(false), false, 2),
        (None, false, 0),
        (None, true, 2),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let reader = journal(folder.path(), burned_in).reader().unwrap();
        let out = folder.path().join("hidden");
        let done =
            reports::export(&reader, &out, &what(Identity::Removed, vouched, &programme)).unwrap();
        let written = files(&out);
        assert_eq!(of_kind(&written, "dcm").len(), objects, "{burned_in:?}, vouched: {vouched}");
        assert_eq!(done.withheld, u32::from(objects == 0));
        let page = image::load_from_memory(of_kind(&written, "png")[0]).unwrap().to_rgb8();
        assert_eq!(red(&page) > 100_000, objects == 2, "a retina on the page");
        let out = folder.path().join("open");
        let done =
            reports::export(&reader, &out, &what(Identity::Kept, false, &programme)).unwrap();
        assert_eq!((done.withheld, done.burned_in), (0, u32::from(burned_in == Some(true))));
        assert_eq!(of_kind(&files(&out), "dcm").len(), 2);
    }
}

/// Pixels in the colours of a retina.
fn red(page: &RgbImage) -> usize {
    page.pixels().filter(|it| it.0[0] > 60 && it.0[0] / 2 > it.0[2]).count()
}

#[test]
fn a_stick_gets_a_folder_of_the_day_and_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let reader = journal(folder.path(), None).reader().unwrap();
    let mut programme = DeviceNames::default().programme();
    programme.station.serial = "camp/7: é".into();
    let today = Timestamp::parse("2026-05-01T23:59:59Z").unwrap();
    let what = what(Identity::Kept, false, &programme);
    let count = reports::export_day(&reader, folder.path(), today, &what).unwrap();
    assert_eq!(count, 1);
    let at: PathBuf = folder.path().join("edge-infer-2026-05-01-camp_7___");
    assert_eq!(of_kind(&files(&at), "png").len(), 1, "{:?}", files(folder.path()).keys());
    let gone = folder.path().join("config/none");
    std::fs::write(folder.path().join("config"), "a file").unwrap();
    let error = reports::export_day(&reader, &gone, today, &what).unwrap_err();
    assert!(error.to_string().contains("config"), "{error}");
}
