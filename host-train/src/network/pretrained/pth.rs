//! What `torch.save` writes: since 2020 a zip archive, before that one pickle after another with the
//! numbers behind them. Torchvision's files are of both kinds.

use super::Tensors;
use super::pickle::{self, Pickle, Value};
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::io::{Cursor, Read};

/// First bytes of the old kind: the pickle of PyTorch's magic number.
pub const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// First bytes of the new kind.
pub const ZIP: &[u8] = b"PK\x03\x04";
/// Keys under which training programs keep a model's state beside other things.
const NESTED: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// The numbers of each storage by its key.
type Storages = HashMap<String, Vec<f32>>;

/// Reads a file of the new kind.
///
/// # Errors
/// What is wrong with it.
pub fn zip(bytes: &[u8]) -> Result<Tensors, String> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| e.to_string())?;
    let names = archive.file_names().map(|name| name.map(|name| name.into_owned()));
    let names: Vec<String> = names.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    let pickled = names.iter().find(|name| name.ends_with("/data.pkl") || *name == "data.pkl");
    let pickled = pickled.ok_or("an archive without `data.pkl`: not written by torch.save")?;
    let mut member = |name: &str| -> Result<Vec<u8>, String> {
        let fail = |error: String| format!("`{name}`: {error}");
        let mut data = Vec::new();
        let mut file = archive.by_name(name).map_err(|error| fail(error.to_string()))?;
        file.read_to_end(&mut data).map_err(|error| fail(error.to_string()))?;
        Ok(data)
    };
    let root = pickled.trim_end_matches("data.pkl");
    if names.contains(&format!("{root}byteorder"))
        && member(&format!("{root}byteorder"))? != b"little"
    {
        return Err("its numbers are in big-endian order".into());
    }
    let pickle = pickle::read(&member(pickled)?)?;
    let mut storages = Storages::new();
    for id in &pickle.persistent {
        let (key, dtype) = storage(id)?;
        if !storages.contains_key(key) {
            let numbers = numbers(&member(&format!("{root}data/{key}"))?, dtype)?;
            storages.insert(key.to_owned(), numbers);
        }
    }
    tensors(&pickle.value, &storages)
}

/// Reads a file of the old kind.
///
/// # Errors
/// What is wrong with it.
pub fn legacy(bytes: &[u8]) -> Result<Tensors, String> {
    let mut rest = bytes.strip_prefix(LEGACY).ok_or("not written by torch.save")?;
    let mut next = || -> Result<Pickle, String> {
        let pickle = pickle::read(rest)?;
        rest = &rest[pickle.length..];
        Ok(pickle)
    };
    // Version of the format, the machine's sizes, the value itself, the storages' keys.
    let (_version, _machine, pickle, keys) = (next()?, next()?, next()?, next()?);
    let dtypes = pickle.persistent.iter().map(storage).collect::<Result<HashMap<_, _>, _>>()?;
    let Value::List(keys) = keys.value else { return Err("no list of storages".into()) };
    let mut storages = Storages::new();
    for key in keys.borrow().iter() {
        let key = key.text().unwrap_or_default();
        let dtype = *dtypes.get(key).ok_or_else(|| format!("storage {key} belongs to nothing"))?;
        let (count, data) = rest.split_first_chunk().ok_or("it ends too early")?;
        let length = u64::from_le_bytes(*count).checked_mul(dtype.size_in_bytes() as u64);
        let data = data
            .split_at_checked(length.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX));
        let (data, after) = data.ok_or("it ends too early")?;
        storages.insert(key.to_owned(), numbers(data, dtype)?);
        rest = after;
    }
    tensors(&pickle.value, &storages)
}

/// Key and element type of the storage that a persistent id stands for.
fn storage(id: &Value) -> Result<(&str, DType), String> {
    let parts = id.tuple().unwrap_or_default();
    let [kind, Value::Global(class), key, ..] = parts else {
        return Err("a reference that is no storage".into());
    };
    let dtype = match class.1.as_str() {
        "FloatStorage" => DType::F32,
        "DoubleStorage" => DType::F64,
        "HalfStorage" => DType::F16,
        "BFloat16Storage" => DType::BF16,
        "LongStorage" => DType::I64,
        "IntStorage" => DType::I32,
        "ByteStorage" | "BoolStorage" => DType::U8,
        other => return Err(format!("numbers of the type {other} are not read")),
    };
    match (kind.text(), key.text(), parts.get(5)) {
        (Some("storage"), Some(key), None | Some(Value::None)) => Ok((key, dtype)),
        _ => Err("a part of a storage instead of a whole one".into()),
    }
}

fn numbers(data: &[u8], dtype: DType) -> Result<Vec<f32>, String> {
    let count = data.len() / dtype.size_in_bytes();
    let tensor = Tensor::from_raw_buffer(data, dtype, &[count], &Device::Cpu);
    let numbers = tensor.and_then(|tensor| tensor.to_dtype(DType::F32)?.to_vec1());
    numbers.map_err(|error| error.to_string())
}

/// The tensors of a state, wherever in `value` it lies; empty where there is none.
fn tensors(value: &Value, storages: &Storages) -> Result<Tensors, String> {
    let Value::Dict(dict) = value else { return Ok(Tensors::new()) };
    let mut found = Tensors::new();
    for (name, value) in dict.borrow().iter() {
        let Some(name) = name.text() else { continue };
        let built = build(value, storages).map_err(|what| format!("`{name}`: {what}"))?;
        found.extend(built.map(|tensor| (name.to_owned(), tensor)));
    }
    if found.is_empty() {
        for (name, value) in dict.borrow().iter() {
            if name.text().is_some_and(|name| NESTED.contains(&name)) {
                found = tensors(value, storages)?;
            }
            if !found.is_empty() {
                break;
            }
        }
    }
    Ok(found)
}

/// The tensor that a call rebuilds; `None` for anything else.
fn build(value: &Value, storages: &Storages) -> Result<Option<Tensor>, String> {
    let Some((function, arguments)) = value.call() else { return Ok(None) };
    match (function, arguments) {
        ("_rebuild_parameter", [tensor, ..]) => build(tensor, storages),
        // The version without `_v2` is of 2017 and the years before.
        ("_rebuild_tensor" | "_rebuild_tensor_v2", [id, offset, size, stride, ..]) => {
            let id = id.persistent().ok_or("a tensor without numbers")?;
            let numbers = storages.get(storage(id)?.0).ok_or("a tensor without numbers")?;
            let whole = |value: &Value| value.int().and_then(|int| usize::try_from(int).ok());
            let all = |value: &Value| value.tuple()?.iter().map(whole).collect::<Option<Vec<_>>>();
            let (Some(offset), Some(size), Some(stride)) = (whole(offset), all(size), all(stride))
            else {
                return Err("a tensor without a shape".into());
            };
            let values =
                gather(numbers, offset, &size, &stride).ok_or("more numbers than there are")?;
            Tensor::from_vec(values, size, &Device::Cpu)
                .map(Some)
                .map_err(|error| error.to_string())
        }
        _ => Ok(None),
    }
}

/// The elements of a strided view in reading order; `None` when it reaches beyond the numbers.
fn gather(numbers: &[f32], offset: usize, size: &[usize], stride: &[usize]) -> Option<Vec<f32>> {
    if size.len() != stride.len() {
        return None;
    }
    let mut indices = vec![offset];
    for (&size, &stride) in size.iter().zip(stride) {
        if size.checked_mul(indices.len())? > numbers.len() {
            return None;
        }
        let steps = |index: &usize| {
            let from = *index;
            (0..size)
                .map(move |step| step.checked_mul(stride)?.checked_add(from))
                .collect::<Vec<_>>()
        };
        indices = indices.iter().flat_map(steps).collect::<Option<_>>()?;
    }
    indices.into_iter().map(|index| numbers.get(index).copied()).collect()
}
