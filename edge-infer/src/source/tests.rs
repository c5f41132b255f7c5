//! What searches come upon, and what they say.
#![allow(clippy::unwrap_used)]

use super::*;

fn sources(paths: &[&Path]) -> Sources {
    let paths = paths.iter().map(|path| path.to_path_buf()).collect();
    Sources { paths, ..Sources::default() }
}

fn found(sources: &Sources) -> Vec<Photograph> {
    sources.photographs().map(Result::unwrap).collect()
}

#[test]
fn folders_are_walked_in_the_order_of_names() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for name in ["b.PNG", "a.jpg", "sub/c.jpeg", "notes.txt", ".hidden.jpg", "out/a-result.png"] {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }
    let sources = Sources { results: Some(root.join("out")), ..sources(&[root]) };
    let found = found(&sources);
    let keys: Vec<String> = found.iter().map(Photograph::key).collect();
    assert_eq!(keys, ["a.jpg", "b.PNG", "sub/c.jpeg"]);
    assert_eq!(found[2].below(), Some(Path::new("sub/c.jpeg")));
    assert_eq!(found[2].name(), root.join("sub/c.jpeg").display().to_string());
}

#[test]
fn what_cannot_be_read_is_said() {
    let root = tempfile::tempdir().unwrap();
    let gone = root.path().join("gone.jpg");
    let sources = sources(&[root.path(), &gone]);
    let found: Vec<Found> = sources.photographs().collect();
    assert_eq!(found.len(), 2);
    assert!(found[0].as_ref().unwrap_err().message.contains("no photographs"));
    let gone = found[1].as_ref().unwrap();
    assert!(gone.read(10).unwrap_err().contains("cannot be read"));
    assert!(gone.stamp().is_err());
}

#[test]
fn no_more_than_the_limit_is_held() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("large.jpg");
    std::fs::write(&path, vec![0; 100]).unwrap();
    assert_eq!(found(&sources(&[&path]))[0].read(10).unwrap().bytes.len(), 11);
}

#[test]
fn a_stamp_changes_with_the_file() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.jpg");
    std::fs::write(&path, b"one").unwrap();
    let photograph = &found(&sources(&[&path]))[0];
    let before = photograph.stamp().unwrap();
    assert_eq!(photograph.read(10).unwrap().stamp, before);
    std::fs::write(&path, b"three").unwrap();
    assert_ne!(photograph.stamp().unwrap(), before);
}

#[test]
fn a_listing_names_files_and_nothing_is_expanded() {
    let root = tempfile::tempdir().unwrap();
    let photo = root.path().join("a.jpg");
    std::fs::write(&photo, b"x").unwrap();
    let listing = root.path().join("listing");
    let lines = [root.path().to_str().unwrap(), photo.to_str().unwrap(), "a\0.jpg", "/dev/zero"];
    std::fs::write(&listing, lines.join("\n")).unwrap();
    let sources = Sources { listing: Some(listing), ..Sources::default() };
    let found = found(&sources);
    assert_eq!(found.len(), lines.len());
    assert_eq!(found[1].key(), lines[1]);
    assert_eq!(found[1].read(10).unwrap().bytes, b"x");
    for index in [0, 2, 3] {
        let message = found[index].read(10).unwrap_err();
        assert!(message.contains("cannot be read"), "{message}");
    }
}

#[test]
fn urls_are_told_from_paths() {
    for url in ["s3://bucket/a", "https://host/", "file:///a"] {
        assert!(is_url(url), "{url}");
    }
    for path in ["a.jpg", "/a://b", "://a", "3s://a", "camp/s3:/a", "C:\\a"] {
        assert!(!is_url(path), "{path}");
    }
}

#[cfg(not(feature = "cloud"))]
#[test]
fn without_object_stores_a_url_is_refused_with_the_way_to_build_them() {
    let paths = [Path::new("s3://bucket/prefix"), Path::new("s3://bucket/a.jpg")];
    let sources = sources(&paths);
    let found: Vec<Found> = sources.photographs().collect();
    let messages = [
        found[0].as_ref().unwrap_err().message.clone(),
        found[1].as_ref().unwrap().read(1).unwrap_err(),
    ];
    for message in messages {
        assert!(message.contains("--features cloud"), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn names_that_are_not_text_stay_different() {
    use std::os::unix::ffi::OsStrExt;
    assert_eq!(printable(OsStr::from_bytes(b"a\xffb\xfe\xfd.jpg")), "a\\xffb\\xfe\\xfd.jpg");
    assert_eq!(printable(OsStr::new("\u{e9}.jpg")), "\u{e9}.jpg");
}
