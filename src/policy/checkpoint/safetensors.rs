//! The safetensors format: eight bytes with the header's length, a JSON header with type, shape and place of each
//! tensor, then the tensors without gaps.

use super::error::{CheckpointError, Result};
use super::half;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Longest header the format allows, bytes.
const LONGEST_HEADER: usize = 100_000_000;
const COPY_AGAIN: &str = "the file is damaged or incomplete: copy it again";

/// A tensor with its name, to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Name in the file.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Values, row by row.
    pub values: Vec<f32>,
}

/// How a tensor's numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    U8,
}

impl Format {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "F64" => Self::F64,
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::Bf16,
            "I64" => Self::I64,
            "I32" => Self::I32,
            "U8" | "BOOL" => Self::U8,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::U8 => 1,
        }
    }

    fn values(self, bytes: &[u8]) -> Vec<f32> {
        fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks::<N>().0.iter().map(|b| value(*b)).collect()
        }
        match self {
            Self::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
            Self::F32 => each(bytes, f32::from_le_bytes),
            Self::F16 => each(bytes, |b| half::from_f16(u16::from_le_bytes(b))),
            Self::Bf16 => each(bytes, |b| half::from_bf16(u16::from_le_bytes(b))),
            Self::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
            Self::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
            Self::U8 => each(bytes, |[b]| f32::from(b)),
        }
    }
}

#[derive(Debug)]
struct Entry {
    format: Format,
    shape: Vec<usize>,
    range: Range<usize>,
}

/// A tensor of a file.
#[derive(Debug)]
pub struct StoredTensor<'a> {
    entry: &'a Entry,
    bytes: &'a [u8],
}

impl StoredTensor<'_> {
    /// Sizes, outermost first; empty for a single number.
    pub fn shape(&self) -> &[usize] {
        &self.entry.shape
    }

    /// The values as f32, row by row.
    pub fn values(&self) -> Vec<f32> {
        self.entry.format.values(self.bytes)
    }
}

/// A safetensors file, read and checked.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    data: Vec<u8>,
    entries: BTreeMap<String, Entry>,
}

impl TensorFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is cut short, or its header does not describe its content.
    pub fn open(path: &Path) -> Result<Self> {
        let mut data = fs::read(path).map_err(CheckpointError::io(path, "read"))?;
        let entries = index(path, &data)?;
        let start = 8 + header_length(&data).unwrap_or(0);
        data.drain(..start);
        Ok(Self { path: path.into(), data, entries })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// One tensor.
    pub fn get(&self, name: &str) -> Option<StoredTensor<'_>> {
        let entry = self.entries.get(name)?;
        Some(StoredTensor { entry, bytes: self.data.get(entry.range.clone())? })
    }
}

fn header_length(data: &[u8]) -> Option<usize> {
    let length = u64::from_le_bytes(data.get(..8)?.try_into().ok()?);
    usize::try_from(length).ok()
}

/// Reads and checks the header; ranges count from its end.
fn index(path: &Path, data: &[u8]) -> Result<BTreeMap<String, Entry>> {
    let wrong = |key: &str, problem: String| CheckpointError::invalid(path, key, problem, COPY_AGAIN);
    let length = header_length(data).ok_or_else(|| wrong("header", format!("the file has {} bytes", data.len())))?;
    if length > LONGEST_HEADER {
        return Err(CheckpointError::invalid(
            path,
            "header",
            format!("its length is given as {length} bytes"),
            "this is no safetensors file: give the model.safetensors of a checkpoint",
        ));
    }
    let header = data
        .get(8..8 + length)
        .ok_or_else(|| wrong("header", format!("it should have {length} bytes, the whole file has {}", data.len())))?;
    let size = data.len() - 8 - length;
    let header: Map<String, Value> =
        serde_json::from_slice(header).map_err(|e| wrong("header", format!("is not JSON: {e}")))?;
    let mut entries = BTreeMap::new();
    for (name, value) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let entry = entry(value).map_err(|problem| wrong(name, problem))?;
        if entry.range.end > size {
            let problem = format!("ends at byte {} of {size}", entry.range.end);
            return Err(wrong(name, problem));
        }
        entries.insert(name.clone(), entry);
    }
    let mut ranges: Vec<(&Range<usize>, &String)> = entries.iter().map(|(name, entry)| (&entry.range, name)).collect();
    ranges.sort_by_key(|(range, _)| (range.start, range.end));
    let mut at = 0;
    for (range, name) in ranges {
        if range.start != at {
            return Err(wrong(name, format!("starts at byte {} where byte {at} is next", range.start)));
        }
        at = range.end;
    }
    if at != size {
        return Err(wrong("tensors", format!("{} bytes belong to no tensor", size - at)));
    }
    Ok(entries)
}

fn entry(value: &Value) -> std::result::Result<Entry, String> {
    let name = value["dtype"].as_str().ok_or("has no dtype")?;
    let format =
        Format::from_name(name).ok_or_else(|| format!("has numbers of type {name}, which Etude does not read"))?;
    let numbers = |key: &str| -> Option<Vec<usize>> {
        value[key].as_array()?.iter().map(|n| usize::try_from(n.as_u64()?).ok()).collect()
    };
    let shape = numbers("shape").ok_or("has no shape")?;
    let [start, end] =
        numbers("data_offsets").and_then(|o| <[usize; 2]>::try_from(o).ok()).ok_or("has no data_offsets")?;
    let bytes = shape.iter().try_fold(format.bytes(), |n, size| n.checked_mul(*size)).ok_or("is too large")?;
    if end.checked_sub(start) != Some(bytes) {
        return Err(format!("has bytes {start} to {end} for shape {shape:?} of {name}"));
    }
    Ok(Entry { format, shape, range: start..end })
}

/// Writes tensors as f32, in alphabetical order, beside the file first and then in its place.
///
/// # Errors
/// When the file cannot be written.
pub fn write_tensors(path: &Path, tensors: &[NamedTensor]) -> Result<()> {
    let mut sorted: Vec<&NamedTensor> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let mut header = Map::new();
    let mut at = 0;
    for tensor in &sorted {
        let end = at + tensor.values.len() * 4;
        header.insert(tensor.name.clone(), json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [at, end]}));
        at = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    // The tensors start at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    replace(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for tensor in &sorted {
            for value in &tensor.values {
                out.write_all(&value.to_le_bytes())?;
            }
        }
        Ok(())
    })
}

/// Writes a file beside its place and moves it there when it is safe on the disk.
pub(super) fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let put = || {
        let mut out = BufWriter::new(fs::File::create(&part)?);
        write(&mut out)?;
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&part, path)
    };
    put().map_err(|source| {
        // What is left of it is worth nothing; that it could not be removed changes nothing.
        let _ = fs::remove_file(&part);
        CheckpointError::Io { path: path.into(), action: "write", source }
    })
}
