//! Writes phantoms as a REFUGE tree, in the challenge's own folders or the converted form.

use super::{Camera, Degradation, Phantom, PhantomConfig, generate};
use image::codecs::bmp::BmpEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageError};
use rayon::prelude::*;
use rust_xlsxwriter::{Workbook, XlsxError};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Quality of the written JPEG files: high, because the camera's own compression is in the picture.
const FILE_QUALITY: u8 = 95;

/// How the tree is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// As the challenge distributes it: Training400, REFUGE-Validation400, REFUGE-Test400 and their
    /// annotations with spreadsheets.
    Refuge,
    /// The converted form: {train,val,test}/{images,seg,index.json}.
    Index,
}

/// What to write.
#[derive(Debug, Clone)]
pub struct Order {
    /// The layout.
    pub layout: Layout,
    /// Photographs in the training, validation and test part.
    pub counts: [usize; 3],
    /// Seed of the series.
    pub seed: u64,
    /// Longer side of the photographs in pixels.
    pub side: u32,
    /// Share of glaucomatous eyes in each part.
    pub glaucoma_share: f64,
    /// Share of ungradable captures; the disc is in the field of all of them.
    pub degraded_share: f64,
}

/// Why a tree could not be written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The folder holds something already.
    #[error("{0} exists and is not empty: name a new folder")]
    NotEmpty(PathBuf),
    /// A file or folder could not be written.
    #[error("writing {path}: {source}")]
    Write {
        /// What was being written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A picture could not be encoded.
    #[error("encoding {path}: {source}")]
    Encode {
        /// What was being written.
        path: PathBuf,
        /// Why it failed.
        source: ImageError,
    },
    /// A spreadsheet could not be made.
    #[error("making the spreadsheet {path}: {source}")]
    Spreadsheet {
        /// What was being written.
        path: PathBuf,
        /// Why it failed.
        source: XlsxError,
    },
    /// The index could not be made.
    #[error("making the index {path}: {source}")]
    Index {
        /// What was being written.
        path: PathBuf,
        /// Why it failed.
        source: serde_json::Error,
    },
}

/// One of the three parts of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Train,
    Validation,
    Test,
}

const PARTS: [Part; 3] = [Part::Train, Part::Validation, Part::Test];

/// What the tables say of one photograph.
#[derive(Debug, Clone)]
struct Record {
    name: String,
    glaucoma: bool,
    fovea: Option<(f64, f64)>,
    size: (u32, u32),
}

/// Writes the tree to `dir`, which must not exist or be empty. Everything is written beside it
/// under a temporary name first: a tree that is there is whole. `done` is called after each
/// photograph.
///
/// # Errors
/// Whatever could not be written, by path.
pub fn write(dir: &Path, order: &Order, done: impl Fn() + Sync) -> Result<(), LayoutError> {
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) || dir.is_file() {
        return Err(LayoutError::NotEmpty(dir.to_path_buf()));
    }
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    let partial = dir.with_file_name(name);
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(|source| broken(&partial, source))?;
    }
    let mut first = 0;
    for (part, count) in PARTS.into_iter().zip(order.counts) {
        write_part(&partial, part, first, count, order, &done)?;
        first += count as u64;
    }
    if dir.is_dir() {
        fs::remove_dir(dir).map_err(|source| broken(dir, source))?;
    }
    fs::rename(&partial, dir).map_err(|source| broken(dir, source))
}

fn write_part(
    root: &Path,
    part: Part,
    first: u64,
    count: usize,
    order: &Order,
    done: &(impl Fn() + Sync),
) -> Result<(), LayoutError> {
    let config = PhantomConfig {
        side: order.side,
        glaucoma_share: order.glaucoma_share,
        degraded_share: order.degraded_share,
        cameras: vec![if part == Part::Train { Camera::Visucam } else { Camera::Cr2 }],
        fovea_in_field: true,
        degradations: Degradation::ALL
            .into_iter()
            .filter(|&kind| kind != Degradation::DiscOutOfField)
            .collect(),
    };
    let records = (0..count)
        .into_par_iter()
        .map(|number| {
            let phantom = generate(order.seed, first + number as u64, &config);
            let record = write_sample(root, part, number, &phantom, order.layout)?;
            done();
            Ok(record)
        })
        .collect::<Result<Vec<Record>, LayoutError>>()?;
    match order.layout {
        Layout::Refuge => write_spreadsheet(root, part, &records),
        Layout::Index => write_index(root, part, &records),
    }
}

/// Folders of photographs and masks of one part, below the root.
fn folders(part: Part, layout: Layout, glaucoma: bool) -> (String, String) {
    let class = if glaucoma { "Glaucoma" } else { "Non-Glaucoma" };
    match (layout, part) {
        (Layout::Refuge, Part::Train) => (
            format!("Training400/{class}"),
            format!("Annotation-Training400/Disc_Cup_Masks/{class}"),
        ),
        (Layout::Refuge, Part::Validation) => {
            ("REFUGE-Validation400".into(), "REFUGE-Validation400-GT/Disc_Cup_Masks".into())
        }
        (Layout::Refuge, Part::Test) => {
            ("REFUGE-Test400".into(), "REFUGE-Test-GT/Disc_Cup_Masks".into())
        }
        (Layout::Index, part) => {
            let folder = index_folder(part);
            (format!("{folder}/images"), format!("{folder}/seg"))
        }
    }
}

fn index_folder(part: Part) -> &'static str {
    match part {
        Part::Train => "train",
        Part::Validation => "val",
        Part::Test => "test",
    }
}

/// Photographs are numbered through each part; training names tell the class as the challenge's do.
fn stem(part: Part, number: usize, glaucoma: bool) -> String {
    let letter = match (part, glaucoma) {
        (Part::Train, true) => 'g',
        (Part::Train, false) => 'n',
        (Part::Validation, _) => 'V',
        (Part::Test, _) => 'T',
    };
    format!("{letter}{:04}", number + 1)
}

fn write_sample(
    root: &Path,
    part: Part,
    number: usize,
    phantom: &Phantom,
    layout: Layout,
) -> Result<Record, LayoutError> {
    let (photos, masks) = folders(part, layout, phantom.glaucoma);
    let stem = stem(part, number, phantom.glaucoma);
    let photo = root.join(photos).join(format!("{stem}.jpg"));
    let (width, height) = phantom.photo.dimensions();
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, FILE_QUALITY)
        .encode_image(&phantom.photo)
        .map_err(|source| LayoutError::Encode { path: photo.clone(), source })?;
    write_file(&photo, &bytes)?;
    let mask = root.join(masks).join(format!("{stem}.bmp"));
    let mut bytes = Vec::new();
    BmpEncoder::new(&mut bytes)
        .encode(&mask_levels(phantom), width, height, ExtendedColorType::L8)
        .map_err(|source| LayoutError::Encode { path: mask.clone(), source })?;
    write_file(&mask, &bytes)?;
    Ok(Record {
        name: format!("{stem}.jpg"),
        glaucoma: phantom.glaucoma,
        fovea: phantom.fovea.map(|point| (point.x, point.y)),
        size: (width, height),
    })
}

/// 0 cup, 128 rim, 255 background.
fn mask_levels(phantom: &Phantom) -> Vec<u8> {
    let pairs = phantom.disc.data().iter().zip(phantom.cup.data());
    pairs
        .map(|(&disc, &cup)| match (disc, cup) {
            (_, true) => 0,
            (true, false) => 128,
            (false, false) => 255,
        })
        .collect()
}

fn write_spreadsheet(root: &Path, part: Part, records: &[Record]) -> Result<(), LayoutError> {
    let (path, label) = match part {
        Part::Train => ("Annotation-Training400/Fovea_location.xlsx", None),
        Part::Validation => {
            ("REFUGE-Validation400-GT/Fovea_locations.xlsx", Some("Glaucoma Label"))
        }
        Part::Test => {
            ("REFUGE-Test-GT/Glaucoma_label_and_Fovea_location.xlsx", Some("Label(Glaucoma=1)"))
        }
    };
    let path = root.join(path);
    let bytes = spreadsheet(records, label)
        .map_err(|source| LayoutError::Spreadsheet { path: path.clone(), source })?;
    write_file(&path, &bytes)
}

fn spreadsheet(records: &[Record], label: Option<&str>) -> Result<Vec<u8>, XlsxError> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let head = ["ID", "ImgName"].into_iter().chain(label).chain(["Fovea_X", "Fovea_Y"]);
    for (column, title) in (0u16..).zip(head) {
        sheet.write_string(0, column, title)?;
    }
    let shift = u16::from(label.is_some());
    for (row, record) in (1u32..).zip(records) {
        sheet.write_number(row, 0, row)?;
        sheet.write_string(row, 1, &record.name)?;
        if label.is_some() {
            sheet.write_number(row, 2, u8::from(record.glaucoma))?;
        }
        if let Some((x, y)) = record.fovea {
            sheet.write_number(row, 2 + shift, x)?;
            sheet.write_number(row, 3 + shift, y)?;
        }
    }
    book.save_to_buffer()
}

/// One entry of `index.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    img_name: &'a str,
    label: u8,
    #[serde(rename = "Fovea_X")]
    fovea_x: Option<f64>,
    #[serde(rename = "Fovea_Y")]
    fovea_y: Option<f64>,
    #[serde(rename = "Size_X")]
    size_x: u32,
    #[serde(rename = "Size_Y")]
    size_y: u32,
}

fn write_index(root: &Path, part: Part, records: &[Record]) -> Result<(), LayoutError> {
    let path = root.join(index_folder(part)).join("index.json");
    let entries: BTreeMap<usize, Entry<'_>> = records
        .iter()
        .map(|record| Entry {
            img_name: &record.name,
            label: u8::from(record.glaucoma),
            fovea_x: record.fovea.map(|point| point.0),
            fovea_y: record.fovea.map(|point| point.1),
            size_x: record.size.0,
            size_y: record.size.1,
        })
        .enumerate()
        .collect();
    let bytes = serde_json::to_vec_pretty(&entries)
        .map_err(|source| LayoutError::Index { path: path.clone(), source })?;
    write_file(&path, &bytes)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
    let attempt = || -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    attempt().map_err(|source| broken(path, source))
}

fn broken(path: &Path, source: io::Error) -> LayoutError {
    LayoutError::Write { path: path.to_path_buf(), source }
}
