//! What the Debian package holds agrees with the program and with itself. The package as a whole is tried by
//! `package/check.sh`.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use clap::CommandFactory;
use edge_infer::cli::Cli;
use edge_infer::kiosk::Config;

fn package() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/package"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(package().join(name)).unwrap()
}

fn edge_infer(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_edge-infer")).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The values of a key of the service's unit.
fn unit(key: &str) -> Vec<String> {
    let line = |line: &str| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned());
    read("edge-infer.service").lines().filter_map(line).collect()
}

#[test]
fn the_shipped_configuration_is_accepted() {
    let config = Config::read(&package().join("camp.toml")).unwrap();
    let mut default = Config::default();
    // Where the package's udev rules mount a card and a stick.
    let (card, stick) = ("/run/edge-infer/card", "/run/edge-infer/export");
    for place in [card, stick] {
        assert!(read("90-edge-infer.rules").contains(&format!("$devnode {place}\"")));
    }
    default.intake.folders = vec![card.into()];
    default.export.sticks = vec![stick.into()];
    assert_eq!(config, default, "a key left alone means the same as a key left out");
}

/// `ATTRS{...}!=` holds as soon as anything above the disk, such as the USB port, has another value; with it nothing was ever
/// mounted. And what is known of a card must be known at every event, or its removal does not know it.
#[test]
fn the_udev_rules_ask_for_what_is_there_and_at_every_event() {
    let rules = read("90-edge-infer.rules");
    let rules: Vec<&str> = rules.lines().filter(|line| !line.starts_with('#')).collect();
    let asks_the_wrong_way = |rule: &&str| {
        rule.split(", ").any(|part| part.starts_with("ATTRS{") && part.contains("!="))
    };
    assert!(!rules.iter().any(asks_the_wrong_way));
    let at = |part: &str| rules.iter().position(|rule| rule.contains(part)).unwrap();
    assert!(at("ENV{EDGE_INFER}=\"card\"") < at("ACTION!=\"add\""));
    assert!(at("ACTION!=\"add\"") < at("systemd-mount"));
}

#[test]
fn the_examples_in_the_shipped_configuration_are_accepted() {
    let shipped = read("camp.toml");
    let is_example = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
    let uncommented = |line| if is_example(&line) { &line[1..] } else { line };
    let lines: Vec<&str> = shipped.lines().map(uncommented).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("camp.toml");
    std::fs::write(&path, lines.join("\n")).unwrap();
    let config = Config::read(&path).unwrap();
    assert!(config.intake.dicom.is_some() && config.outbox.fhir.is_some());
}

#[test]
fn the_service_writes_where_the_configuration_says() {
    let folders = unit("StateDirectory").remove(0);
    let folders = folders.split(' ').map(|folder| format!("/var/lib/{folder}"));
    let [state, output] = folders.collect::<Vec<_>>().try_into().unwrap();
    let Config { journal, intake, .. } = Config::read(&package().join("camp.toml")).unwrap();
    for path in [&journal.folder, &journal.device_secret, &journal.output, &intake.inbox] {
        assert!(path.starts_with(&state), "{}", path.display());
    }
    assert_eq!(journal.output, Path::new(&output), "slips are written from the first day on");
    let user = &unit("User")[0];
    assert!(read("edge-infer.sysusers").contains(&format!("u {user} - ")));
    assert!(read("edge-infer.tmpfile").contains(&format!("d {state} 0700 {user} ")));
    for group in unit("SupplementaryGroups")[0].split(' ') {
        let made = |line: &str| line.split_whitespace().take(2).eq(["g", group]);
        assert!(read("edge-infer.sysusers").lines().any(made), "{group}");
    }
}

#[test]
fn everything_that_is_packaged_is_there() {
    let manifest = std::fs::read_to_string(package().with_file_name("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let deb = &manifest["package"]["metadata"]["deb"];
    let assets: Vec<Vec<String>> = deb["assets"].clone().try_into().unwrap();
    for asset in &assets {
        // What is built is not there yet.
        if asset[0].starts_with("target/") {
            continue;
        }
        let path = package().parent().unwrap().join(&asset[0]);
        let there = if asset[0].contains('*') { path.parent().unwrap() } else { &path };
        assert!(there.exists(), "{}", asset[0]);
    }
    let config = unit("ExecStart")[0].split(" --config ").nth(1).unwrap().to_owned();
    let conffiles: Vec<String> = deb["conf-files"].clone().try_into().unwrap();
    assert!(assets.iter().any(|asset| format!("/{}", asset[1]) == config));
    assert_eq!(conffiles, [config], "an upgrade keeps what the programme has set up");
}

#[test]
fn pages_and_completions_know_every_subcommand() {
    let folder = tempfile::tempdir().unwrap();
    edge_infer(&["man", "--out", folder.path().to_str().unwrap()]);
    let scripts = ["bash", "zsh", "fish"].map(|shell| edge_infer(&["completions", shell]).stdout);
    for subcommand in Cli::command().get_subcommands() {
        let name = subcommand.get_name();
        let page = folder.path().join(format!("edge-infer-{name}.1"));
        let page = std::fs::read_to_string(page).unwrap();
        let about = subcommand.get_about().unwrap().to_string();
        let first_word = about.split(' ').next().unwrap();
        assert!(page.contains(first_word), "{name}");
        for script in &scripts {
            assert!(String::from_utf8_lossy(script).contains(name), "{name}");
        }
    }
}
