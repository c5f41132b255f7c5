//! Where the drawn results go.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::inputs::Input;

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
    /// Decides what `out` means for the given paths, and makes the folder where it is one: a single
    /// photograph goes into a PNG file, unless `out` is a folder already; everything else goes into
    /// a folder.
    ///
    /// # Errors
    /// When `out` cannot be what it would have to be.
    pub fn prepare(out: Option<&Path>, paths: &[PathBuf]) -> anyhow::Result<Self> {
        let Some(out) = out else { return Ok(Self::Nowhere) };
        let png = out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
        let single = matches!(paths, [path] if !path.is_dir());
        if single && !out.is_dir() {
            if !png {
                bail!("{}: the picture's name must end in .png", out.display());
            }
            if same_file(out, &paths[0]) {
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

    /// The picture's path for one input: in a folder NAME-result.png, with the folders below the
    /// one that was searched kept in the name and a number where two would be the same.
    pub fn path_for(&mut self, input: &Input) -> Option<PathBuf> {
        match self {
            Self::Nowhere => None,
            Self::File(path) => Some(path.clone()),
            Self::Folder { folder, used } => {
                let parts: Vec<_> = input
                    .below
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
    use super::super::inputs::collect;
    use super::*;

    #[test]
    fn one_photograph_goes_into_a_file_and_never_over_itself() {
        let root = tempfile::tempdir().unwrap();
        let photo = root.path().join("a.png");
        std::fs::write(&photo, b"").unwrap();
        let paths = [photo.clone()];
        assert!(matches!(Outputs::prepare(None, &paths).unwrap(), Outputs::Nowhere));
        let out = root.path().join("r.png");
        assert!(matches!(Outputs::prepare(Some(&out), &paths).unwrap(), Outputs::File(_)));
        assert!(Outputs::prepare(Some(&photo), &paths).is_err());
        assert!(Outputs::prepare(Some(&root.path().join("r.jpg")), &paths).is_err());
        let two = [photo.clone(), photo];
        assert!(Outputs::prepare(Some(&out), &two).is_err());
    }

    #[test]
    fn several_photographs_get_different_names() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a.jpg", "a.png", "sub/a.jpg"] {
            let path = root.path().join("in").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let paths = [root.path().join("in")];
        let mut outputs = Outputs::prepare(Some(&root.path().join("out")), &paths).unwrap();
        let names: Vec<_> = collect(&paths, None)
            .iter()
            .map(|input| outputs.path_for(input).unwrap().file_name().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["a-result.png", "a-result-2.png", "sub-a-result.png"]);
    }
}
