//! The power goes while photographs are taken in and examined: each photograph is in the journal, whole, or still
//! in the inbox or on the card. None is lost, none is half there.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashSet;
use std::time::Instant;

use glaucoma_common::photo::sha256_hex;
use glaucoma_tests::retina;
use image::imageops::{FilterType, flip_horizontal, resize};
use serde_json::Value;

use support::camp::{Camp, EXAMINED, PIN, done, unlocking};

/// How often the power goes in this test, at times spread over the day.
const CUTS: u32 = 8;
const PEOPLE: u8 = 4;

/// A camp whose card holds two photographs of each of some people.
fn camp() -> Camp {
    let camp = Camp::founded_with("folders = [\"{}card\"]\n");
    std::fs::create_dir(camp.path("card")).unwrap();
    let left = image::open(retina()).unwrap().to_rgb8();
    for person in 0..PEOPLE {
        // Other pixels for each: the same bytes are the same photograph.
        let side = 640 + 20 * u32::from(person);
        let left = resize(&left, side, side, FilterType::Triangle);
        flip_horizontal(&left).save(camp.path(&format!("card/{person}-1.jpg"))).unwrap();
        left.save(camp.path(&format!("card/{person}-2.jpg"))).unwrap();
    }
    camp
}

fn script() -> String {
    let arrivals = "incoming\n".repeat(2 * usize::from(PEOPLE));
    format!("{arrivals}{}{}", unlocking(), EXAMINED.repeat(PEOPLE.into()))
}

fn hashes(camp: &Camp, folder: &str, extension: &str) -> HashSet<String> {
    let files = std::fs::read_dir(camp.path(folder)).into_iter().flatten().flatten();
    let files = files.map(|file| file.path());
    files
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| sha256_hex(&std::fs::read(path).unwrap()))
        .collect()
}

/// The hashes of the photographs in the journal, each of which opens.
fn recorded(camp: &Camp) -> HashSet<String> {
    let verified = done(&camp.journal(&["verify", "--operator", "Asha"], PIN));
    assert!(verified.contains("nothing is wrong"), "{verified}");
    let out = camp.path("").display().to_string();
    done(&camp.journal(&["export", "--operator", "Asha", "--out", &out], PIN));
    let visits: Value =
        serde_json::from_slice(&std::fs::read(camp.path("visits.json")).unwrap()).unwrap();
    let visits = visits["visits"].as_array().unwrap();
    let exams = visits.iter().flat_map(|visit| visit["exams"].as_array().unwrap());
    exams.map(|exam| exam["photograph_sha256"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn no_photograph_is_lost_when_the_power_goes() {
    let whole = camp();
    let begun = Instant::now();
    done(&whole.day(&script()));
    let day = begun.elapsed();
    let all = hashes(&whole, "card", "jpg");
    assert_eq!(recorded(&whole), all, "the day itself");
    assert!(hashes(&whole, "inbox", "photo").is_empty());
    let mut cut_in_between = 0;
    for cut in 0..CUTS {
        let camp = camp();
        let mut child = camp.start_day(&script());
        std::thread::sleep(day.mul_f64((f64::from(cut) + 0.5) / f64::from(CUTS)));
        child.kill().unwrap();
        child.wait().unwrap();
        let recorded = recorded(&camp);
        let kept = hashes(&camp, "inbox", "photo");
        let list = std::fs::read_to_string(camp.path("inbox/taken.txt")).unwrap_or_default();
        let taken: HashSet<String> =
            list.lines().filter(|line| line.len() == 64).map(str::to_owned).collect();
        assert_eq!(hashes(&camp, "card", "jpg"), all, "the card was written to");
        for photograph in &all {
            let safe = recorded.contains(photograph)
                || kept.contains(photograph)
                // The card still has it, and it will be taken again.
                || !taken.contains(photograph);
            assert!(safe, "cut {cut}: {photograph} is lost");
        }
        cut_in_between += u32::from(!recorded.is_empty() && recorded.len() < all.len());
        // And the device works again.
        let output = camp.day(&format!("{}wait 1s\n", unlocking()));
        assert_eq!(output.status.code(), Some(0));
    }
    println!(
        "{CUTS} cuts over {day:?}, {cut_in_between} of them between the first and the last exam"
    );
}
