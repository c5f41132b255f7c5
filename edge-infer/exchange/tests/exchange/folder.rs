//! The watched folder.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use glaucoma_common::photo::{Limits, sha256_hex};
use glaucoma_exchange::intake::folder::{Folder, Sign};
use glaucoma_exchange::intake::{self, Inbox, LeaveOut, Status};

use crate::fixture::{Bench, PATIENCE, RETINA, bench, png, until};

/// Looks 60 ms apart; a minute between scans where notifications must do, 60 ms otherwise.
fn quick(path: &Path) -> Folder {
    let tick = Duration::from_millis(60);
    Folder {
        path: path.to_owned(),
        settle: tick,
        scan_every: tick,
        damaged_after: Duration::from_secs(3600),
        sign: Sign::Folder,
        limits: Limits::default(),
        leave_out: None,
    }
}

fn watch(card: &Path) -> Bench {
    bench(quick(card), 16, Duration::from_millis(500))
}

/// Every file of a folder and its bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter();
    files
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| (entry.path().to_owned(), fs::read(entry.path()).unwrap()))
        .collect()
}

/// Leaves out what had this time, and fails to write it down at first.
#[derive(Debug, Default)]
struct Old {
    written: Mutex<Vec<String>>,
    failures: AtomicU32,
}

fn long_ago() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(315_532_800)
}

impl LeaveOut for Old {
    fn stands(&self, _: &Path, now: &fs::Metadata) -> bool {
        now.modified().unwrap() == long_ago()
    }

    fn written(&self, photographs: &[String]) -> bool {
        if self.failures.fetch_add(1, Ordering::Relaxed) < 2 {
            return false;
        }
        self.written.lock().unwrap().extend_from_slice(photographs);
        true
    }
}

#[test]
fn what_is_left_out_is_written_down_once_and_holds_nothing_up() {
    const OLD: usize = 300;
    let card = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8], old: bool| {
        fs::write(card.path().join(name), bytes).unwrap();
        if old {
            let file = fs::File::open(card.path().join(name)).unwrap();
            file.set_modified(long_ago()).unwrap();
        }
    };
    // None of them decodes: they are not looked into.
    let old: Vec<String> = (0..OLD).map(|number| format!("old {}", number % (OLD - 1))).collect();
    for (number, text) in old.iter().enumerate() {
        put(&format!("{number:03}.jpg"), text.as_bytes(), true);
    }
    put("new.png", &png(1), false);
    let leave_out = Arc::new(Old::default());
    let folder = Folder {
        scan_every: Duration::from_secs(60),
        leave_out: Some(Arc::<Old>::clone(&leave_out)),
        ..quick(card.path())
    };
    // No room: an old one that were taken would hold up the others.
    let bench = bench(folder, 1, Duration::from_millis(500));
    let photograph = bench.next();
    assert_eq!(photograph.bytes, png(1));
    let taken = || fs::read_to_string(bench.folder.path().join("taken.txt")).unwrap();
    until("all are left out", || taken().lines().count() == OLD);
    let mut written = leave_out.written.lock().unwrap().clone();
    written.sort();
    let mut expected: Vec<String> =
        old[..OLD - 1].iter().map(|text| sha256_hex(text.as_bytes())).collect();
    expected.sort();
    assert_eq!(written, expected, "each once, the two alike as well, after two failures");
    photograph.settle().unwrap();
    assert!(bench.kept().is_empty(), "none was copied");
    bench.assert_quiet();

    // Another picture under an old one's name was not there when they were left out.
    put("000.jpg", &png(2), false);
    assert_eq!(bench.next().bytes, png(2));
}

#[test]
fn a_card_is_read_once_kept_and_left_as_it_is() {
    let card = tempfile::tempdir().unwrap();
    fs::create_dir_all(card.path().join("DCIM/100CAM")).unwrap();
    fs::write(card.path().join("DCIM/100CAM/IMG_1.JPG"), RETINA).unwrap();
    for ignored in [".hidden.jpg", "x.jpg.tmp", "x.jpg.part", "notes.txt", "._IMG_1.JPG"] {
        fs::write(card.path().join(ignored), RETINA).unwrap();
    }
    fs::create_dir(card.path().join(".Trashes")).unwrap();
    fs::write(card.path().join(".Trashes/old.png"), png(9)).unwrap();
    let before = contents(card.path());
    let bench = watch(card.path());
    let incoming = bench.next();
    assert_eq!(incoming.bytes, RETINA);
    assert!(incoming.origin.ends_with("IMG_1.JPG"));
    bench.assert_quiet();
    assert_eq!(contents(card.path()), before, "the card was written to");
    // It is on the device's disk until the journal has it.
    let copy = bench.folder.path().join(format!("{}.photo", incoming.sha256));
    assert_eq!(fs::read(&copy).unwrap(), RETINA);
    incoming.settle().unwrap();
    assert_eq!(bench.kept(), Vec::<String>::new());
    // The same bytes under another name are the same photograph.
    fs::write(card.path().join("copy.jpg"), RETINA).unwrap();
    bench.assert_quiet();
}

#[test]
fn a_half_written_file_waits_for_its_end() {
    let card = tempfile::tempdir().unwrap();
    let bench = watch(card.path());
    let path = card.path().join("slow.jpg");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&RETINA[..RETINA.len() / 2]).unwrap();
    file.sync_all().unwrap();
    bench.assert_quiet();
    file.write_all(&RETINA[RETINA.len() / 2..]).unwrap();
    assert_eq!(bench.next().bytes, RETINA);
}

#[test]
fn renamed_in_and_linked_in() {
    let card = tempfile::tempdir().unwrap();
    let bench = watch(card.path());
    fs::write(card.path().join("a.png.part"), png(1)).unwrap();
    bench.assert_quiet();
    fs::rename(card.path().join("a.png.part"), card.path().join("a.png")).unwrap();
    assert_eq!(bench.next().bytes, png(1));
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("b.png"), png(2)).unwrap();
    fs::hard_link(elsewhere.path().join("b.png"), card.path().join("b.png")).unwrap();
    assert_eq!(bench.next().bytes, png(2));
}

#[test]
fn notifications_alone_bring_a_file_at_once() {
    let card = tempfile::tempdir().unwrap();
    let folder = Folder { scan_every: 2 * PATIENCE, ..quick(card.path()) };
    let bench = bench(folder, 4, PATIENCE);
    until("the first scan", || bench.running.status(Instant::now()) == Status::Online);
    fs::write(card.path().join("a.png"), png(1)).unwrap();
    assert_eq!(bench.next().bytes, png(1));
}

#[test]
fn a_file_that_its_writer_has_closed_needs_no_second_look() {
    let card = tempfile::tempdir().unwrap();
    let slow = 2 * PATIENCE;
    let bench = bench(Folder { scan_every: slow, settle: slow, ..quick(card.path()) }, 4, PATIENCE);
    until("the first scan", || bench.running.status(Instant::now()) == Status::Online);
    fs::write(card.path().join("a.png"), png(1)).unwrap();
    assert_eq!(bench.next().bytes, png(1));
    fs::write(card.path().join("b.tmp"), png(2)).unwrap();
    fs::rename(card.path().join("b.tmp"), card.path().join("b.png")).unwrap();
    assert_eq!(bench.next().bytes, png(2));
}

#[test]
fn two_at_once_are_two() {
    let card = tempfile::tempdir().unwrap();
    let bench = watch(card.path());
    fs::write(card.path().join("a.png"), png(1)).unwrap();
    fs::write(card.path().join("b.png"), png(2)).unwrap();
    let mut both = [bench.next().bytes, bench.next().bytes];
    both.sort();
    let mut wanted = [png(1), png(2)];
    wanted.sort();
    assert_eq!(both, wanted);
}

#[test]
fn a_pulled_card_is_offline_and_comes_back() {
    let place = tempfile::tempdir().unwrap();
    let (card, pulled) = (place.path().join("card"), place.path().join("pulled"));
    fs::create_dir(&card).unwrap();
    let bench = watch(&card);
    until("online", || bench.running.status(Instant::now()) == Status::Online);
    // In the middle of a copy.
    fs::write(card.join("a.jpg"), &RETINA[..RETINA.len() / 3]).unwrap();
    fs::rename(&card, &pulled).unwrap();
    until("offline", || bench.running.status(Instant::now()) == Status::Offline);
    assert_eq!(bench.kept(), Vec::<String>::new(), "nothing half-written");
    fs::write(pulled.join("a.jpg"), RETINA).unwrap();
    fs::rename(&pulled, &card).unwrap();
    assert_eq!(bench.next().bytes, RETINA);
    assert_eq!(bench.running.status(Instant::now()), Status::Online);
}

#[test]
fn a_full_channel_delays_and_loses_nothing() {
    let card = tempfile::tempdir().unwrap();
    for number in 0..5 {
        fs::write(card.path().join(format!("{number}.png")), png(number)).unwrap();
    }
    let bench = bench(quick(card.path()), 1, PATIENCE);
    until("the channel is full", || bench.kept().len() >= 2);
    for _ in 0..20 {
        // What fits the channel, and at most one more on its way out again: a photograph and its words each.
        assert!(bench.kept().len() <= 5, "{:?}", bench.kept());
        std::thread::sleep(Duration::from_millis(20));
    }
    until("only what fits the channel is kept", || bench.kept().len() == 2);
    let mut got: Vec<u8> = (0..5)
        .map(|_| {
            let incoming = bench.next();
            (0..5).find(|&number| png(number) == incoming.bytes).unwrap()
        })
        .collect();
    got.sort_unstable();
    assert_eq!(got, [0, 1, 2, 3, 4]);
}

#[test]
fn a_damaged_file_is_handed_on_when_it_stays_so() {
    let card = tempfile::tempdir().unwrap();
    fs::write(card.path().join("cut.jpg"), &RETINA[..1000]).unwrap();
    let folder = Folder { damaged_after: Duration::from_millis(200), ..quick(card.path()) };
    let bench = bench(folder, 4, PATIENCE);
    assert_eq!(bench.next().bytes, &RETINA[..1000]);
    bench.assert_quiet();
}

#[test]
fn a_restart_hands_out_what_was_not_settled_and_takes_nothing_twice() {
    let card = tempfile::tempdir().unwrap();
    fs::write(card.path().join("a.png"), png(1)).unwrap();
    fs::write(card.path().join("b.png"), png(2)).unwrap();
    let Bench { folder, sender, receiver, running } = watch(card.path());
    let first = receiver.recv_timeout(PATIENCE).unwrap();
    let lost = receiver.recv_timeout(PATIENCE).unwrap();
    let (settled, lost_bytes, lost_origin) =
        (first.sha256.clone(), lost.bytes.clone(), lost.origin.clone());
    first.settle().unwrap();
    drop((lost, sender, receiver));
    running.stop().unwrap();
    // A power cut left half a line behind.
    let list = folder.path().join("taken.txt");
    let mut text = fs::read_to_string(&list).unwrap();
    assert!(text.contains(&settled));
    text.push_str("0123");
    fs::write(&list, text).unwrap();

    let (sender, receiver) = intake::channel(4);
    let inbox = Arc::new(Inbox::open(folder.path()).unwrap());
    assert_eq!(inbox.hand_out_left_over(&sender).unwrap(), 1);
    let again = receiver.recv_timeout(PATIENCE).unwrap();
    assert_eq!((again.bytes.clone(), again.origin.clone()), (lost_bytes, lost_origin));
    again.settle().unwrap();
    let running = intake::start(quick(card.path()), sender, inbox, PATIENCE).unwrap();
    fs::write(card.path().join("c.png"), png(3)).unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap().bytes, png(3), "not a or b again");
    drop(running);
}

fn zip_of(entries: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in entries {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn a_zip_export_is_opened() {
    let card = tempfile::tempdir().unwrap();
    let (one, two) = (png(1), png(2));
    let entries: [(&str, &[u8]); 4] =
        [("p/right.png", &one), ("p/.x.png", &two), ("../../etc/left.png", &two), ("a.txt", b"x")];
    fs::write(card.path().join("e.zip"), zip_of(&entries, zip::CompressionMethod::Deflated))
        .unwrap();
    let bench = watch(card.path());
    let (first, second) = (bench.next(), bench.next());
    assert_eq!((first.bytes, second.bytes), (one, two));
    assert!(first.origin.ends_with("e.zip!p/right.png"), "{}", first.origin);
    bench.assert_quiet();
    assert!(
        !bench.kept().iter().any(|name| name.contains("left")),
        "names of the archive are no paths"
    );
}

#[test]
fn a_half_written_zip_waits_and_a_bomb_is_passed_over() {
    let card = tempfile::tempdir().unwrap();
    let (good, zeros) = (png(1), vec![0; 3 << 20]);
    let entries: [(&str, &[u8]); 2] = [("bomb.png", &zeros), ("good.png", &good)];
    let archive = zip_of(&entries, zip::CompressionMethod::Deflated);
    assert!(archive.len() < 20_000, "3 MiB in {} bytes", archive.len());
    fs::write(card.path().join("e.zip"), &archive[..archive.len() - 10]).unwrap();
    let limits = Limits { max_bytes: 1 << 20, ..Limits::default() };
    let bench = bench(Folder { limits, ..quick(card.path()) }, 4, PATIENCE);
    bench.assert_quiet();
    fs::write(card.path().join("e.zip"), &archive).unwrap();
    assert_eq!(bench.next().bytes, good);
    bench.assert_quiet();
}
