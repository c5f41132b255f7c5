//! Which photographs the command line means.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

/// One photograph to examine, or a path that turned out not to lead to one.
#[derive(Debug, PartialEq, Eq)]
pub struct Input {
    /// The path as given, or as found under a given folder.
    pub path: PathBuf,
    /// The path below the folder it was found in; the plain name for one given by itself.
    pub below: PathBuf,
    /// Why there is nothing to read.
    problem: Option<String>,
}

impl Input {
    /// The path as it is printed.
    pub fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// The file's bytes, at most one more than `max_bytes`: enough for the decoder to see that a
    /// file is too large without holding it.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the path.
    pub fn read(&self, max_bytes: usize) -> Result<Vec<u8>, String> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        let cannot = |error: std::io::Error| format!("the file cannot be read: {error}");
        let file = File::open(&self.path).map_err(cannot)?;
        let mut bytes = Vec::new();
        file.take(max_bytes as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
        Ok(bytes)
    }

    fn file(path: &Path, below: &Path) -> Self {
        Self { path: path.to_path_buf(), below: below.to_path_buf(), problem: None }
    }

    fn problem(path: &Path, problem: String) -> Self {
        Self { problem: Some(problem), ..Self::file(path, plain_name(path)) }
    }
}

/// The photographs of the given files and folders, in the order given, a folder's in the order of
/// their names. A file named outright is taken whatever its name says; in a folder, names ending in
/// jpg, jpeg or png count, hidden ones do not, and the folder results are written to is left out.
pub fn collect(paths: &[PathBuf], results: Option<&Path>) -> Vec<Input> {
    let results = results.and_then(|path| path.canonicalize().ok());
    let mut inputs = Vec::new();
    for path in paths {
        if path.is_dir() {
            inputs.extend(walk(path, results.as_deref()));
        } else {
            inputs.push(Input::file(path, plain_name(path)));
        }
    }
    inputs
}

fn walk(folder: &Path, results: Option<&Path>) -> Vec<Input> {
    let wanted = |entry: &DirEntry| {
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let own = results.is_some() && entry.path().canonicalize().ok().as_deref() == results;
        entry.depth() == 0 || !(hidden || own)
    };
    let mut inputs = Vec::new();
    let entries = WalkDir::new(folder).follow_links(true).sort_by_file_name();
    for entry in entries.into_iter().filter_entry(wanted) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && is_photograph(entry.path()) => {
                let below = entry.path().strip_prefix(folder).unwrap_or(entry.path());
                inputs.push(Input::file(entry.path(), below));
            }
            Ok(_) => {}
            Err(error) => {
                let path = error.path().unwrap_or(folder).to_path_buf();
                let reason = match error.into_io_error() {
                    Some(error) => format!("cannot be read: {error}"),
                    None => "is a link that leads back to a folder it lies in".to_string(),
                };
                inputs.push(Input::problem(&path, format!("the path {reason}")));
            }
        }
    }
    if inputs.is_empty() {
        let problem = "the folder holds no photographs (jpg, jpeg or png)".to_string();
        inputs.push(Input::problem(folder, problem));
    }
    inputs
}

fn is_photograph(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn plain_name(path: &Path) -> &Path {
    path.file_name().map_or(path, Path::new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shown(inputs: &[Input], root: &Path) -> Vec<String> {
        inputs
            .iter()
            .map(|input| input.path.strip_prefix(root).unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn folders_are_walked_in_the_order_of_names() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for name in ["b.PNG", "a.jpg", "sub/c.jpeg", "notes.txt", ".hidden.jpg", "out/a-result.png"]
        {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let inputs = collect(&[root.to_path_buf()], Some(&root.join("out")));
        assert_eq!(shown(&inputs, root), ["a.jpg", "b.PNG", "sub/c.jpeg"]);
        assert_eq!(inputs[2].below, Path::new("sub/c.jpeg"));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let root = tempfile::tempdir().unwrap();
        let inputs = collect(&[root.path().to_path_buf(), root.path().join("gone.jpg")], None);
        assert_eq!(inputs.len(), 2);
        assert!(inputs[0].read(10).unwrap_err().contains("no photographs"));
        assert!(inputs[1].read(10).unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn no_more_than_the_limit_is_held() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("large.jpg");
        std::fs::write(&path, vec![0; 100]).unwrap();
        assert_eq!(collect(&[path], None)[0].read(10).unwrap().len(), 11);
    }
}
