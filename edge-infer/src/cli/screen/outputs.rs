//! Where the drawn results go.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The plan for `--out`.
#[derive(Debug)]
pub enum Outputs {
    /// Nothing is drawn.
    Nowhere,
    /// One picture for the one photograph.
    File(PathBuf),
    /// A picture a photograph, in this folder.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Names given out so far.
        used: HashSet<PathBuf>,
    },
}

impl Outputs {
    /// Decides what `out` means, and makes the folder where it is one: `single`, the one photograph
    /// that is meant, goes into a PNG file, unless `out` is a folder already; several go into a
    /// folder.
    ///
    /// # Errors
    /// When `out` cannot be what it would have to be.
    pub fn prepare(out: Option<&Path>, single: Option<&Path>) -> anyhow::Result<Self> {
        let Some(out) = out else { return Ok(Self::Nowhere) };
        let png = out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
        if let Some(photograph) = single.filter(|_| !out.is_dir()) {
            if !png {
                bail!("{}: the picture's name must end in .png", out.display());
            }
            if same_file(out, photograph) {
                bail!("{}: the picture would replace the photograph", out.display());
            }
            return Ok(Self::File(out.to_path_buf()));
        }
        if png && !out.is_dir() {
            bail!("{}: names one picture; for several photographs name a folder", out.display());
        }
        std::fs::create_dir_all(out)
            .with_context(|| format!("{}: cannot make the folder", out.display()))?;
        Ok(Self::Folder { folder: out.to_path_buf(), used: HashSet::new() })
    }

    /// The path of one photograph's picture: in a folder NAME-result.png, with the folders `below`
    /// the one that was searched kept in the name and a number where two would be the same.
    pub fn path_for(&mut self, below: &Path) -> Option<PathBuf> {
        match self {
            Self::Nowhere => None,
            Self::File(path) => Some(path.clone()),
            Self::Folder { folder, used } => {
                let parts: Vec<_> = below
                    .with_extension("")
                    .components()
                    .map(|part| part.as_os_str().to_string_lossy().into_owned())
                    .collect();
                let stem = parts.join("-");
                let names = std::iter::once(format!("{stem}-result.png"))
                    .chain((2..).map(|number| format!("{stem}-result-{number}.png")));
                names.map(|name| folder.join(name)).find(|path| used.insert(path.clone()))
            }
        }
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_photograph_goes_into_a_file_and_never_over_itself() {
        let root = tempfile::tempdir().unwrap();
        let photo = root.path().join("a.png");
        std::fs::write(&photo, b"").unwrap();
        let one = Some(photo.as_path());
        assert!(matches!(Outputs::prepare(None, one).unwrap(), Outputs::Nowhere));
        let out = root.path().join("r.png");
        assert!(matches!(Outputs::prepare(Some(&out), one).unwrap(), Outputs::File(_)));
        assert!(Outputs::prepare(Some(&photo), one).is_err());
        assert!(Outputs::prepare(Some(&root.path().join("r.jpg")), one).is_err());
        assert!(Outputs::prepare(Some(&out), None).is_err());
    }

    #[test]
    fn several_photographs_get_different_names() {
        let root = tempfile::tempdir().unwrap();
        let mut outputs = Outputs::prepare(Some(&root.path().join("out")), None).unwrap();
        let names: Vec<_> = ["a.jpg", "a.png", "sub/a.jpg"]
            .iter()
            .map(|below| outputs.path_for(Path::new(below)).unwrap())
            .map(|path| path.file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["a-result.png", "a-result-2.png", "sub-a-result.png"]);
    }
}
