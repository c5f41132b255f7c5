//! `kiosk` and `journal` from outside: a person is examined on real pixels, from the PIN to the export.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use glaucoma_tests::{retina, workspace};
use serde_json::Value;

const PIN: &str = "222222";

/// A device in a folder of its own.
struct Camp {
    folder: tempfile::TempDir,
}

impl Camp {
    /// A journal with one operator.
    fn founded() -> Self {
        Self::founded_with("")
    }

    /// The same, with more in the configuration; `{}` is the camp's folder.
    fn founded_with(more: &str) -> Self {
        let camp = Self { folder: tempfile::tempdir().unwrap() };
        let at = |name: &str| camp.path(name).display().to_string();
        let more = more.replace("{}", &at(""));
        let config = format!(
            "[camp]\nsites = [\"Huye\"]\n[journal]\nfolder = {:?}\ndevice_secret = {:?}\noutput = {:?}\n\
             [intake]\ninbox = {:?}\n{more}",
            at("journal"),
            at("secret"),
            at(""),
            at("inbox")
        );
        std::fs::write(camp.path("config.toml"), config).unwrap();
        let key = camp.journal(&["recovery-key", "--private", &at("private.key")], "");
        let key = text(&key.stdout);
        let recovery_box = at("recovery.box");
        let args = ["found", "--operator", "Asha", "--recovery-key", key.trim()];
        let args = [&args[..], &["--recovery-box", &recovery_box]].concat();
        done(&camp.journal(&args, PIN));
        camp
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn journal(&self, args: &[&str], pin: &str) -> Output {
        let config = self.path("config.toml");
        let args = [&["journal", "--config", config.to_str().unwrap()], args].concat();
        edge_infer(&args, pin)
    }

    fn day(&self, script: &str) -> Output {
        std::fs::write(self.path("day.script"), script).unwrap();
        let (config, screens) = (self.path("config.toml"), self.path("screens"));
        let display = format!("png:{}", screens.display());
        let input = format!("script:{}", self.path("day.script").display());
        let args = ["kiosk", "--config", config.to_str().unwrap()];
        edge_infer(&[&args[..], &["--display", &display, "--input", &input]].concat(), "")
    }
}

fn edge_infer(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-infer"));
    command.current_dir(workspace()).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that asks for no PIN may be gone already.
    let _ = writeln!(child.stdin.take().unwrap(), "{input}");
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// What `screen --json` says of a photograph.
fn screened(path: &Path) -> Value {
    let output = edge_infer(&["screen", path.to_str().unwrap(), "--json"], "");
    serde_json::from_str(&done(&output)).unwrap()
}

/// From the start to the home screen with [`PIN`], by the buttons.
fn unlocking() -> String {
    let down = "button down\n".repeat(3);
    let digits = "button ok\n".repeat(PIN.len());
    let up = "button up\n".repeat(3);
    format!("camera on\nbutton ok\n{down}{digits}{up}button ok\n")
}

#[test]
fn a_person_is_examined_decided_and_recorded() {
    let camp = Camp::founded();
    // The photograph that travels along shows a left eye; mirrored, it stands for a right one.
    let right = camp.path("right.png");
    let mirrored = image::imageops::flip_horizontal(&image::open(retina()).unwrap());
    mirrored.save(&right).unwrap();
    let script = format!(
        "{}\
         button ok            # new person\n\
         button ok            # make a number\n\
         button ok            # next\n\
         photograph {}        # asked for is the right eye: the alarm\n\
         button down\n\
         button ok            # it is the left eye\n\
         button ok            # next\n\
         photograph right.png\n\
         button ok            # decision\n\
         button ok            # done\n",
        unlocking(),
        retina().display()
    );
    done(&camp.day(&script));
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

/// From the home screen: registers somebody, and gives the two photographs that wait to the right and the left
/// eye; up to the decision that is saved.
const EXAMINED: &str = "\
    button ok            # new person\n\
    scan RW-7\n\
    button ok            # next\n\
    touch 445 395        # use for this eye\n\
    button ok            # next\n\
    touch 445 395        # use for this eye\n\
    button ok            # decision\n\
    button ok            # done\n";

#[test]
fn photographs_come_from_a_card_and_results_go_to_two_servers() {
    let (pictures, results) = (Server::start(stored), Server::start(transacted));
    let camp = Camp::founded_with(&format!(
        "folders = [\"{{}}card\"]\n\
         [outbox]\nserial = \"EI-1\"\ndelete_after_days = 0\n\
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
        ("[outbox]\nserial = \"\"\n", "outbox.serial"),
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
