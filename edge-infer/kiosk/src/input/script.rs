//! A day as a text file: one step a line, `#` begins a comment.
//!
//! ```text
//! touch 120 300            a finger at this pixel
//! button ok                up, down, ok or back
//! wait 5s                  time goes on
//! photograph FILE right    the camera delivers a file; the eye only where the file itself names it
//! incoming                 waits until a set-up intake has brought a photograph
//! live                     waits until a live picture is shown
//! sent                     waits until nothing waits to be sent
//! scan RW-0042             the scanner reads a number
//! camera off               on or off
//! ```

use std::path::{Path, PathBuf};

use embedded_graphics::prelude::Point;
use glaucoma_common::reading::Laterality;

use crate::model::Button;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A finger at a pixel.
    Touch(Point),
    /// A button.
    Button(Button),
    /// So many seconds go by.
    Wait(u64),
    /// The camera delivers a photograph.
    Photograph {
        /// The file; a relative path is one from the script's folder.
        file: PathBuf,
        /// The eye its file names.
        eye: Option<Laterality>,
    },
    /// A photograph comes in from an intake, not from the script.
    Incoming,
    /// A live picture is shown.
    Live,
    /// Everything is sent.
    Sent,
    /// The scanner reads a number.
    Scan(String),
    /// The camera comes or goes.
    Camera(bool),
}

/// Why a script could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// It could not be read.
    #[error("{}: cannot read the script: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line is no step.
    #[error("{}: line {line}: {reason}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads a script.
///
/// # Errors
/// [`ScriptError`] with the file, and the number of the first line that is no step.
pub fn read(path: &Path) -> Result<Vec<Step>, ScriptError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ScriptError::Read { path: path.to_path_buf(), source })?;
    parse(&text, path)
}

/// Parses a script that stands in the file `path`.
///
/// # Errors
/// [`ScriptError::Line`] for the first line that is no step.
pub fn parse(text: &str, path: &Path) -> Result<Vec<Step>, ScriptError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut steps = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words: Vec<&str> =
            line.split('#').next().unwrap_or_default().split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let step = step(&words, folder).map_err(|reason| ScriptError::Line {
            path: path.to_path_buf(),
            line: index + 1,
            reason,
        })?;
        steps.push(step);
    }
    Ok(steps)
}

fn step(words: &[&str], folder: &Path) -> Result<Step, String> {
    match words {
        ["touch", x, y] => Ok(Step::Touch(Point::new(number(x)?, number(y)?))),
        ["button", name] => Ok(Step::Button(match *name {
            "up" => Button::Up,
            "down" => Button::Down,
            "ok" => Button::Ok,
            "back" => Button::Back,
            other => return Err(format!("'{other}' is no button: up, down, ok, back")),
        })),
        ["wait", time] => {
            let seconds = time.strip_suffix('s').unwrap_or(time);
            Ok(Step::Wait(number(seconds)?))
        }
        ["photograph", file] => Ok(Step::Photograph { file: folder.join(file), eye: None }),
        ["photograph", file, eye] => {
            let eye = match *eye {
                "right" => Laterality::Right,
                "left" => Laterality::Left,
                other => return Err(format!("'{other}' is no eye: right, left")),
            };
            Ok(Step::Photograph { file: folder.join(file), eye: Some(eye) })
        }
        ["incoming"] => Ok(Step::Incoming),
        ["live"] => Ok(Step::Live),
        ["sent"] => Ok(Step::Sent),
        ["scan", id] => Ok(Step::Scan((*id).to_owned())),
        ["camera", "on"] => Ok(Step::Camera(true)),
        ["camera", "off"] => Ok(Step::Camera(false)),
        [first, ..] => Err(format!("'{first}' is no step, or has too few or too many words")),
        [] => Err("the line is empty".into()),
    }
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("'{word}' is no number"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_script_is_read_line_by_line() {
        let text = "# morning\n\ntouch 12 -3\nbutton ok # yes\nwait 5s\nwait 2\n\
                    photograph eyes/a.jpg left\nphotograph b.jpg\nincoming\nlive\nsent\nscan X-1\ncamera off\n";
        let steps = parse(text, Path::new("day/script.txt")).unwrap();
        let left = Some(Laterality::Left);
        let expected = [
            Step::Touch(Point::new(12, -3)),
            Step::Button(Button::Ok),
            Step::Wait(5),
            Step::Wait(2),
            Step::Photograph { file: "day/eyes/a.jpg".into(), eye: left },
            Step::Photograph { file: "day/b.jpg".into(), eye: None },
            Step::Incoming,
            Step::Live,
            Step::Sent,
            Step::Scan("X-1".into()),
            Step::Camera(false),
        ];
        assert_eq!(steps, expected);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let cases = [
            ("wait 1s\n\nbutton left", "line 3: 'left' is no button"),
            ("touch 1", "line 1: 'touch' is no step, or has too few"),
            ("wait soon", "line 1: 'soon' is no number"),
            ("photograph a.jpg middle", "line 1: 'middle' is no eye"),
            ("wait -1", "line 1: '-1' is no number"),
        ];
        for (text, expected) in cases {
            let message = parse(text, Path::new("day.txt")).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("day.txt"), "{message}");
        }
    }
}
