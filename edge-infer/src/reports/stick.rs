//! A USB stick that is in: mounted where the configuration says, writable, and no camera's card.

use std::fs;
use std::path::{Path, PathBuf};

/// Where Linux says what is mounted.
pub const MOUNTS: &str = "/proc/self/mounts";

/// The folder on a camera's card that the standard for cameras prescribes (DCF): what has it is no stick for exports.
const CAMERAS: &str = "DCIM";

/// Why there is no stick to write to.
#[derive(Debug, thiserror::Error)]
pub enum StickError {
    /// What is mounted is not known.
    #[error("{}: {source}", .path.display())]
    Mounts {
        /// The list of mounts.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Nothing is mounted there.
    #[error("no stick is in: nothing is mounted at {0}")]
    None(String),
    /// It is in and cannot be written to.
    #[error("the stick at {} cannot be written to", .0.display())]
    ReadOnly(PathBuf),
    /// Which of them is meant is not guessed.
    #[error("more than one stick is in, at {} and {}: take one out", .0.display(), .1.display())]
    Several(PathBuf, PathBuf),
}

/// The stick among what the list at `mounts` ([`MOUNTS`]) says is mounted: its mount point fits one of `patterns`
/// (`/media/*/*`, where `*` stands for any letters but a slash), it is not and does not hold one of the folders
/// `cameras`, and has no folder `DCIM`.
///
/// # Errors
/// [`StickError`]: none, several, or one that cannot be written to.
pub fn stick(
    mounts: &Path,
    patterns: &[String],
    cameras: &[PathBuf],
) -> Result<PathBuf, StickError> {
    let list = fs::read_to_string(mounts)
        .map_err(|source| StickError::Mounts { path: mounts.to_owned(), source })?;
    let mut found: Option<Mount> = None;
    for mount in list.lines().filter_map(Mount::read) {
        let place = mount.place.to_string_lossy();
        let ours = patterns.iter().any(|pattern| fits(pattern, &place));
        let camera = cameras.iter().any(|camera| camera.starts_with(&mount.place))
            || mount.place.join(CAMERAS).is_dir();
        if !ours || camera {
            continue;
        }
        match &found {
            // What is mounted over the same place hides what was there.
            Some(before) if before.place != mount.place => {
                return Err(StickError::Several(before.place.clone(), mount.place));
            }
            _ => found = Some(mount),
        }
    }
    match found {
        None => Err(StickError::None(patterns.join(", "))),
        Some(mount) if mount.read_only => Err(StickError::ReadOnly(mount.place)),
        Some(mount) => Ok(mount.place),
    }
}

struct Mount {
    place: PathBuf,
    read_only: bool,
}

impl Mount {
    /// A line of the list: device, place, kind, options and two numbers (`proc_pid_mounts(5)`).
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let place = unescaped(fields.next()?);
        let read_only = fields.nth(1)?.split(',').any(|option| option == "ro");
        Some(Self { place: place.into(), read_only })
    }
}

/// Blanks and backslashes stand in the list as `\040` and the like (`getmntent(3)`).
fn unescaped(field: &str) -> String {
    let codes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    codes.iter().fold(field.to_owned(), |text, (code, letter)| text.replace(code, letter))
}

/// Whether `text` fits a pattern in which `*` stands for any letters but a slash.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let end = rest.find('/').unwrap_or(rest.len());
            (0..=end).filter(|&at| rest.is_char_boundary(at)).any(|at| fits(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PATTERNS: [&str; 2] = ["/media/*/*", "/run/media/*/USB*"];

    fn found(mounts: &str, cameras: &[&str]) -> Result<PathBuf, StickError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mounts");
        fs::write(&path, mounts).unwrap();
        let patterns = PATTERNS.map(str::to_owned);
        let cameras: Vec<PathBuf> = cameras.iter().map(PathBuf::from).collect();
        stick(&path, &patterns, &cameras)
    }

    const SYSTEM: &str = "/dev/mmcblk0p2 / ext4 ro,noatime 0 0\nproc /proc proc rw 0 0\n";
    const STICK: &str = "/dev/sda1 /media/pi/MY\\040STICK vfat rw,nosuid,uid=1000 0 0\n";
    const CARD: &str = "/dev/sdb1 /media/pi/CARD vfat rw 0 0\n";

    #[test]
    fn the_only_stick_is_found_by_its_place() {
        let place = found(&format!("{SYSTEM}{STICK}"), &[]).unwrap();
        assert_eq!(place, Path::new("/media/pi/MY STICK"));
        let other = "/dev/sda1 /run/media/kim/USB2 exfat rw 0 0\n";
        assert_eq!(found(other, &[]).unwrap(), Path::new("/run/media/kim/USB2"));
        let twice = format!("{STICK}{STICK}");
        assert!(found(&twice, &[]).is_ok(), "the same place mounted over");
    }

    #[test]
    fn none_several_and_locked_ones_are_told_apart() {
        let error = found(SYSTEM, &[]).unwrap_err();
        assert!(matches!(&error, StickError::None(at) if at.contains("/media/*/*")), "{error}");
        let deeper = "/dev/sda1 /media/pi/a/b vfat rw 0 0\n";
        assert!(matches!(found(deeper, &[]), Err(StickError::None(_))));
        let both = format!("{STICK}{CARD}");
        assert!(matches!(found(&both, &[]), Err(StickError::Several(..))));
        let locked = STICK.replace("rw,", "ro,");
        assert!(matches!(found(&locked, &[]), Err(StickError::ReadOnly(_))));
        let nothing = stick(Path::new("/none/mounts"), &[], &[]).unwrap_err();
        assert!(nothing.to_string().contains("/none/mounts"), "{nothing}");
    }

    #[test]
    fn a_cameras_card_is_no_stick() {
        let both = format!("{STICK}{CARD}");
        let place = found(&both, &["/media/pi/CARD/DCIM/100CANON"]).unwrap();
        assert_eq!(place, Path::new("/media/pi/MY STICK"));
        // One that nobody configured, known by its folder.
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("card/DCIM")).unwrap();
        fs::create_dir_all(folder.path().join("stick")).unwrap();
        let at = folder.path().display().to_string();
        let list = format!("/dev/a {at}/card vfat rw 0 0\n/dev/b {at}/stick vfat rw 0 0\n");
        let mounts = folder.path().join("mounts");
        fs::write(&mounts, list).unwrap();
        let place = stick(&mounts, &[format!("{at}/*")], &[]).unwrap();
        assert_eq!(place, folder.path().join("stick"));
    }

    #[test]
    fn patterns_fit_within_a_name() {
        assert!(fits("/media/*/*", "/media/pi/x") && fits("/a*c", "/abc") && fits("*", ""));
        assert!(!fits("/media/*", "/media/pi/x") && !fits("/a*c", "/a/c") && !fits("/a", "/ab"));
        assert!(fits("/é*", "/éß") && !fits("/*b", "/éa"));
    }
}
