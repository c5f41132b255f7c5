//! `kiosk` and `journal` from outside: a person is examined on real pixels, from the PIN to the export.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use glaucoma_tests::{retina, workspace};
use serde_json::Value;

use support::camp::{Camp, EXAMINED, PIN, done, edge_infer, one_person, text, unlocking};

/// What `screen --json` says of a photograph.
fn screened(path: &Path) -> Value {
    let output = edge_infer(&["screen", path.to_str().unwrap(), "--json"], "");
    serde_json::from_str(&done(&output)).unwrap()
}

#[test]
fn a_person_is_examined_decided_and_recorded() {
    let camp = Camp::founded();
    one_person(&camp);
    let right = camp.path("right.png");
    let screens = std::fs::read_dir(camp.path("screens")).unwrap().count();
    assert!(screens > 10, "{screens} screens");

    let summary: Value = serde_json::from_str(&done(&camp.journal(&["summary"], ""))).unwrap();
    let counts = ["visits", "examined", "open", "photographs"].map(|key| summary[key].as_u64());
    assert_eq!(counts, [Some(1), Some(1), Some(0), Some(2)]);
    let verified = done(&camp.journal(&["verify", "--operator", "Asha"], PIN));
    assert!(verified.contains("2 photographs (opened): nothing is wrong"), "{verified}");

    let out = camp.path("").display().to_string();
    done(&camp.journal(&["export", "--operator", "Asha", "--out", &out], PIN));
    let visits = std::fs::read(camp.path("visits.json")).unwrap();
    let visits: Value = serde_json::from_slice(&visits).unwrap();
    let exams = visits["visits"][0]["exams"].as_array().unwrap();
    // In the order they were taken: the left eye, whatever was said at first, and the right one.
    for (exam, (eye, path)) in exams.iter().zip([("left", retina()), ("right", right)]) {
        let screened = screened(&path);
        assert_eq!(exam["eye"], eye);
        assert_eq!(screened["laterality"], eye);
        let finding = if exam["finding"].is_object() { &exam["finding"] } else { exam };
        assert_eq!(finding["probability"], screened["risk"]["probability"], "{exam}");
        assert_eq!(finding["vcdr"], screened["vcdr"], "{exam}");
    }
    assert_eq!(exams.len(), 2);
}

#[test]
fn photographs_come_from_a_card_and_results_go_to_two_servers() {
    let (pictures, results) = (Server::start(stored), Server::start(transacted));
    let camp = Camp::founded_with(&format!(
        "folders = [\"{{}}card\"]\n\
         [device]\nserial = \"EI-1\"\n[outbox]\ndelete_after_days = 0\n\
         [outbox.dicomweb]\nurl = \"{}\"\n[outbox.fhir]\nurl = \"{}\"\n",
        pictures.url, results.url
    ));
    std::fs::create_dir_all(camp.path("card/DCIM")).unwrap();
    let mirrored = image::imageops::flip_horizontal(&image::open(retina()).unwrap());
    mirrored.save(camp.path("card/DCIM/1.png")).unwrap();
    std::fs::copy(retina(), camp.path("card/DCIM/2.jpg")).unwrap();
    done(&camp.day(&format!("incoming\nincoming\n{}{EXAMINED}sent\n", unlocking())));

    let summary: Value = serde_json::from_str(&done(&camp.journal(&["summary"], ""))).unwrap();
    let counts = ["visits", "examined", "photographs"].map(|key| summary[key].as_u64());
    assert_eq!(counts, [Some(1), Some(1), Some(2)]);
    let stored = pictures.received();
    let photograph = std::fs::read(retina()).unwrap();
    let holds = |body: &[u8], part: &[u8]| body.windows(part.len()).any(|window| window == part);
    assert_eq!(stored.len(), 2);
    assert_eq!(stored.iter().filter(|body| holds(body, &photograph)).count(), 1);
    assert!(stored.iter().all(|body| holds(body, b"RW-7") && holds(body, b"EI-1")));
    let [bundle] = &results.received()[..] else { panic!("one visit, one transaction") };
    let bundle: Value = serde_json::from_slice(bundle).unwrap();
    assert_eq!(bundle["type"], "transaction");
    assert!(bundle.to_string().contains("RW-7"));
    // The card was only read; the inbox knows what it took and keeps nothing.
    assert_eq!(std::fs::read(camp.path("card/DCIM/2.jpg")).unwrap(), photograph);
    let kept: Vec<_> = std::fs::read_dir(camp.path("inbox")).unwrap().flatten().collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let taken = std::fs::read_to_string(camp.path("inbox/taken.txt")).unwrap();
    assert_eq!(taken.lines().count(), 2);
    done(&camp.journal(&["verify"], ""));
}

/// A visit that is closed without a decision leaves no photograph behind: it is delivered, then deleted here.
#[test]
fn a_closed_visit_is_delivered_and_its_photograph_deleted() {
    let (pictures, results) = (Server::start(stored), Server::start(transacted));
    let camp = Camp::founded_with(&format!(
        "[device]\nserial = \"EI-1\"\n[outbox]\ndelete_after_days = 0\n\
         [outbox.dicomweb]\nurl = \"{}\"\n[outbox.fhir]\nurl = \"{}\"\n",
        pictures.url, results.url
    ));
    let left = format!("photograph {}\nbutton down\nbutton ok\n", retina().display());
    done(&camp.day(&format!("{}button ok\nscan RW-7\nbutton ok\n{left}", unlocking())));
    assert!(pictures.received().is_empty(), "it may still come to a decision");
    let sealed = || std::fs::read_dir(camp.path("journal/sealed")).unwrap().count();
    assert_eq!(sealed(), 1);
    done(&camp.day(&format!(
        "{}button down\nbutton ok            # without a decision\n\
         button down\nbutton ok            # RW-7\n\
         button up\nbutton ok              # close without a decision\nsent\n",
        unlocking()
    )));
    assert_eq!(pictures.received().len(), 1);
    let [bundle] = &results.received()[..] else { panic!("one visit, one transaction") };
    assert!(text(bundle).contains("\"cancelled\""), "{}", text(bundle));
    // Photographs are looked for that may go when a day begins.
    done(&camp.day(&format!("{}wait 1s\n", unlocking())));
    let begun = std::time::Instant::now();
    while sealed() > 0 && begun.elapsed().as_secs() < 20 {
        done(&camp.day("wait 1s\n"));
    }
    assert_eq!(sealed(), 0);
    done(&camp.journal(&["verify"], ""));
}

/// The power goes after the first eye; the next start offers to go on, and the eye's result is there again.
#[test]
fn an_interrupted_visit_is_gone_on_with_or_closed() {
    let camp = Camp::founded();
    let interrupted = |id: &str| {
        format!(
            "{}button ok\nscan {id}\nbutton ok\nphotograph {}\n\
             button down\nbutton ok            # it is the left eye\n",
            unlocking(),
            retina().display()
        )
    };
    // The script ends as a power cut does: nothing is decided.
    done(&camp.day(&interrupted("RW-7")));
    done(&camp.day(&interrupted("RW-8")));
    let counts = |camp: &Camp| {
        let summary = done(&camp.journal(&["summary"], ""));
        let summary: Value = serde_json::from_str(&summary).unwrap();
        ["visits", "examined", "open", "closed"].map(|key| summary[key].as_u64().unwrap())
    };
    assert_eq!(counts(&camp), [2, 0, 2, 0]);
    let mirrored = image::imageops::flip_horizontal(&image::open(retina()).unwrap());
    mirrored.save(camp.path("right.png")).unwrap();
    // The latest is the first of the list.
    let script = format!(
        "{}button down\n\
         button ok            # without a decision\n\
         button down\nbutton ok            # RW-8\n\
         button up\nbutton ok            # close without a decision\n\
         button down\nbutton ok            # RW-7\n\
         button ok            # go on: the left eye's result\n\
         button ok            # next\n\
         photograph right.png\n\
         button ok            # decision\n\
         button ok            # done\n",
        unlocking()
    );
    done(&camp.day(&script));
    assert_eq!(counts(&camp), [2, 1, 0, 1]);
    let verified = done(&camp.journal(&["verify", "--operator", "Asha"], PIN));
    assert!(verified.contains("3 photographs (opened): nothing is wrong"), "{verified}");
}

/// A card with old photographs: all of them are left out at once, and the one that is taken then is offered.
#[test]
fn a_card_with_old_photographs_is_passed_over_at_once() {
    const OLD: usize = 30;
    let camp = Camp::founded_with("folders = [\"{}card\"]\n");
    std::fs::create_dir_all(camp.path("card/DCIM")).unwrap();
    let old = image::open(retina()).unwrap().thumbnail(300, 300).to_rgb8();
    for number in 0..OLD {
        let mut picture = old.clone();
        picture.put_pixel(number as u32, 0, image::Rgb([255; 3]));
        picture.save(camp.path(&format!("card/DCIM/{number:03}.png"))).unwrap();
    }
    let script = format!(
        "{}{}button down\n\
         button ok            # leave out all\n\
         button down\nbutton ok            # yes\n\
         button ok            # done\n\
         button ok            # new person\nscan RW-7\nbutton ok\n\
         incoming\n\
         button down\nbutton ok            # it is the left eye\n",
        unlocking(),
        "incoming\n".repeat(8)
    );
    let child = camp.start_day(&script);
    // The new one comes once the old ones were passed over and it is waited for; its camera believes it is 1980.
    let taken = || std::fs::read_to_string(camp.path("inbox/taken.txt")).unwrap_or_default();
    let begun = std::time::Instant::now();
    let visits = || {
        let summary = done(&camp.journal(&["summary"], ""));
        serde_json::from_str::<Value>(&summary).unwrap()["visits"].as_u64()
    };
    while (taken().lines().count() < OLD || visits() != Some(1)) && begun.elapsed().as_secs() < 100
    {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    std::fs::copy(retina(), camp.path("new")).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(315_532_800);
    std::fs::File::open(camp.path("new")).unwrap().set_modified(long_ago).unwrap();
    std::fs::rename(camp.path("new"), camp.path("card/DCIM/000-new.jpg")).unwrap();
    done(&child.wait_with_output().unwrap());
    assert_eq!(taken().lines().count(), OLD + 1);
    let summary: Value = serde_json::from_str(&done(&camp.journal(&["summary"], ""))).unwrap();
    assert_eq!(summary["photographs"], 1);
    assert_eq!(std::fs::read_dir(camp.path("card/DCIM")).unwrap().count(), OLD + 1, "the card");
    done(&camp.journal(&["verify"], ""));
}

#[cfg(unix)]
#[test]
fn a_raspberry_pis_camera_is_released_from_the_screen() {
    use std::os::unix::fs::PermissionsExt;
    let camp = Camp::founded_with("[intake.rpicam]\nprogram = \"{}camera\"\n");
    // Stands for `rpicam-still`: it names a camera, and its photograph is the one that travels along.
    let program = format!(
        "#!/bin/sh\nfor last; do :; done\ncase \"$1\" in\n\
         --list-cameras) echo '0 : imx219 [3280x2464 10-bit RGGB] (/base)' ;;\n\
         *) cp {:?} \"$last\" ;;\nesac\n",
        retina()
    );
    std::fs::write(camp.path("camera"), program).unwrap();
    std::fs::set_permissions(camp.path("camera"), PermissionsExt::from_mode(0o755)).unwrap();
    let script = format!(
        "{}button ok\nscan RW-7\nbutton ok\n\
         button ok            # take the photograph\n\
         incoming             # of a left eye, and asked for is the right one: the alarm\n\
         button down\nbutton ok\n",
        unlocking()
    );
    done(&camp.day(&script));
    let summary: Value = serde_json::from_str(&done(&camp.journal(&["summary"], ""))).unwrap();
    assert_eq!(summary["photographs"], 1);
}

/// What a server answers to the body of a request: content type and body.
type Answering = fn(&[u8]) -> (&'static str, String);

fn stored(_: &[u8]) -> (&'static str, String) {
    ("application/dicom+json", "{}".into())
}

fn transacted(body: &[u8]) -> (&'static str, String) {
    let sent: Value = serde_json::from_slice(body).unwrap();
    let entry = serde_json::json!({"response": {"status": "201 Created"}});
    let entries = vec![entry; sent["entry"].as_array().unwrap().len()];
    let answer = serde_json::json!({
        "resourceType": "Bundle", "type": "transaction-response", "entry": entries
    });
    ("application/fhir+json", answer.to_string())
}

/// An HTTP server that keeps the bodies it was sent.
struct Server {
    url: String,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Server {
    fn start(answering: Answering) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bodies = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let kept = Arc::clone(&bodies);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).unwrap();
                    if line.trim_end().is_empty() {
                        break;
                    }
                    let header = line.to_ascii_lowercase();
                    if let Some(value) = header.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let (kind, answer) = answering(&body);
                kept.lock().unwrap().push(body);
                let head = "HTTP/1.1 200 OK\r\nconnection: close";
                let length = answer.len();
                let stream = stream.get_mut();
                write!(
                    stream,
                    "{head}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{answer}"
                )
                .unwrap();
            }
        });
        Self { url, bodies }
    }

    fn received(&self) -> Vec<Vec<u8>> {
        self.bodies.lock().unwrap().clone()
    }
}

#[test]
fn a_wrong_pin_opens_nothing() {
    let camp = Camp::founded();
    let out = camp.path("").display().to_string();
    let output = camp.journal(&["export", "--operator", "Asha", "--out", &out], "333333");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("the PIN is wrong"), "{}", text(&output.stderr));
    assert!(!camp.path("visits.csv").exists());
}

#[test]
fn damage_is_named() {
    let camp = Camp::founded();
    let script = format!(
        "{}button ok\nbutton ok\nbutton ok\nphotograph {}\nbutton down\nbutton ok\n",
        unlocking(),
        retina().display()
    );
    done(&camp.day(&script));
    let mut sealed = std::fs::read_dir(camp.path("journal/sealed")).unwrap();
    let path = sealed.next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let output = camp.journal(&["verify"], "");
    assert_eq!(output.status.code(), Some(2));
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(text(&output.stderr).contains(name), "{}", text(&output.stderr));
}

#[test]
fn a_camp_works_at_the_threshold_that_its_clinic_can_cope_with() {
    let camp =
        Camp::founded_with("[camp.operating_point]\nprevalence = 0.04\nreferrals_per_1000 = 999\n");
    let asked = ["--prevalence", "0.04", "--referrals-per-1000", "999", "--json"];
    let table = done(&edge_infer(&[&["operating-point"], &asked[..]].concat(), ""));
    let chosen = &serde_json::from_str::<Value>(&table).unwrap()["chosen"]["threshold"];
    let day = camp.day("wait 1s\n");
    done(&day);
    let said = text(&day.stderr);
    assert!(said.contains(&format!("refer from a probability of {chosen}")), "{said}");

    let stand_in = workspace().join("edge-infer/tests/fixtures/colour_rules.onnx");
    let args =
        ["kiosk", "--config", &camp.path("config.toml").display().to_string()].map(String::from);
    let display = format!("png:{}", camp.path("screens").display());
    let input = format!("script:{}", camp.path("day.script").display());
    let more = ["--display", &display, "--input", &input, "--model", stand_in.to_str().unwrap()];
    let args: Vec<&str> = args.iter().map(String::as_str).chain(more).collect();
    let refused = edge_infer(&args, "");
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(
        said.contains("camp.operating_point: the model") && said.contains("no calibration table"),
        "{said}"
    );
}

#[test]
fn a_threshold_that_is_known_to_miss_most_must_be_chosen() {
    let camp = Camp::founded();
    let config = std::fs::read_to_string(camp.path("config.toml")).unwrap();
    std::fs::write(camp.path("config.toml"), config.replace("threshold = 0.5\n", "")).unwrap();
    let refused = camp.day("wait 1s\n");
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused.stderr);
    assert!(said.contains("finds 0 %") && said.contains("[camp.operating_point]"), "{said}");
}

#[test]
fn what_is_not_a_configuration_is_refused_by_its_key() {
    let camp = Camp::founded();
    for (config, word) in [
        ("[camp]\nretake = 3\n", "retake"),
        ("[camp]\nsites = []\n", "camp.sites"),
        ("[camp]\nthreshold = 1.5\n", "camp.threshold"),
        ("[camp.operating_point]\nprevalence = 0.04\n", "camp.operating_point: one of"),
        (
            "[camp.operating_point]\nprevalence = 1.0\nppv = 0.3\n",
            "camp.operating_point: prevalence",
        ),
        (
            "[camp]\nthreshold = 0.4\n[camp.operating_point]\nprevalence = 0.04\nppv = 0.3\n",
            "camp.threshold and camp.operating_point",
        ),
        ("[display]\nlanguage = \"xx\"\n", "display.language"),
        ("[intake]\nfolders = [\"/var\"]\n", "intake.folders"),
        ("[device]\nserial = \"\"\n", "device.serial"),
        ("[intake.v4l]\nrate = 5\n", "rate"),
        if cfg!(target_os = "linux") {
            ("[intake.v4l]\nwidth = 641\n", "intake.v4l: 641 x 1080")
        } else {
            ("[intake.v4l]\nwidth = 640\n", "intake.v4l: on Linux alone")
        },
    ] {
        std::fs::write(camp.path("config.toml"), config).unwrap();
        let output = camp.day("wait 1s\n");
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(word), "{}", text(&output.stderr));
    }
    let printed = done(&edge_infer(&["kiosk", "--print-config"], ""));
    std::fs::write(camp.path("config.toml"), printed).unwrap();
    let output = camp.day("no step\n");
    assert!(text(&output.stderr).contains("line 1"), "{}", text(&output.stderr));
}
