//! Files of named f32 tensors in the safetensors format: eight bytes with the length of a JSON header, the header, numbers.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Longest header that is read, bytes.
const LONGEST_HEADER: u64 = 64 << 20;

/// A tensor file could not be read or written.
#[derive(Debug, Error)]
pub enum TensorError {
    /// The file system refused.
    #[error("{file}: {source}; check the path, its permissions and the free space")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The content is damaged.
    #[error("{file}: {problem}; restore it from a copy, or train again")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
}

/// One tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamedTensor {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers, the last index running fastest.
    pub values: Vec<f32>,
}

/// The content of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorFile {
    /// Texts by name.
    pub metadata: BTreeMap<String, String>,
    /// Tensors in file order.
    pub tensors: Vec<NamedTensor>,
}

impl TensorFile {
    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&NamedTensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// Writes the file in one step: a reader finds the old content or the new one.
    ///
    /// # Errors
    /// [`TensorError::Io`].
    pub fn write(&self, file: &Path) -> Result<(), TensorError> {
        let failed = |source| TensorError::Io { file: file.to_path_buf(), source };
        let mut header = serde_json::Map::new();
        if !self.metadata.is_empty() {
            header.insert("__metadata__".into(), serde_json::json!(self.metadata));
        }
        let mut at = 0;
        for tensor in &self.tensors {
            let end = at + 4 * tensor.values.len();
            let entry = serde_json::json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [at, end]});
            header.insert(tensor.name.clone(), entry);
            at = end;
        }
        let mut header = serde_json::Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        for tensor in &self.tensors {
            bytes.extend(tensor.values.iter().flat_map(|value| value.to_le_bytes()));
        }
        let beside = file.with_extension("part");
        let write = || {
            let mut out = std::fs::File::create(&beside)?;
            out.write_all(&bytes)?;
            out.sync_all()?;
            std::fs::rename(&beside, file)
        };
        write().map_err(failed)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`TensorError`] naming file and entry.
    pub fn read(file: &Path) -> Result<Self, TensorError> {
        let bytes = std::fs::read(file).map_err(|source| TensorError::Io { file: file.to_path_buf(), source })?;
        Self::parse(&bytes).map_err(|problem| TensorError::Damaged { file: file.to_path_buf(), problem })
    }

    /// Takes the content of a file apart.
    ///
    /// # Errors
    /// What is wrong, and in which entry.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or("shorter than its header")?;
        let length = u64::from_le_bytes(*length);
        let fits = length <= LONGEST_HEADER && length <= rest.len() as u64;
        let (header, data) = rest.split_at(if fits { length as usize } else { return Err("the header is cut".into()) });
        let header: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(header).map_err(|error| format!("the header is no JSON object: {error}"))?;
        let mut file = Self::default();
        for (name, entry) in header {
            if name == "__metadata__" {
                let texts = entry.as_object().into_iter().flatten();
                file.metadata =
                    texts.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_string()))).collect();
                continue;
            }
            if entry["dtype"] != "F32" {
                return Err(format!("{name} is {}, not F32", entry["dtype"]));
            }
            let whole = |value: &serde_json::Value| {
                let numbers = value.as_array()?.iter().map(|n| usize::try_from(n.as_u64()?).ok());
                numbers.collect::<Option<Vec<usize>>>()
            };
            let shape = whole(&entry["shape"]).ok_or_else(|| format!("{name}: the shape is no list of sizes"))?;
            let count = shape.iter().try_fold(4usize, |product, side| product.checked_mul(*side));
            let range = whole(&entry["data_offsets"]).filter(|range| range.len() == 2 && range[0] <= range[1]);
            let part = range.as_ref().and_then(|range| data.get(range[0]..range[1]));
            let part =
                part.filter(|part| Some(part.len()) == count).ok_or_else(|| format!("{name}: its numbers are cut"))?;
            let values = part.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            file.tensors.push(NamedTensor { name, shape, values });
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> TensorFile {
        let tensor = |name: &str, shape: Vec<usize>, values: Vec<f32>| NamedTensor { name: name.into(), shape, values };
        TensorFile {
            metadata: [("step".to_string(), "7".to_string())].into(),
            tensors: vec![tensor("b.weight", vec![2, 2], vec![1.0, -2.5, 0.0, 1e-9]), tensor("a", vec![], vec![3.0])],
        }
    }

    #[test]
    fn files_come_back_and_keep_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.safetensors");
        example().write(&file).unwrap();
        assert_eq!(TensorFile::read(&file).unwrap(), example());
    }

    proptest::proptest! {
        #[test]
        fn damaged_files_are_refused_without_a_panic(cut in 0usize..200, at in 0usize..200, with: u8) {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("x.safetensors");
            example().write(&file).unwrap();
            let mut bytes = std::fs::read(&file).unwrap();
            let length = bytes.len();
            bytes[at % length] = with;
            bytes.truncate(length - cut.min(length));
            let _ = TensorFile::parse(&bytes);
        }
    }
}
