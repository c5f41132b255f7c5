//! Archives from outside: shards, restarts, listings, full disks, the recipe for Slurm.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use glaucoma_common::photo::sha256_hex;
use serde_json::Value;
use support::{eye, model};

fn screen() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-infer"));
    command.arg("screen").arg("--model").arg(model());
    command
}

/// Runs one shard over `source` into `parts`.
fn shard(source: &Path, parts: &Path, shard: &str) -> Output {
    screen().arg(source).arg("--parts").arg(parts).args(["--shard", shard]).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A folder of `count` photographs in two levels, each with other bytes, and a damaged one.
fn archive(folder: &Path, count: u32) -> PathBuf {
    let photos = folder.join("photos");
    std::fs::create_dir_all(photos.join("camp")).unwrap();
    let mut eye = eye();
    for number in 0..count {
        eye.put_pixel(0, 0, image::Rgb([(number % 5) as u8, (number / 5) as u8, 0]));
        let below = if number % 2 == 0 { "" } else { "camp" };
        eye.save(photos.join(below).join(format!("eye {number}.png"))).unwrap();
    }
    std::fs::write(photos.join("damaged.jpg"), b"\xff\xd8\xff no picture").unwrap();
    photos
}

/// The lines of a part without what differs from run to run.
fn lines(part: &Path) -> Vec<Value> {
    let read = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("timing_ms").unwrap();
        value
    };
    std::fs::read_to_string(part).unwrap().lines().map(read).collect()
}

fn whole(parts: &Path) -> PathBuf {
    parts.join("part-00000-of-00001.jsonl")
}

fn partial(parts: &Path) -> PathBuf {
    parts.join("part-00000-of-00001.jsonl.partial")
}

/// The part of a run that nothing disturbs.
fn undisturbed(photos: &Path, folder: &Path) -> Vec<Value> {
    let parts = folder.join("undisturbed");
    let output = shard(photos, &parts, "0/1");
    assert_eq!(output.status.code(), Some(2), "a photograph is damaged");
    lines(&whole(&parts))
}

#[test]
fn two_processes_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let photos = archive(folder.path(), 12);
    let parts = folder.path().join("parts");
    let runs: Vec<_> = ["0/2", "1/2"]
        .map(|share| {
            let mut command = screen();
            command.arg(&photos).arg("--parts").arg(&parts).args(["--shard", share]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    let mut codes: Vec<_> = runs.iter().map(|run| run.status.code()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(2)], "one shard has the damaged one: {runs:?}");

    let mut seen = BTreeMap::new();
    for index in 0..2 {
        let part = lines(&parts.join(format!("part-0000{index}-of-00002.jsonl")));
        assert!(!part.is_empty());
        for line in part {
            let file = line["file"].as_str().unwrap().to_string();
            assert_eq!(line["sha256"], sha256_hex(&std::fs::read(&file).unwrap()));
            assert_eq!(line["model"]["sha256"], sha256_hex(&std::fs::read(model()).unwrap()));
            let expected = if file.ends_with("damaged.jpg") { "error" } else { "graded" };
            assert_eq!(line["status"], expected);
            assert!(seen.insert(file, line).is_none(), "every photograph once");
        }
    }
    assert_eq!(seen.len(), 13);

    let again = shard(&photos, &parts, "0/2");
    assert_eq!(again.status.code(), Some(0));
    assert!(text(&again.stdout).contains("nothing to do"));
}

#[test]
fn a_killed_process_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let photos = archive(folder.path(), 60);
    let parts = folder.path().join("parts");
    let mut child =
        screen().arg(&photos).arg("--parts").arg(&parts).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while std::fs::read(partial(&parts)).map_or(0, |bytes| bytes.len()) < 3000 {
        assert!(started.elapsed() < Duration::from_secs(120), "nothing is written");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!whole(&parts).exists(), "it was done before it could be killed");
    // What a stop in the middle of a write leaves.
    let mut torn = std::fs::File::options().append(true).open(partial(&parts)).unwrap();
    torn.write_all(b"{\"file\": \"half a li").unwrap();
    let kept = std::fs::read_to_string(partial(&parts)).unwrap().lines().count() - 1;

    let output = shard(&photos, &parts, "0/1");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("19 bytes of an unfinished line"), "{output:?}");
    let examined = format!("60 graded, 0 ungradable, 1 refused; {} examined now", 61 - kept);
    assert!(text(&output.stdout).contains(&examined), "{output:?}");
    assert_eq!(lines(&whole(&parts)), undisturbed(&photos, folder.path()));
    assert!(!partial(&parts).exists());
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_told_and_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let photos = archive(folder.path(), 30);
    let parts = folder.path().join("parts");
    // A limit on the size of files stands in for the disk: a write comes back short, the next fails.
    let limited = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
    let output = Command::new("sh")
        .args(["-c", limited, "sh", env!("CARGO_BIN_EXE_edge-infer"), "screen", "--model"])
        .arg(model())
        .arg(&photos)
        .arg("--parts")
        .arg(&parts)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("cannot write the part"), "{output:?}");
    assert!(!whole(&parts).exists());
    let output = shard(&photos, &parts, "0/1");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(lines(&whole(&parts)), undisturbed(&photos, folder.path()));
}

#[test]
fn a_listing_is_worked_through_whatever_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let photos = archive(folder.path(), 2);
    let late = folder.path().join("late.png");
    let good = photos.join("eye 0.png").display().to_string();
    let hostile = [
        &good,
        "",
        &good,
        late.to_str().unwrap(),
        photos.to_str().unwrap(),
        "/dev/zero",
        "a\0.jpg",
        "s3://bucket/\u{1b}[31m.jpg?secret",
        "../../../../../../etc/passwd\u{202e}gpj.",
    ];
    let listing = folder.path().join("listing");
    std::fs::write(&listing, hostile.join("\r\n")).unwrap();
    let parts = folder.path().join("parts");
    let run = |listing: &Path| {
        screen().arg("--listing").arg(listing).arg("--parts").arg(&parts).output().unwrap()
    };
    let output = run(&listing);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let written = lines(&partial(&parts));
    assert_eq!(written.len(), 7, "each name once: {written:?}");
    assert_eq!(written[0]["status"], "graded");
    for line in &written[1..] {
        assert_eq!(line["status"], "error", "{line}");
        assert!(line["sha256"].is_null() && line["stamp"].is_null(), "{line}");
    }
    assert!(text(&output.stderr).contains("not complete, 6 photographs"), "{output:?}");

    // What was missing has come, and the listing names nothing else: only that is examined.
    std::fs::copy(photos.join("eye 0.png"), &late).unwrap();
    std::fs::write(&listing, format!("{good}\n{}\n", late.display())).unwrap();
    let output = run(&listing);
    assert_eq!(output.status.code(), Some(2), "names of the first listing are still refused");
    assert!(text(&output.stdout).contains("1 examined now"), "{output:?}");
    let completed = lines(&whole(&parts));
    let name = |line: &Value| line["file"].as_str().unwrap().to_string();
    let of_late: Vec<_> = completed.iter().filter(|line| name(line) == name(&written[1])).collect();
    assert_eq!(of_late.len(), 1, "one line a photograph");
    assert_eq!(of_late[0]["status"], "graded");
}

#[test]
fn a_listing_may_come_through_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let photos = archive(folder.path(), 1);
    let mut child = screen()
        .args(["--listing", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let name = photos.join("eye 0.png").display().to_string();
    child.stdin.take().unwrap().write_all(name.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["file"], name);
}

#[test]
fn parts_of_different_runs_are_not_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let photos = archive(folder.path(), 2);
    let parts = folder.path().join("parts");
    assert!(shard(&photos, &parts, "0/2").status.code().is_some());
    let before = std::fs::read_dir(&parts).unwrap().count();
    let other_model = Command::new(env!("CARGO_BIN_EXE_edge-infer"))
        .arg("screen")
        .arg(&photos)
        .arg("--parts")
        .arg(&parts)
        .args(["--shard", "0/2"])
        .output()
        .unwrap();
    for output in [other_model, shard(&photos, &parts, "0/3")] {
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = text(&output.stderr);
        // The stand-in of these tests is no U-Net, and its slowness is said first.
        let errors: Vec<&str> = said.lines().filter(|line| !line.contains("WARN")).collect();
        assert!(errors.len() == 1 && errors[0].contains("another run"), "{said}");
    }
    assert_eq!(std::fs::read_dir(&parts).unwrap().count(), before);
}

#[test]
fn a_wrong_command_line_is_one_message_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let parts = folder.path().join("parts");
    let parts = parts.to_str().unwrap();
    for (args, message) in [
        (vec!["--parts", parts, "--shard", "3/2"], "from 0 to 1"),
        (vec!["--parts", parts, "--shard", "0/0"], "from 1 to"),
        (vec!["--parts", parts, "--json"], "cannot be used with"),
        (vec!["--parts", parts, "--out", "r"], "cannot be used with"),
        (vec!["--parts", parts, "--jobs", "0"], "zero"),
        (vec!["--shard", "0/2"], "--parts"),
    ] {
        let output = screen().arg("photos").args(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(message), "{args:?}: {output:?}");
    }
    assert!(!Path::new(parts).exists());
}

#[cfg(target_os = "linux")]
#[test]
fn the_slurm_recipe_runs_an_array() {
    let folder = tempfile::tempdir().unwrap();
    let photos = archive(folder.path(), 6);
    let parts = folder.path().join("parts");
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/slurm.sh");
    let program = Path::new(env!("CARGO_BIN_EXE_edge-infer"));
    let path = std::env::join_paths(
        std::iter::once(program.parent().unwrap().to_path_buf())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    )
    .unwrap();
    for task in 0..3 {
        let output = Command::new("bash")
            .arg(&recipe)
            .arg(&photos)
            .arg(&parts)
            .arg("--model")
            .arg(model())
            .env("PATH", &path)
            .env("SHARDS", "3")
            .env("SLURM_ARRAY_TASK_ID", task.to_string())
            .output()
            .unwrap();
        assert!(output.status.success(), "a complete part is a success: {output:?}");
    }
    let all: usize = (0..3)
        .map(|task| lines(&parts.join(format!("part-0000{task}-of-00003.jsonl"))).len())
        .sum();
    assert_eq!(all, 7);
}
