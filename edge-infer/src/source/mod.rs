//! Where photographs come from: files, folders, listings, object stores. One after another, so
//! that an archive of any size is gone through without being held.

mod folder;
mod listing;
#[cfg(feature = "cloud")]
mod store;
#[cfg(not(feature = "cloud"))]
#[path = "store_absent.rs"]
mod store;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use store::{Object, Stores};

/// Everything one command is to go through.
#[derive(Debug, Default)]
pub struct Sources {
    /// Files, folders and URLs.
    pub paths: Vec<PathBuf>,
    /// A file that names one photograph a line; `-` is standard input.
    pub listing: Option<PathBuf>,
    /// A folder that is never searched: the command's own results lie there.
    pub results: Option<PathBuf>,
}

/// One photograph that has been named or found; whether it can be read shows when it is.
#[derive(Debug)]
pub struct Photograph {
    place: Place,
    /// The path below the folder or prefix it was found in; none for one named outright.
    below: Option<PathBuf>,
}

/// Where a photograph's bytes are.
#[derive(Debug)]
enum Place {
    /// A file named on the command line or found in a folder.
    File(PathBuf),
    /// A file named in a listing: something else than a regular file is refused, since nobody has
    /// looked at the name, and reading a pipe could take forever.
    Listed(PathBuf),
    /// An object in a store.
    Object(Object),
    /// A name that leads nowhere, and why.
    Nowhere { name: String, problem: String },
}

/// Something that kept photographs from being found at all.
#[derive(Debug)]
pub struct Problem {
    /// The folder, listing or prefix.
    pub place: String,
    /// What is wrong with it, in a sentence.
    pub message: String,
}

/// What a search comes upon.
pub type Found = Result<Photograph, Problem>;

/// What a store lists: an object and its path below the prefix, or why the store stopped.
type Listed = Result<(Object, PathBuf), String>;

/// A photograph's bytes, and the [stamp](Photograph::stamp) they had when they were read.
#[derive(Debug)]
pub struct Fetched {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The stamp.
    pub stamp: String,
}

impl Sources {
    /// Goes through all of them: the paths in the order given, then the listing. A folder's
    /// photographs come in the order of their names, those of an object store in its own order.
    ///
    /// A file named outright is taken whatever its name says; in a folder or under a prefix, names
    /// ending in jpg, jpeg or png count and hidden ones do not.
    pub fn photographs(&self) -> impl Iterator<Item = Found> + Send + '_ {
        let stores = std::sync::Arc::new(Stores::default());
        let for_listing = stores.clone();
        let named = self.paths.iter().flat_map(move |path| self.named(path, &stores));
        let listed = self.listing.iter().flat_map(move |path| {
            let stores = for_listing.clone();
            let lines = listing::lines(path)
                .map(move |line| line.map(|line| Photograph::from_line(&line, &stores)));
            never_empty(lines, path.display().to_string(), "it names no photographs")
        });
        named.chain(listed)
    }

    /// The photographs that one path of the command line means.
    fn named(&self, path: &Path, stores: &Stores) -> Box<dyn Iterator<Item = Found> + Send + '_> {
        const NONE: &str = "there are no photographs (jpg, jpeg or png) in it";
        if let Some(url) = path.to_str().filter(|text| is_url(text)) {
            if is_photograph(Path::new(url)) {
                return Box::new(std::iter::once(Ok(Photograph::from_url(url, stores))));
            }
            return Box::new(never_empty(under_prefix(url, stores), url.to_string(), NONE));
        }
        if path.is_dir() {
            let found = folder::walk(path, self.results.as_deref());
            return Box::new(never_empty(found, path.display().to_string(), NONE));
        }
        let place = Place::File(path.to_path_buf());
        Box::new(std::iter::once(Ok(Photograph { place, below: None })))
    }

    /// The one file that is meant, where no more than one can be.
    pub fn single_file(&self) -> Option<&Path> {
        match (self.paths.as_slice(), &self.listing) {
            ([path], None) if !path.is_dir() && !path.to_str().is_some_and(is_url) => Some(path),
            _ => None,
        }
    }
}

impl Photograph {
    fn from_line(line: &OsStr, stores: &Stores) -> Self {
        match line.to_str().filter(|text| is_url(text)) {
            Some(url) => Self::from_url(url, stores),
            None => Self { place: Place::Listed(PathBuf::from(line)), below: None },
        }
    }

    fn from_url(url: &str, stores: &Stores) -> Self {
        let place = match stores.object(url) {
            Ok(object) => Place::Object(object),
            Err(problem) => Place::Nowhere { name: url.to_string(), problem },
        };
        Self { place, below: None }
    }

    /// The path or URL as it is printed and recorded. Bytes of a name that are not UTF-8 are
    /// written as `\xNN`, so that different names stay different.
    pub fn name(&self) -> String {
        match &self.place {
            Place::File(path) | Place::Listed(path) => printable(path.as_os_str()),
            Place::Object(object) => object.url().to_string(),
            Place::Nowhere { name, .. } => name.clone(),
        }
    }

    /// The path below the folder or prefix it was found in; none for one named outright.
    pub fn below(&self) -> Option<&Path> {
        self.below.as_deref()
    }

    /// What decides the photograph's shard: the path below the folder or prefix it was found in,
    /// with `/` between its parts, so that neither other files nor the place where an archive is
    /// mounted matter; the name as written for one named outright or in a listing.
    pub fn key(&self) -> String {
        match &self.below {
            Some(below) => {
                let parts = below.components().map(|part| printable(part.as_os_str()));
                parts.collect::<Vec<_>>().join("/")
            }
            None => self.name(),
        }
    }

    /// A short text that changes when the photograph is replaced: size and time of change of a
    /// file, entity tag of an object. Costs no more than a look at the directory or a HEAD request.
    ///
    /// # Errors
    /// A sentence that says why nothing is known.
    pub fn stamp(&self) -> Result<String, String> {
        match &self.place {
            Place::File(path) | Place::Listed(path) => {
                std::fs::metadata(path).map(|found| file_stamp(&found)).map_err(unreadable)
            }
            Place::Object(object) => object.stamp(),
            Place::Nowhere { problem, .. } => Err(problem.clone()),
        }
    }

    /// The bytes, at most one more than `max_bytes`: enough for the decoder to see that a
    /// photograph is too large without holding it.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn read(&self, max_bytes: usize) -> Result<Fetched, String> {
        match &self.place {
            Place::File(path) => read_file(path, max_bytes),
            Place::Listed(path) => {
                if std::fs::metadata(path).map_err(unreadable)?.is_file() {
                    read_file(path, max_bytes)
                } else {
                    Err("the file cannot be read: it is no regular file".to_string())
                }
            }
            Place::Object(object) => object.read(max_bytes),
            Place::Nowhere { problem, .. } => Err(problem.clone()),
        }
    }
}

fn read_file(path: &Path, max_bytes: usize) -> Result<Fetched, String> {
    let file = File::open(path).map_err(unreadable)?;
    let stamp = file_stamp(&file.metadata().map_err(unreadable)?);
    let mut bytes = Vec::new();
    file.take(max_bytes as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(Fetched { bytes, stamp })
}

fn unreadable(error: std::io::Error) -> String {
    format!("the file cannot be read: {error}")
}

/// Size in bytes and time of change in nanoseconds since 1970.
fn file_stamp(file: &Metadata) -> String {
    let changed = file.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("{}-{}", file.len(), changed.unwrap_or_default().as_nanos())
}

/// The photographs under an object store's prefix.
fn under_prefix(url: &str, stores: &Stores) -> Box<dyn Iterator<Item = Found> + Send> {
    let place = url.to_string();
    let problem = |place: &str, message| Problem { place: place.to_string(), message };
    match stores.list(url) {
        Err(message) => Box::new(std::iter::once(Err(problem(&place, message)))),
        Ok(objects) => Box::new(objects.filter_map(move |found| match found {
            Ok((object, below)) => {
                let hidden = below.components().any(|part| is_hidden(part.as_os_str()));
                let wanted = is_photograph(&below) && !hidden;
                wanted
                    .then_some(Ok(Photograph { place: Place::Object(object), below: Some(below) }))
            }
            Err(message) => Some(Err(problem(&place, message))),
        })),
    }
}

/// Lets a search that comes upon nothing say so.
fn never_empty(
    mut search: impl Iterator<Item = Found> + Send,
    place: String,
    message: &'static str,
) -> impl Iterator<Item = Found> + Send {
    let mut empty = true;
    std::iter::from_fn(move || {
        let next = search.next().or_else(|| {
            empty.then(|| Err(Problem { place: place.clone(), message: message.to_string() }))
        });
        empty = false;
        next
    })
}

/// Whether `text` has the form of a URL, `scheme://...`.
fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

fn is_photograph(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn printable(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests;
