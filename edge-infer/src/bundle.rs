//! A model bundle on disk: found, read under a size limit, hashed, its manifest checked.
//!
//! A bundle is one ONNX file whose `metadata_props` hold the manifest. The one that is used when
//! no file is named is found by [`find_default`].

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use glaucoma_common::manifest::{METADATA_KEY, Manifest, ManifestError};
use glaucoma_common::photo::sha256_hex;
use glaucoma_common::preprocess::to_input;
use glaucoma_common::self_test::{SelfTestError, picture};
use glaucoma_engine::{Engine, EngineError, Options, ParsedModel};

/// The largest bundle that is read: three times the paper's full-size network in `f32`.
pub const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// The folder that holds the released bundles.
const FOLDER: &str = "models";
/// Where a package installs what belongs to the program, below `/usr` or another prefix.
const SHARED: &str = "share/edge-infer";
/// The file in that folder that names the default bundle.
const POINTER: &str = "default.txt";

/// Why no model could be had.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// No folder with a default bundle was found.
    #[error(
        "no model was found: no models/default.txt beside {}; name a model file with --model",
        listed(.searched)
    )]
    NoDefault {
        /// The folders looked at, in order.
        searched: Vec<PathBuf>,
    },
    /// `models/default.txt` does not name a file beside it.
    #[error("{}: must hold the name of one .onnx file in the same folder, holds {content:?}", .path.display())]
    BadPointer {
        /// The pointer file.
        path: PathBuf,
        /// Its content, shortened.
        content: String,
    },
    /// A file could not be read.
    #[error("{}: cannot read the model: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is larger than [`MAX_BYTES`].
    #[error("{}: the model is larger than {} MiB", .path.display(), MAX_BYTES / (1024 * 1024))]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The ONNX file carries no manifest.
    #[error("{}: the model carries no manifest (metadata `{METADATA_KEY}`): it was not exported for this program", .path.display())]
    NoManifest {
        /// The file.
        path: PathBuf,
    },
    /// The manifest is of another format version, or wrong.
    #[error("{}: {source}", .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The network answers otherwise here than where it was exported and certified.
    #[error("{}: {source}: its certificates do not hold on this device", .path.display())]
    SelfTest {
        /// The file.
        path: PathBuf,
        /// The first figure that is off.
        source: SelfTestError,
    },
    /// The network itself cannot be used.
    #[error("{}: {source}", .path.display())]
    Engine {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: EngineError,
    },
}

/// A model ready to examine photographs.
#[derive(Debug)]
pub struct Bundle {
    /// Everything about the model that is not a weight.
    pub manifest: Manifest,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The prepared network.
    pub engine: Engine,
}

impl Bundle {
    /// Reads, checks and prepares the bundle in the file `path`, to run as `options` say.
    ///
    /// # Errors
    /// A [`BundleError`] that names the file and the step.
    pub fn open(path: &Path, options: &Options) -> Result<Self, BundleError> {
        let bytes = read_limited(path)?;
        let engine_error = |source| BundleError::Engine { path: path.to_path_buf(), source };
        let parsed = ParsedModel::parse(&bytes).map_err(engine_error)?;
        let sha256 = sha256_hex(&bytes);
        // Gone before the network is prepared: a full-size file is as large as its packed weights.
        drop(bytes);
        let text = parsed
            .metadata(METADATA_KEY)
            .ok_or_else(|| BundleError::NoManifest { path: path.to_path_buf() })?;
        let manifest = Manifest::from_json(&text)
            .map_err(|source| BundleError::Manifest { path: path.to_path_buf(), source })?;
        let engine = Engine::new(&parsed, manifest.input.side, &manifest.outputs, options)
            .map_err(engine_error)?;
        if let Some(self_test) = &manifest.self_test {
            let pixels = to_input(&picture(engine.side()), manifest.input.scale);
            let answer = engine.run(&pixels).map_err(engine_error)?;
            let check = self_test.check(&answer);
            check.map_err(|source| BundleError::SelfTest { path: path.to_path_buf(), source })?;
        }
        Ok(Self { manifest, sha256, engine })
    }
}

/// The default bundle: the file that `models/default.txt` names, in the first `models` folder that
/// has one. Looked for beside, in this order: the working directory, the program's own folder and
/// each folder above it (and in `share/edge-infer` there, as a package installs it), the source tree the program
/// was built from.
///
/// # Errors
/// [`BundleError::NoDefault`] with the places looked at, [`BundleError::BadPointer`].
pub fn find_default() -> Result<PathBuf, BundleError> {
    find_default_beside(&default_places())
}

/// The file that is `named`, else [`find_default`].
///
/// # Errors
/// As [`find_default`].
pub fn named_or_default(named: Option<&Path>) -> Result<PathBuf, BundleError> {
    named.map_or_else(find_default, |path| Ok(path.to_path_buf()))
}

/// As [`find_default`], in the given places.
///
/// # Errors
/// As [`find_default`].
pub fn find_default_beside(places: &[PathBuf]) -> Result<PathBuf, BundleError> {
    for place in places {
        let folder = place.join(FOLDER);
        let pointer = folder.join(POINTER);
        if pointer.is_file() {
            return follow(&folder, &pointer);
        }
    }
    Err(BundleError::NoDefault { searched: places.to_vec() })
}

fn default_places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    places.extend(std::env::current_dir());
    if let Ok(program) = std::env::current_exe() {
        let above = program.ancestors().skip(1);
        places.extend(above.flat_map(|folder| [folder.to_path_buf(), folder.join(SHARED)]));
    }
    // The last resort serves a build that is run from outside its source tree.
    places.extend(Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf));
    let mut seen = std::collections::HashSet::new();
    places.retain(|place| seen.insert(place.clone()));
    places
}

/// Reads a pointer file: one line, the plain name of an `.onnx` file in the same folder.
fn follow(folder: &Path, pointer: &Path) -> Result<PathBuf, BundleError> {
    let content = std::fs::read_to_string(pointer)
        .map_err(|source| BundleError::Read { path: pointer.to_path_buf(), source })?;
    let name = content.trim();
    let plain = Path::new(name).file_name().is_some_and(|file| file == name);
    if plain && name.ends_with(".onnx") {
        Ok(folder.join(name))
    } else {
        Err(BundleError::BadPointer {
            path: pointer.to_path_buf(),
            content: name.chars().take(80).collect(),
        })
    }
}

fn read_limited(path: &Path) -> Result<Vec<u8>, BundleError> {
    let read_error = |source| BundleError::Read { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(read_error)?;
    let mut bytes = Vec::new();
    // One byte past the limit tells a file that is too large from one that just fits.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(read_error)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(BundleError::TooLarge { path: path.to_path_buf() });
    }
    Ok(bytes)
}

fn listed(places: &[PathBuf]) -> String {
    places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
}
