//! What this process has used: memory and processor time.

use std::path::Path;
use std::time::Duration;

use super::{field, text};

/// The most memory that was resident at a time, in KiB (`VmHWM`).
#[must_use]
pub fn peak_memory_kib(root: &Path) -> Option<u64> {
    let value = field(&root.join("proc/self/status"), "VmHWM")?;
    value.split_whitespace().next()?.parse().ok()
}

/// Processor time of all threads that are alive, from the scheduler's own account in nanoseconds.
#[must_use]
pub fn processor_time(root: &Path) -> Option<Duration> {
    let threads = std::fs::read_dir(root.join("proc/self/task")).ok()?;
    let on_processor = |entry: std::io::Result<std::fs::DirEntry>| -> Option<Duration> {
        let account = text(&entry.ok()?.path().join("schedstat"))?;
        account.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    };
    threads.map(on_processor).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn memory_and_time_are_read() {
        let root = tree(&[
            ("proc/self/status", "Name:\tx\nVmPeak:\t  9000 kB\nVmHWM:\t  4321 kB\n"),
            ("proc/self/task/10/schedstat", "1500000 20 3\n"),
            ("proc/self/task/11/schedstat", "500000 20 3\n"),
        ]);
        assert_eq!(peak_memory_kib(root.path()), Some(4321));
        assert_eq!(processor_time(root.path()), Some(Duration::from_millis(2)));
    }

    #[test]
    fn half_an_account_is_none() {
        let root = tree(&[("proc/self/task/10/schedstat", "1500000 20 3\n")]);
        std::fs::create_dir(root.path().join("proc/self/task/11")).unwrap();
        assert_eq!(processor_time(root.path()), None);
        assert_eq!(peak_memory_kib(root.path()), None);
    }
}
