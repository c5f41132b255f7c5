//! REFUGE in both forms in which it lies on people's disks: all four labels on every photograph.
//!
//! The challenge's own folders (parts and their annotations apart, spreadsheets), and the converted
//! form that the paper's reference code reads (`{train,val,test}/{images,seg,index.json}`).
//! Masks are BMP of the photograph's size: 0 cup, 128 rim, 255 background.

use super::table::{Row, Table, files_below, keep, relative};
use super::{
    Dataset, DatasetError, MaskSource, MaskTruth, Part, Problem, ProblemKind, Sample, Truth,
};
use glaucoma_common::preprocess::NativePoint;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What [`is_challenge`] looks for, in words.
pub const LOOKED_FOR_CHALLENGE: &str = "REFUGE as the challenge distributes it: Training400/, REFUGE-Validation400/ or REFUGE-Test400/ \
     with Annotation-Training400/, REFUGE-Validation400-GT/ or REFUGE-Test-GT/";

/// What [`is_converted`] looks for, in words.
pub const LOOKED_FOR_CONVERTED: &str =
    "REFUGE converted: train/, val/ or test/ with images/, seg/ and index.json";

/// Where a part's photographs and annotations may lie in the challenge's form; archives unpack
/// with or without a folder of their own name, so everything is searched for below these.
struct Place {
    part: Part,
    photos: [&'static str; 2],
    annotations: &'static str,
}

const PLACES: [Place; 3] = [
    Place {
        part: Part::Train,
        photos: ["Training400", "REFUGE-Training400"],
        annotations: "Annotation-Training400",
    },
    Place {
        part: Part::Validation,
        photos: ["REFUGE-Validation400", "Validation400"],
        annotations: "REFUGE-Validation400-GT",
    },
    Place {
        part: Part::Test,
        photos: ["REFUGE-Test400", "Test400"],
        annotations: "REFUGE-Test-GT",
    },
];

const CONVERTED: [(Part, &str); 3] =
    [(Part::Train, "train"), (Part::Validation, "val"), (Part::Test, "test")];

/// Whether `dir` is the challenge's layout (any of its parts).
pub fn is_challenge(dir: &Path) -> bool {
    PLACES.iter().any(|place| place.photo_folder(dir).is_some())
}

/// Whether `dir` is the converted layout (any of its parts).
pub fn is_converted(dir: &Path) -> bool {
    CONVERTED.iter().any(|(_, folder)| dir.join(folder).join("index.json").is_file())
}

/// Imports the challenge's layout from `dir`.
///
/// # Errors
/// An unreadable folder or spreadsheet. Bad rows and missing files are problems of the data set.
pub fn import_challenge(dir: &Path) -> Result<Dataset, DatasetError> {
    let mut dataset = empty(dir);
    for place in &PLACES {
        if let Some(photos) = place.photo_folder(dir) {
            import_place(dir, place, &photos, &mut dataset)?;
        } else if dir.join(place.annotations).is_dir() {
            let what =
                format!("annotations without photographs: no {}/ beside it", place.photos[0]);
            dataset.problems.push(Problem::new(
                dir.join(place.annotations),
                ProblemKind::Missing,
                what,
            ));
        }
    }
    Ok(dataset)
}

/// Imports the converted layout from `dir`.
///
/// # Errors
/// An unreadable folder or index. Bad entries and missing files are problems of the data set.
pub fn import_converted(dir: &Path) -> Result<Dataset, DatasetError> {
    let mut dataset = empty(dir);
    for (part, folder) in CONVERTED {
        let folder = dir.join(folder);
        if folder.join("index.json").is_file() {
            import_index(dir, &folder, part, &mut dataset)?;
        } else if folder.join("images").is_dir() {
            let what = "photographs without an index".to_owned();
            dataset.problems.push(Problem::new(
                folder.join("index.json"),
                ProblemKind::Missing,
                what,
            ));
        }
    }
    Ok(dataset)
}

fn empty(dir: &Path) -> Dataset {
    Dataset { name: "refuge".into(), root: dir.to_path_buf(), samples: vec![], problems: vec![] }
}

impl Place {
    fn photo_folder(&self, dir: &Path) -> Option<PathBuf> {
        self.photos.iter().map(|name| dir.join(name)).find(|folder| folder.is_dir())
    }
}

/// One photograph's row of the spreadsheets.
#[derive(Default)]
struct Record {
    fovea: Option<NativePoint>,
    glaucoma: Option<bool>,
}

/// The masks and rows of one part, each by the photograph's stem in lower case, and which were used.
struct Annotations {
    masks: BTreeMap<String, (PathBuf, bool)>,
    records: BTreeMap<String, (Record, PathBuf, bool)>,
    tables: usize,
}

fn import_place(
    root: &Path,
    place: &Place,
    photos: &Path,
    dataset: &mut Dataset,
) -> Result<(), DatasetError> {
    let folder = root.join(place.annotations);
    let problems = &mut dataset.problems;
    let mut annotations =
        Annotations { masks: BTreeMap::new(), records: BTreeMap::new(), tables: 0 };
    if folder.is_dir() {
        annotations = Annotations::read(&folder, problems)?;
    } else {
        let what = format!("annotations of {}", photos.display());
        problems.push(Problem::new(&folder, ProblemKind::Missing, what));
    }
    for photo in files_below(photos, &["jpg", "jpeg"])? {
        let truth = annotations.truth_of(&photo, place.part, problems);
        dataset.samples.push(Sample {
            id: format!("refuge/{}", relative(root, &photo)),
            dataset: "refuge".into(),
            photo,
            patient: None,
            part: Some(place.part),
            declared_size: None,
            truth,
            framing: None,
        });
    }
    problems.extend(annotations.unused());
    Ok(())
}

impl Annotations {
    fn read(folder: &Path, problems: &mut Vec<Problem>) -> Result<Self, DatasetError> {
        let mut masks = BTreeMap::new();
        for path in files_below(folder, &["bmp"])? {
            if let Some((other, _)) = masks.insert(stem(&path), (path.clone(), false)) {
                let what = format!("another mask of this name: {}", path.display());
                problems.push(Problem::new(other, ProblemKind::Duplicate, what));
            }
        }
        let (mut records, mut tables) = (BTreeMap::new(), 0);
        for path in files_below(folder, &["xlsx"])? {
            // "~$" marks the lock file that a spreadsheet program leaves beside an open workbook.
            if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("~$")) {
                tables += 1;
                read_records(&path, &mut records, problems)?;
            }
        }
        if tables == 0 {
            problems.push(Problem::new(
                folder,
                ProblemKind::Missing,
                "no spreadsheet (*.xlsx) with fovea positions",
            ));
        }
        Ok(Self { masks, records, tables })
    }

    fn truth_of(&mut self, photo: &Path, part: Part, problems: &mut Vec<Problem>) -> Truth {
        let key = stem(photo);
        let mut truth = Truth::default();
        if let Some((path, used)) = self.masks.get_mut(&key) {
            *used = true;
            set_masks(&mut truth, path);
        } else {
            problems.push(Problem::new(
                photo,
                ProblemKind::Missing,
                "no mask (*.bmp) of this name",
            ));
        }
        if let Some((record, _, used)) = self.records.get_mut(&key) {
            *used = true;
            truth.fovea = record.fovea;
            truth.glaucoma = record.glaucoma;
        } else if self.tables > 0 {
            problems.push(Problem::new(photo, ProblemKind::Missing, "no row in the spreadsheets"));
        }
        let by_folder = class_of_folder(photo);
        if part == Part::Train && truth.glaucoma.is_none() {
            truth.glaucoma = by_folder;
        }
        match (by_folder, truth.glaucoma) {
            (Some(folder), Some(row)) if folder != row => {
                let what = "the folder and the spreadsheet give different classes";
                problems.push(Problem::new(photo, ProblemKind::BadAnnotation, what));
                truth.glaucoma = None;
            }
            (_, None) => {
                problems.push(Problem::new(photo, ProblemKind::Missing, "no glaucoma label"))
            }
            _ => {}
        }
        truth
    }

    /// Masks and rows of no photograph.
    fn unused(self) -> Vec<Problem> {
        let masks = self.masks.into_values().filter(|(_, used)| !used);
        let masks = masks.map(|(path, _)| {
            Problem::new(path, ProblemKind::NotListed, "a mask of no photograph here")
        });
        let records = self.records.into_iter().filter(|(_, (_, _, used))| !used);
        let records = records.map(|(name, (_, table, _))| {
            Problem::new(
                table,
                ProblemKind::Missing,
                format!("the photograph `{name}` of a row is not here"),
            )
        });
        masks.chain(records).collect()
    }
}

/// Training photographs lie in a folder of their class.
fn class_of_folder(photo: &Path) -> Option<bool> {
    let folder = photo.parent()?.file_name()?.to_string_lossy().to_ascii_lowercase();
    match folder.as_str() {
        "glaucoma" => Some(true),
        "non-glaucoma" => Some(false),
        _ => None,
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

fn set_masks(truth: &mut Truth, path: &Path) {
    truth.disc = Some(MaskTruth::real(MaskSource::RefugeDisc(path.to_path_buf())));
    truth.cup = Some(MaskTruth::real(MaskSource::RefugeCup(path.to_path_buf())));
}

fn read_records(
    path: &Path,
    records: &mut BTreeMap<String, (Record, PathBuf, bool)>,
    problems: &mut Vec<Problem>,
) -> Result<(), DatasetError> {
    let table = Table::read_xlsx(path)?;
    table.require(&["ImgName", "Fovea_X", "Fovea_Y"])?;
    // "Glaucoma Label" in the validation part, "Label(Glaucoma=1)" in the test part, none in the training part.
    let label = table.column_containing("label");
    for row in table.rows() {
        let name = stem(Path::new(row.text("ImgName")));
        if name.is_empty() {
            problems.push(row.bad("ImgName is empty"));
            continue;
        }
        let record = Record {
            fovea: keep(row.point("Fovea_X", "Fovea_Y"), problems),
            glaucoma: label.as_ref().and_then(|column| keep(class(row, column), problems)),
        };
        if record.fovea.is_none() {
            problems.push(row.bad(format!("{name} has no fovea")));
        }
        if records.insert(name.clone(), (record, path.to_path_buf(), false)).is_some() {
            problems.push(row.bad(format!("{name} has a row already; this later one is taken")));
        }
    }
    Ok(())
}

fn class(row: Row<'_>, column: &str) -> Result<Option<bool>, Problem> {
    match row.number(column)? {
        Some(1.0) => Ok(Some(true)),
        Some(0.0) => Ok(Some(false)),
        Some(other) => Err(row.bad(format!("the glaucoma label is {other}, neither 0 nor 1"))),
        None => Ok(None),
    }
}

/// One photograph of `index.json`.
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "ImgName")]
    name: String,
    #[serde(rename = "Label")]
    label: Option<f64>,
    #[serde(rename = "Fovea_X")]
    fovea_x: Option<f64>,
    #[serde(rename = "Fovea_Y")]
    fovea_y: Option<f64>,
    #[serde(rename = "Size_X")]
    size_x: Option<f64>,
    #[serde(rename = "Size_Y")]
    size_y: Option<f64>,
}

fn import_index(
    root: &Path,
    folder: &Path,
    part: Part,
    dataset: &mut Dataset,
) -> Result<(), DatasetError> {
    let path = folder.join("index.json");
    let problems = &mut dataset.problems;
    let mut unnamed: BTreeMap<PathBuf, ()> = BTreeMap::new();
    for sub in ["images", "seg"] {
        if folder.join(sub).is_dir() {
            unnamed.extend(
                files_below(&folder.join(sub), &["jpg", "jpeg", "bmp"])?
                    .into_iter()
                    .map(|f| (f, ())),
            );
        } else {
            problems.push(Problem::new(folder.join(sub), ProblemKind::Missing, "no such folder"));
        }
    }
    for (key, value) in entries(&path)? {
        let entry: Entry = match serde_json::from_value(value) {
            Ok(entry) => entry,
            Err(error) => {
                let what = format!("entry {key}: {error}");
                problems.push(Problem::new(&path, ProblemKind::BadAnnotation, what));
                continue;
            }
        };
        let photo = folder.join("images").join(&entry.name);
        let mask = folder.join("seg").join(Path::new(&entry.name).with_extension("bmp"));
        let mask_is_there = unnamed.remove(&mask).is_some();
        if unnamed.remove(&photo).is_none() {
            let what = format!("entry {key} of {} (or it is named twice)", path.display());
            problems.push(Problem::new(photo, ProblemKind::Missing, what));
            continue;
        }
        let mut truth = entry.truth(&path, &key, problems);
        if mask_is_there {
            set_masks(&mut truth, &mask);
        } else {
            problems.push(Problem::new(
                mask,
                ProblemKind::Missing,
                format!("mask of {}", photo.display()),
            ));
        }
        dataset.samples.push(Sample {
            id: format!("refuge/{}", relative(root, &photo)),
            dataset: "refuge".into(),
            photo,
            patient: None,
            part: Some(part),
            declared_size: entry.size(),
            truth,
            framing: None,
        });
    }
    let left = unnamed.into_keys();
    problems.extend(left.map(|file| {
        Problem::new(file, ProblemKind::NotListed, format!("no entry in {}", path.display()))
    }));
    Ok(())
}

/// The index is an object of numbered entries in the reference code's form; a plain list is taken too.
fn entries(path: &Path) -> Result<Vec<(String, serde_json::Value)>, DatasetError> {
    let text = std::fs::read(path).map_err(|source| DatasetError::io(path, source))?;
    match serde_json::from_slice(&text) {
        Ok(serde_json::Value::Object(map)) => Ok(map.into_iter().collect()),
        Ok(serde_json::Value::Array(list)) => Ok(list
            .into_iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), value))
            .collect()),
        Ok(_) => Err(DatasetError::table(path, "neither an object nor a list of entries")),
        Err(error) => Err(DatasetError::table(path, error.to_string())),
    }
}

impl Entry {
    fn truth(&self, path: &Path, key: &str, problems: &mut Vec<Problem>) -> Truth {
        let mut bad = |what: &str| {
            let what = format!("entry {key} ({}): {what}", self.name);
            problems.push(Problem::new(path, ProblemKind::BadAnnotation, what));
        };
        let glaucoma = match self.label {
            Some(1.0) => Some(true),
            Some(0.0) => Some(false),
            _ => {
                bad("Label is neither 0 nor 1");
                None
            }
        };
        let fovea = self.fovea_x.zip(self.fovea_y).map(|(x, y)| NativePoint { x, y });
        if fovea.is_none() {
            bad("no Fovea_X and Fovea_Y");
        }
        Truth { glaucoma, fovea, ..Truth::default() }
    }

    fn size(&self) -> Option<(u32, u32)> {
        self.size_x.zip(self.size_y).map(|(x, y)| (x as u32, y as u32))
    }
}
