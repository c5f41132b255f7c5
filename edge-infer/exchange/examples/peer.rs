//! One end of an exchange at a time, for trying it against a real other end (`tests/interop`).
//!
//! ```text
//! peer receive PORT AE_TITLE SENDER FOLDER COUNT   takes COUNT photographs by C-STORE
//! peer make PHOTOGRAPH FOLDER                      photograph.dcm, result.dcm, visit.json, deidentified.dcm and .json
//! peer echo HOST:PORT CALLING CALLED
//! peer store HOST:PORT CALLING CALLED FILE         C-STORE
//! peer stow URL FILE                               STOW-RS
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use glaucoma_common::photo::{Limits, decode};
use glaucoma_common::reading::Laterality;
use glaucoma_exchange::dicom::{Identity, Station, Subject, photograph, result};
use glaucoma_exchange::fhir::{Programme, bundle};
use glaucoma_exchange::intake::scp::Scp;
use glaucoma_exchange::intake::{self, Inbox};
use glaucoma_exchange::outbox::scu::Scu;
use glaucoma_exchange::outbox::stow::Stow;
use glaucoma_exchange::outbox::{Deliver, Endpoint};
use glaucoma_records::visit::*;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const TIME: Duration = Duration::from_secs(60);

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["receive", port, title, sender, folder, count] => {
            receive(port, title, sender, Path::new(folder), count.parse()?)
        }
        ["make", file, folder] => make(Path::new(file), Path::new(folder)),
        ["echo", address, calling, called] => {
            println!("{}", scu(address, calling, called).echo()?.said);
            Ok(())
        }
        ["store", address, calling, called, file] => {
            println!("{}", scu(address, calling, called).deliver(&std::fs::read(file)?)?.said);
            Ok(())
        }
        ["stow", url, file] => {
            let stow = Stow(Endpoint::new(url, None, None, TIME)?);
            println!("{}", stow.deliver(&std::fs::read(file)?)?.said);
            Ok(())
        }
        _ => Err("usage: see the first lines of examples/peer.rs".into()),
    }
}

fn scu(address: &str, calling: &str, called: &str) -> Scu {
    Scu { address: address.into(), calling: calling.into(), called: called.into(), time: TIME }
}

fn receive(port: &str, title: &str, sender: &str, folder: &Path, count: usize) -> Outcome {
    let scp = Scp::bind(format!("127.0.0.1:{port}").parse()?, title, &[sender])?;
    let (outlet, incoming) = intake::channel(4);
    let inbox = Arc::new(Inbox::open(&folder.join("inbox"))?);
    let running = intake::start(scp, outlet, inbox, TIME)?;
    println!("listening");
    for number in 1..=count {
        let photograph = incoming.recv_timeout(TIME)?;
        std::fs::write(folder.join(format!("received-{number}")), &photograph.bytes)?;
        println!("{} {:?}", photograph.origin, photograph.hints);
        photograph.settle()?;
    }
    Ok(running.stop()?)
}

fn make(file: &Path, folder: &Path) -> Outcome {
    let bytes = std::fs::read(file)?;
    let photo = decode(&bytes, &Limits::default())?;
    let visit = visit(&photo.sha256);
    let station = Station {
        manufacturer: "Maker".into(),
        model: "Camera".into(),
        serial: "SN-1".into(),
        software: "glaucoma-exchange".into(),
    };
    let subject = Subject {
        visit: &visit,
        exam: &visit.exams[0],
        station: &station,
        identity: Identity::Own,
        burned_in: Some(false),
    };
    let pseudonym = Subject { identity: Identity::Pseudonym("X-1"), ..subject };
    std::fs::write(folder.join("photograph.dcm"), photograph(&subject, &bytes)?.bytes)?;
    std::fs::write(folder.join("deidentified.dcm"), photograph(&pseudonym, &bytes)?.bytes)?;
    std::fs::write(folder.join("result.dcm"), result(&subject, photo.pixels)?.bytes)?;
    let programme = Programme {
        person_system: "https://programme.example/persons".into(),
        device_system: "https://programme.example/devices".into(),
        station: station.clone(),
    };
    for (name, identity) in
        [("visit.json", subject.identity), ("deidentified.json", pseudonym.identity)]
    {
        let bundle = bundle(&visit, false, &programme, identity)?;
        std::fs::write(folder.join(name), serde_json::to_vec_pretty(&bundle)?)?;
    }
    Ok(())
}

/// A made-up person with a suspected right eye and a left one that could not be graded.
fn visit(sha256: &str) -> Visit {
    let exam = |number: u32, eye, finding| EyeExam {
        uid: Uid(format!("2.25.{number}")),
        eye,
        eye_seen: None,
        eye_confirmed: false,
        taken_at: "2026-05-01T09:31:00Z".into(),
        photograph_sha256: sha256.into(),
        photograph_type: "image/jpeg".into(),
        burned_in: None,
        finding,
        model: ModelName { name: "model".into(), version: "1".into(), sha256: "00".into() },
    };
    let graded = Finding::Graded {
        probability: 0.75,
        threshold: 0.5,
        vcdr: 0.66,
        vcdr_interval: Some((0.55, 0.77)),
    };
    let ungradable = Finding::Ungradable { reasons: vec!["blurred".into()] };
    Visit {
        uid: Uid("2.25.7000".into()),
        person: Person {
            id: "P-7".into(),
            name: Some("आशा देवी".into()),
            age_years: Some(61),
            sex: Sex::Female,
        },
        site: "Rampur".into(),
        operator: "Operator 7".into(),
        begun_at: "2026-05-01T09:30:00Z".into(),
        note: None,
        without_photograph: Vec::new(),
        exams: vec![
            exam(7001, Laterality::Right, graded),
            exam(7002, Laterality::Left, ungradable),
        ],
        decision: Some(Decision::Refer { reasons: vec!["suspected_right".into()] }),
        decided_by: None,
    }
}
