//! The machine that the program runs on: what it is, how it is set, how warm it is, what it draws,
//! what feeds it, and how much room is left.
//!
//! Everything is read below a root folder (`/` on a device) from files that Linux offers. What a
//! board does not expose is `None`: nothing is guessed.

pub mod energy;
mod power;
pub mod process;
mod storage;
mod thermal;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use power::{Battery, Power};
pub use storage::{ENOUGH_BYTES, Storage};
pub use thermal::{Temperature, Throttling, temperatures, throttling};

/// What the machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Board {
    /// The board's own name.
    pub name: Option<String>,
    /// The processor's name.
    pub cpu: Option<String>,
    /// Cores that programs may run on.
    pub cores: Option<usize>,
    /// Main memory in MiB.
    pub memory_mib: Option<u64>,
}

/// How the clocks of some cores are governed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Clock {
    /// Numbers of the cores, as the kernel lists them.
    pub cores: String,
    /// What chooses the frequency.
    pub governor: Option<String>,
    /// The frequency now, in MHz.
    pub mhz: Option<u64>,
    /// The highest frequency of these cores, in MHz.
    pub max_mhz: Option<u64>,
}

impl Board {
    /// What the files below `root` say.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        Self {
            name: device_tree_name(root).or_else(|| firmware_name(root)),
            cpu: cpu_name(root),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            memory_mib: field(&root.join("proc/meminfo"), "MemTotal")
                .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
                .map(|kib| kib / 1024),
        }
    }
}

/// The clocks, one entry for the cores that change together; empty where they are not exposed.
#[must_use]
pub fn clocks(root: &Path) -> Vec<Clock> {
    let policies = numbered(&root.join("sys/devices/system/cpu/cpufreq"), "policy");
    let clock = |folder: PathBuf| {
        let mhz = |file: &str| number(&folder.join(file)).map(|khz| khz / 1000);
        Some(Clock {
            cores: text(&folder.join("affected_cpus"))?,
            governor: text(&folder.join("scaling_governor")),
            mhz: mhz("scaling_cur_freq"),
            max_mhz: mhz("cpuinfo_max_freq"),
        })
    };
    policies.into_iter().filter_map(clock).collect()
}

/// Programs that ran or waited to run at a time, on average over the last minute.
#[must_use]
pub fn load(root: &Path) -> Option<f64> {
    text(&root.join("proc/loadavg"))?.split_whitespace().next()?.parse().ok()
}

fn device_tree_name(root: &Path) -> Option<String> {
    text(&root.join("proc/device-tree/model"))
}

/// From a PC's firmware: who made it, and what.
fn firmware_name(root: &Path) -> Option<String> {
    let folder = root.join("sys/class/dmi/id");
    let parts = ["sys_vendor", "product_name"].map(|file| text(&folder.join(file)));
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// Names of all kinds of cores: x86 says them, ARM has numbers for them.
fn cpu_name(root: &Path) -> Option<String> {
    let path = root.join("proc/cpuinfo");
    if let Some(name) = field(&path, "model name") {
        return Some(name);
    }
    let info = text(&path)?;
    let values = |key: &'static str| info.lines().filter_map(move |line| value_of(line, key));
    let cores: BTreeSet<String> = values("CPU implementer")
        .zip(values("CPU part"))
        .map(|(maker, part)| arm_core(maker, part))
        .collect();
    (!cores.is_empty()).then(|| cores.into_iter().collect::<Vec<_>>().join(" and "))
}

/// ARM's own cores by the part numbers of their manuals (MIDR_EL1); others as numbers.
fn arm_core(maker: &str, part: &str) -> String {
    let name = match (maker, part) {
        ("0x41", "0xd03") => "Cortex-A53",
        ("0x41", "0xd05") => "Cortex-A55",
        ("0x41", "0xd07") => "Cortex-A57",
        ("0x41", "0xd08") => "Cortex-A72",
        ("0x41", "0xd0b") => "Cortex-A76",
        ("0x41", "0xd42") => "Cortex-A78AE",
        _ => return format!("ARM core of maker {maker}, part {part}"),
    };
    name.to_string()
}

/// A small file's text without surrounding blanks and final NUL; `None` when it cannot be read or
/// says nothing.
fn text(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_string())
}

/// A file that holds one whole number.
fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// The value of the first line `key: value` of a file.
fn field(path: &Path, key: &str) -> Option<String> {
    text(path)?.lines().find_map(|line| value_of(line, key)).map(str::to_string)
}

fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (found, value) = line.split_once(':')?;
    (found.trim() == key).then(|| value.trim())
}

/// The entries `prefixN` of a folder, in the order of N.
fn numbered(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            Some((name.to_str()?.strip_prefix(prefix)?.parse().ok()?, entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Writes `files` (path, content) below a new folder.
    pub(crate) fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn a_raspberry_pi_is_read() {
        let policy = "sys/devices/system/cpu/cpufreq/policy0";
        let root = tree(&[
            ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0"),
            (
                "proc/cpuinfo",
                "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n\
                 processor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n",
            ),
            ("proc/meminfo", "MemTotal:        3884376 kB\nMemFree: 1 kB\n"),
            ("proc/loadavg", "0.42 0.30 0.20 1/123 4567\n"),
            (&format!("{policy}/affected_cpus"), "0 1 2 3\n"),
            (&format!("{policy}/scaling_governor"), "ondemand\n"),
            (&format!("{policy}/scaling_cur_freq"), "600000\n"),
            (&format!("{policy}/cpuinfo_max_freq"), "1500000\n"),
        ]);
        let board = Board::read(root.path());
        assert_eq!(board.name.as_deref(), Some("Raspberry Pi 4 Model B Rev 1.4"));
        assert_eq!(board.cpu.as_deref(), Some("Cortex-A72"));
        assert_eq!(board.memory_mib, Some(3793));
        assert_eq!(load(root.path()), Some(0.42));
        let clock = Clock {
            cores: "0 1 2 3".into(),
            governor: Some("ondemand".into()),
            mhz: Some(600),
            max_mhz: Some(1500),
        };
        assert_eq!(clocks(root.path()), [clock]);
    }

    #[test]
    fn a_pc_is_read() {
        let root = tree(&[
            ("sys/class/dmi/id/sys_vendor", "Maker\n"),
            ("sys/class/dmi/id/product_name", "Box 7\n"),
            ("proc/cpuinfo", "processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\n"),
        ]);
        let board = Board::read(root.path());
        assert_eq!(board.name.as_deref(), Some("Maker Box 7"));
        assert_eq!(board.cpu.as_deref(), Some("Fast CPU @ 3 GHz"));
    }

    #[test]
    fn different_and_unknown_cores_are_all_named() {
        let core = |maker, part| format!("CPU implementer : {maker}\nCPU part : {part}\n");
        let info = core("0x41", "0xd0b") + &core("0x41", "0xd05") + &core("0x51", "0x800");
        let root = tree(&[("proc/cpuinfo", &info)]);
        assert_eq!(
            Board::read(root.path()).cpu.unwrap(),
            "ARM core of maker 0x51, part 0x800 and Cortex-A55 and Cortex-A76"
        );
    }

    #[test]
    fn what_is_not_exposed_is_not_guessed() {
        let root = tree(&[("proc/meminfo", "MemTotal: much\n"), ("proc/loadavg", "\n")]);
        let board = Board::read(root.path());
        assert_eq!((board.name, board.cpu, board.memory_mib), (None, None, None));
        assert_eq!(load(root.path()), None);
        assert_eq!(clocks(root.path()), []);
    }
}
