//! A file that names one photograph a line.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::Problem;

/// The longest line in bytes: four times the longest path of Linux. Something without line ends
/// is no listing and must not be held.
const LONGEST: usize = 16 * 1024;

/// The lines of the listing at `path` (`-` is standard input), without their ends (LF or CR LF)
/// and without empty ones. A mark of byte order before the first is dropped.
pub fn lines(path: &Path) -> impl Iterator<Item = Result<OsString, Problem>> + Send + use<> {
    let place = path.display().to_string();
    let problem = move |message: String| Problem { place: place.clone(), message };
    let opened: std::io::Result<Box<dyn BufRead + Send>> = if path == Path::new("-") {
        Ok(Box::new(BufReader::new(std::io::stdin())))
    } else {
        File::open(path).map(|file| Box::new(BufReader::new(file)) as _)
    };
    let (mut reader, mut failure) = match opened {
        Ok(reader) => (Some(reader), None),
        Err(error) => (None, Some(error)),
    };
    let mut number = 0_u64;
    std::iter::from_fn(move || {
        while let Some(open) = &mut reader {
            number += 1;
            match read_line(open, number == 1) {
                Ok(Some(Line::Whole(line))) if line.is_empty() => {}
                Ok(Some(Line::Whole(line))) => match to_name(line) {
                    Some(name) => return Some(Ok(name)),
                    None => return Some(Err(problem(format!("line {number} is not UTF-8")))),
                },
                Ok(Some(Line::TooLong)) => {
                    let message = format!("line {number} is longer than {LONGEST} bytes");
                    return Some(Err(problem(message)));
                }
                Ok(None) => reader = None,
                Err(error) => {
                    reader = None;
                    failure = Some(error);
                }
            }
        }
        let error = failure.take()?;
        Some(Err(problem(format!("the listing cannot be read: {error}"))))
    })
}

enum Line {
    Whole(Vec<u8>),
    TooLong,
}

/// The next line without its end; `None` at the end of the listing. The rest of a line that is too
/// long is passed over.
fn read_line(reader: &mut impl BufRead, first: bool) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    reader.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > LONGEST {
        reader.skip_until(b'\n')?;
        return Ok(Some(Line::TooLong));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if first && line.starts_with(b"\xef\xbb\xbf") {
        line.drain(..3);
    }
    Ok(Some(Line::Whole(line)))
}

/// A name may be any bytes where the system's names are.
#[cfg(unix)]
fn to_name(line: Vec<u8>) -> Option<OsString> {
    use std::os::unix::ffi::OsStringExt;
    Some(OsString::from_vec(line))
}

#[cfg(not(unix))]
fn to_name(line: Vec<u8>) -> Option<OsString> {
    String::from_utf8(line).ok().map(OsString::from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The lines as text; a problem as its message.
    fn read(content: &[u8]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("listing");
        std::fs::write(&path, content).unwrap();
        lines(&path)
            .map(|line| {
                line.map_or_else(
                    |problem| problem.message,
                    |line| line.to_string_lossy().into_owned(),
                )
            })
            .collect()
    }

    #[test]
    fn line_ends_empty_lines_and_byte_order_marks_are_no_names() {
        let content = b"\xef\xbb\xbfa.jpg\r\n\n  b c.jpg \r\n\r\n#d.jpg\ns3://bucket/e.jpg";
        assert_eq!(read(content), ["a.jpg", "  b c.jpg ", "#d.jpg", "s3://bucket/e.jpg"]);
        assert!(read(b"").is_empty());
    }

    #[test]
    fn an_endless_line_is_passed_over_unheld() {
        let mut content = vec![b'x'; 3 * LONGEST];
        content.extend(b"\nb.jpg\n");
        content.extend(vec![b'y'; LONGEST]);
        let found = read(&content);
        assert_eq!(found[0], format!("line 1 is longer than {LONGEST} bytes"));
        assert_eq!(found[1], "b.jpg");
        assert_eq!(found[2].len(), LONGEST);
    }

    #[test]
    fn a_listing_that_is_not_there_is_a_problem() {
        let found: Vec<_> = lines(Path::new("no/such/listing")).collect();
        assert_eq!(found.len(), 1);
        assert!(found[0].as_ref().unwrap_err().message.contains("No such file"));
    }

    #[cfg(unix)]
    #[test]
    fn a_name_may_be_any_bytes() {
        assert_eq!(read(b"\xff\x00.jpg\n"), ["\u{fffd}\0.jpg"]);
    }
}
