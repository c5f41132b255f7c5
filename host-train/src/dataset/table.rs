//! Annotation tables (CSV, spreadsheet) as named columns of text, with the row in every complaint.

use super::{DatasetError, Problem, ProblemKind};
use calamine::{Data, Reader, Xlsx, open_workbook};
use glaucoma_common::preprocess::NativePoint;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A table in memory. Column names are compared by letters and digits alone, in lower case, because
/// the publishers' spreadsheets spell them as `Fovea_X`, `Glaucoma Label`, `Label(Glaucoma=1)`.
pub(super) struct Table {
    path: PathBuf,
    columns: Vec<String>,
    rows: Vec<(usize, Vec<String>)>,
}

/// One row, with its number as a reader of the file counts (the header is row 1).
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    table: &'a Table,
    pub(super) number: usize,
    cells: &'a [String],
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

impl Table {
    pub(super) fn read_csv(path: &Path) -> Result<Self, DatasetError> {
        let text = std::fs::read(path).map_err(|source| DatasetError::io(path, source))?;
        // A spreadsheet program's byte order mark would become part of the first column's name.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
        let fail = |error: csv::Error| DatasetError::table(path, error.to_string());
        let columns = reader.headers().map_err(fail)?.iter().map(plain).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(fail)?;
            let number = record.position().map_or(0, |position| position.line() as usize);
            rows.push((number, record.iter().map(str::to_owned).collect()));
        }
        Ok(Self { path: path.to_path_buf(), columns, rows })
    }

    /// Reads the first sheet of a spreadsheet.
    pub(super) fn read_xlsx(path: &Path) -> Result<Self, DatasetError> {
        let fail = |error: calamine::XlsxError| DatasetError::table(path, error.to_string());
        let mut book: Xlsx<_> = open_workbook(path).map_err(fail)?;
        let sheet = book
            .worksheet_range_at(0)
            .ok_or_else(|| DatasetError::table(path, "the workbook has no sheet"))?
            .map_err(fail)?;
        let first = sheet.start().map_or(0, |(row, _)| row as usize);
        let mut lines = sheet.rows().enumerate().map(|(index, cells)| {
            (first + index + 1, cells.iter().map(cell_text).collect::<Vec<String>>())
        });
        let (_, header) =
            lines.next().ok_or_else(|| DatasetError::table(path, "the first sheet is empty"))?;
        let columns = header.iter().map(|name| plain(name)).collect();
        let rows = lines.filter(|(_, cells)| cells.iter().any(|cell| !cell.is_empty())).collect();
        Ok(Self { path: path.to_path_buf(), columns, rows })
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|(number, cells)| Row { table: self, number: *number, cells })
    }

    pub(super) fn has(&self, column: &str) -> bool {
        self.columns.contains(&plain(column))
    }

    /// The column whose name contains `part`, for headers that vary between releases.
    pub(super) fn column_containing(&self, part: &str) -> Option<String> {
        self.columns.iter().find(|name| name.contains(&plain(part))).cloned()
    }

    pub(super) fn require(&self, columns: &[&str]) -> Result<(), DatasetError> {
        match columns.iter().find(|column| !self.has(column)) {
            None => Ok(()),
            Some(column) => Err(DatasetError::table(&self.path, format!("no column `{column}`"))),
        }
    }
}

fn cell_text(cell: &Data) -> String {
    match cell {
        Data::Empty => String::new(),
        other => other.to_string().trim().to_owned(),
    }
}

impl<'a> Row<'a> {
    /// The cell's text; empty when the row is short or the column is not there.
    pub(super) fn text(&self, column: &str) -> &'a str {
        let name = plain(column);
        let index = self.table.columns.iter().position(|candidate| *candidate == name);
        index.and_then(|i| self.cells.get(i)).map_or("", String::as_str)
    }

    /// A bad value of this row.
    pub(super) fn bad(&self, what: impl Into<String>) -> Problem {
        let what = format!("row {}: {}", self.number, what.into());
        Problem::new(&self.table.path, ProblemKind::BadAnnotation, what)
    }

    /// A number, `None` where the cell is empty.
    pub(super) fn number(&self, column: &str) -> Result<Option<f64>, Problem> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Some(value)),
            _ => Err(self.bad(format!("{column} is `{text}`, not a number"))),
        }
    }

    /// A point of two columns, `None` where both are empty.
    pub(super) fn point(&self, x: &str, y: &str) -> Result<Option<NativePoint>, Problem> {
        match (self.number(x)?, self.number(y)?) {
            (Some(x), Some(y)) => Ok(Some(NativePoint { x, y })),
            (None, None) => Ok(None),
            _ => Err(self.bad(format!("only one of {x} and {y} is given"))),
        }
    }

    /// The picture's size as two columns state it, `None` where both are empty.
    pub(super) fn size(&self, width: &str, height: &str) -> Result<Option<(u32, u32)>, Problem> {
        let whole = |column: &str| -> Result<Option<u32>, Problem> {
            match self.number(column)? {
                Some(value) if value.fract() == 0.0 && (1.0..=65536.0).contains(&value) => {
                    Ok(Some(value as u32))
                }
                Some(value) => Err(self.bad(format!("{column} is {value}, not a size in pixels"))),
                None => Ok(None),
            }
        };
        Ok(whole(width)?.zip(whole(height)?))
    }
}

/// Keeps a good value; files a bad one as a problem and goes on without it.
pub(super) fn keep<T>(value: Result<Option<T>, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    value.unwrap_or_else(|problem| {
        problems.push(problem);
        None
    })
}

/// The photographs of a data set by their path relative to its folder, and which of them some row has named.
pub(super) struct Photos {
    root: PathBuf,
    listed: BTreeMap<String, bool>,
}

impl Photos {
    /// Every JPEG or PNG below `folder` of `root`.
    pub(super) fn below(root: &Path, folder: &str) -> Result<Self, DatasetError> {
        let files = files_below(&root.join(folder), &["jpg", "jpeg", "png"])?;
        let listed = files.iter().map(|file| (relative(root, file), false)).collect();
        Ok(Self { root: root.to_path_buf(), listed })
    }

    /// The file a row names, marked as named; a problem when it is not there or was named before.
    pub(super) fn take(&mut self, row: Row<'_>, name: &str) -> Result<PathBuf, Problem> {
        let path = self.root.join(name);
        match self.listed.get_mut(name) {
            Some(named) if !*named => {
                *named = true;
                Ok(path)
            }
            Some(_) => Err(row.bad(format!("{name} has a row already"))),
            None => {
                let what = format!("named in row {} of {}", row.number, row.table.path.display());
                Err(Problem::new(path, ProblemKind::Missing, what))
            }
        }
    }

    /// One problem for each photograph that no row named.
    pub(super) fn unnamed(&self, table: &Path) -> impl Iterator<Item = Problem> {
        self.listed.iter().filter(|(_, named)| !**named).map(|(name, _)| {
            let what = format!("no row in {}", table.display());
            Problem::new(self.root.join(name), ProblemKind::NotListed, what)
        })
    }
}

/// The files below `dir` with one of the extensions (lower case), in a fixed order.
pub(super) fn files_below(dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, DatasetError> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(dir).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(dir).to_path_buf();
            DatasetError::Io { path, cause: error.into() }
        })?;
        let extension = entry.path().extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        if entry.file_type().is_file()
            && extension.is_some_and(|e| extensions.contains(&e.as_str()))
        {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

/// `path` relative to `root`, with forward slashes on every system.
pub(super) fn relative(root: &Path, path: &Path) -> String {
    let inner = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = inner.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

/// The first line of a file; empty when there is none. For recognising a layout by a table's header.
pub(super) fn first_line(path: &Path) -> String {
    use std::io::{BufRead, Read};
    let Ok(file) = std::fs::File::open(path) else { return String::new() };
    let mut line = String::new();
    // A file that is not text is no table; a header longer than this is none either.
    match std::io::BufReader::new(file.take(4096)).read_line(&mut line) {
        Ok(_) => line,
        Err(_) => String::new(),
    }
}
