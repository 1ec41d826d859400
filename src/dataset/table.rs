//! Parquet tables on the crate's low-level column interface (its arrow layer would quadruple the build): exactly the
//! column kinds that LeRobot datasets use.

use super::disk;
use super::error::{DatasetError, IoContext, RESTORE, Result, guarded};
use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// The numbers or texts of a column, one row after the other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    /// Whole numbers (also read from 32-bit columns).
    I64(Vec<i64>),
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
    /// Truth values.
    Bool(Vec<bool>),
    /// UTF-8 texts.
    Text(Vec<String>),
    /// Raw bytes (pictures inside the table).
    Bytes(Vec<Vec<u8>>),
}

impl Values {
    fn append(&mut self, other: Values) -> bool {
        match (self, other) {
            (Self::I64(a), Self::I64(b)) => a.extend(b),
            (Self::F32(a), Self::F32(b)) => a.extend(b),
            (Self::F64(a), Self::F64(b)) => a.extend(b),
            (Self::Bool(a), Self::Bool(b)) => a.extend(b),
            (Self::Text(a), Self::Text(b)) => a.extend(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.extend(b),
            _ => return false,
        }
        true
    }

    /// As double precision; `None` for texts and bytes.
    pub(crate) fn to_f64(&self) -> Option<Vec<f64>> {
        Some(match self {
            Self::I64(v) => v.iter().map(|&x| x as f64).collect(),
            Self::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Self::F64(v) => v.clone(),
            Self::Bool(v) => v.iter().map(|&x| f64::from(u8::from(x))).collect(),
            Self::Text(_) | Self::Bytes(_) => return None,
        })
    }
}

/// How values are grouped into rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One value a row.
    Scalar,
    /// A list a row, of these lengths.
    List(Vec<u32>),
    /// Image statistics: a list of three lists of one list of one value, LeRobot's shape (3, 1, 1).
    Pixels,
}

/// A named column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    /// Name at the top level of the schema; `a.bytes` for a member of a struct.
    pub(crate) name: String,
    /// Its content.
    pub(crate) values: Values,
    /// Its grouping.
    pub(crate) layout: Layout,
}

impl Column {
    /// One value a row.
    pub(crate) fn scalar(name: impl Into<String>, values: Values) -> Self {
        Self { name: name.into(), values, layout: Layout::Scalar }
    }

    /// Lists of the same length in each of `rows` rows.
    pub(crate) fn lists(name: impl Into<String>, values: Values, rows: usize, width: usize) -> Self {
        Self { name: name.into(), values, layout: Layout::List(vec![width as u32; rows]) }
    }

    /// Width of each row if all have the same; 1 for scalars, `None` for ragged lists.
    pub(crate) fn width(&self) -> Option<usize> {
        match &self.layout {
            Layout::Scalar => Some(1),
            Layout::Pixels => Some(3),
            Layout::List(lengths) => {
                let first = lengths.first().copied().unwrap_or(0);
                lengths.iter().all(|&l| l == first).then_some(first as usize)
            }
        }
    }

    fn schema(&self) -> Result<TypePtr, ParquetError> {
        let leaf = |name: &str| -> Result<TypePtr, ParquetError> {
            let physical = match &self.values {
                Values::I64(_) => Physical::INT64,
                Values::F32(_) => Physical::FLOAT,
                Values::F64(_) => Physical::DOUBLE,
                Values::Bool(_) => Physical::BOOLEAN,
                Values::Text(_) | Values::Bytes(_) => Physical::BYTE_ARRAY,
            };
            let mut leaf = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
            if matches!(self.values, Values::Text(_)) {
                leaf = leaf.with_converted_type(ConvertedType::UTF8).with_logical_type(Some(LogicalType::String));
            }
            Ok(Arc::new(leaf.build()?))
        };
        match &self.layout {
            Layout::Scalar => leaf(&self.name),
            Layout::List(_) => list(&self.name, leaf("element")?),
            Layout::Pixels => list(&self.name, list("element", list("element", leaf("element")?)?)?),
        }
    }

    /// Definition and repetition levels of every value, as Dremel encoding wants them.
    fn levels(&self, count: usize) -> (Vec<i16>, Option<Vec<i16>>) {
        match &self.layout {
            Layout::Scalar => (vec![1; count], None),
            Layout::Pixels => (vec![7; count], Some((0..count).map(|i| i16::from(!i.is_multiple_of(3))).collect())),
            Layout::List(lengths) => {
                let (mut definition, mut repetition) = (Vec::new(), Vec::new());
                for &length in lengths {
                    if length == 0 {
                        definition.push(1);
                        repetition.push(0);
                    }
                    for i in 0..length {
                        definition.push(3);
                        repetition.push(i16::from(i > 0));
                    }
                }
                (definition, Some(repetition))
            }
        }
    }
}

fn list(name: &str, element: TypePtr) -> Result<TypePtr, ParquetError> {
    let repeated =
        Type::group_type_builder("list").with_repetition(Repetition::REPEATED).with_fields(vec![element]).build()?;
    let group = Type::group_type_builder(name)
        .with_repetition(Repetition::OPTIONAL)
        .with_converted_type(ConvertedType::LIST)
        .with_logical_type(Some(LogicalType::List))
        .with_fields(vec![Arc::new(repeated)]);
    Ok(Arc::new(group.build()?))
}

/// Writes row groups of equal columns to a new file and syncs it. `metadata` becomes the file's key-value entries.
pub(crate) fn write(path: &Path, groups: &[Vec<Column>], metadata: &[(&str, String)]) -> Result<()> {
    let bad = |e: ParquetError| match e {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(source) => DatasetError::Io { path: path.to_path_buf(), action: "write", source: *source },
            Err(other) => DatasetError::invalid(path, "parquet", other.to_string(), "Please report this"),
        },
        other => DatasetError::invalid(path, "parquet", other.to_string(), "Please report this"),
    };
    // The table is built in memory, so that a full disk shows as a plain write error with its reason.
    let bytes = encode(groups, metadata).map_err(bad)?;
    if let Some(parent) = path.parent() {
        disk::create_dir(parent)?;
    }
    disk::write_synced(path, &bytes)
}

fn encode(groups: &[Vec<Column>], metadata: &[(&str, String)]) -> Result<Vec<u8>, ParquetError> {
    let Some(first) = groups.first() else { return Err(ParquetError::General("no rows".into())) };
    let fields = first.iter().map(Column::schema).collect::<Result<Vec<_>, _>>()?;
    let schema = Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?);
    let entries: Vec<_> = metadata.iter().map(|(k, v)| KeyValue::new(k.to_string(), v.clone())).collect();
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("etude ", env!("CARGO_PKG_VERSION")).into())
        .set_key_value_metadata(Some(entries).filter(|e| !e.is_empty()))
        .build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties))?;
    for columns in groups {
        let mut group = writer.next_row_group()?;
        let mut columns = columns.iter();
        while let Some(mut output) = group.next_column()? {
            let column = columns.next().ok_or_else(|| ParquetError::General("row groups differ".into()))?;
            write_column(column, output.untyped())?;
            output.close()?;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(bytes)
}

fn write_column(column: &Column, writer: &mut ColumnWriter) -> Result<(), ParquetError> {
    macro_rules! put {
        ($writer:expr, $values:expr) => {{
            let (definition, repetition) = column.levels($values.len());
            $writer.write_batch($values, Some(&definition), repetition.as_deref())?;
        }};
    }
    match (writer, &column.values) {
        (ColumnWriter::Int64ColumnWriter(w), Values::I64(v)) => put!(w, v),
        (ColumnWriter::FloatColumnWriter(w), Values::F32(v)) => put!(w, v),
        (ColumnWriter::DoubleColumnWriter(w), Values::F64(v)) => put!(w, v),
        (ColumnWriter::BoolColumnWriter(w), Values::Bool(v)) => put!(w, v),
        (ColumnWriter::ByteArrayColumnWriter(w), Values::Text(v)) => {
            let bytes: Vec<_> = v.iter().map(|s| ByteArray::from(s.as_bytes().to_vec())).collect();
            put!(w, &bytes);
        }
        (ColumnWriter::ByteArrayColumnWriter(w), Values::Bytes(v)) => {
            let bytes: Vec<_> = v.iter().map(|b| ByteArray::from(b.clone())).collect();
            put!(w, &bytes);
        }
        _ => return Err(ParquetError::General(format!("{}: row groups differ in type", column.name))),
    }
    Ok(())
}

/// A table as read: all columns have `rows` rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// Number of rows.
    pub(crate) rows: usize,
    columns: Vec<Column>,
}

/// Rows of a parquet file without reading them.
pub(crate) fn count_rows(path: &Path) -> Result<usize> {
    let file = File::open(path).at(path, "open")?;
    guarded(path, "parquet", || {
        let reader = SerializedFileReader::new(file).map_err(|e| damaged(path, "footer", &e))?;
        usize::try_from(reader.metadata().file_metadata().num_rows())
            .map_err(|_| DatasetError::invalid(path, "footer", "a negative number of rows", RESTORE))
    })
}

/// Reads the columns whose name at the top level `wanted` accepts.
pub(crate) fn read(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Table> {
    let file = File::open(path).at(path, "open")?;
    let length = file.metadata().at(path, "read")?.len();
    guarded(path, "parquet", || read_file(path, &file, length, wanted))
}

fn damaged(path: &Path, key: &str, error: &ParquetError) -> DatasetError {
    DatasetError::invalid(path, key, error.to_string(), RESTORE)
}

fn read_file(path: &Path, file: &File, length: u64, wanted: impl Fn(&str) -> bool) -> Result<Table> {
    let bad = |key: &str, e: ParquetError| damaged(path, key, &e);
    // From memory, where a damaged page length is an error: the crate's file source would first allocate that much.
    let bytes = file.get_bytes(0, length as usize).map_err(|e| bad("file", e))?;
    let reader = SerializedFileReader::new(bytes).map_err(|e| bad("footer", e))?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let mut table = Table::default();
    for g in 0..reader.num_row_groups() {
        let group = reader.get_row_group(g).map_err(|e| bad("row group", e))?;
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(usize::MAX);
        // Every row takes part of a page; a count beyond that is damage, and must not be believed when allocating.
        if rows > 1 << 31 {
            return Err(DatasetError::invalid(path, "row group", "an impossible number of rows", RESTORE));
        }
        table.rows += rows;
        for c in 0..schema.num_columns() {
            let descriptor = schema.column(c);
            let parts = descriptor.path().parts();
            let Some(top) = parts.first() else { continue };
            if !wanted(top) {
                continue;
            }
            let listed = descriptor.max_rep_level() > 0;
            let name = if listed || parts.len() == 1 { top.clone() } else { parts.join(".") };
            let text = descriptor.converted_type() == ConvertedType::UTF8;
            let column_reader = group.get_column_reader(c).map_err(|e| bad(&name, e))?;
            let limits = (rows, descriptor.max_def_level(), descriptor.max_rep_level());
            let (values, lengths) = read_column(column_reader, limits, text).map_err(|e| bad(&name, e))?;
            let layout = if listed { Layout::List(lengths) } else { Layout::Scalar };
            let kinds = || DatasetError::invalid(path, &name, "row groups differ in type", RESTORE);
            match table.columns.iter_mut().find(|c| c.name == name) {
                None => table.columns.push(Column { name, values, layout }),
                Some(known) => {
                    let fits = known.values.append(values);
                    match (&mut known.layout, layout) {
                        (Layout::List(a), Layout::List(b)) if fits => a.extend(b),
                        (Layout::Scalar, Layout::Scalar) if fits => {}
                        _ => return Err(kinds()),
                    }
                }
            }
        }
    }
    Ok(table)
}

/// Reads one column chunk: its values, and for lists the length of each row's.
fn read_column(
    reader: ColumnReader,
    limits: (usize, i16, i16),
    text: bool,
) -> Result<(Values, Vec<u32>), ParquetError> {
    match reader {
        ColumnReader::Int64ColumnReader(r) => drain(r, limits, None).map(|(v, l)| (Values::I64(v), l)),
        ColumnReader::Int32ColumnReader(r) => {
            drain(r, limits, None).map(|(v, l)| (Values::I64(v.into_iter().map(i64::from).collect()), l))
        }
        ColumnReader::FloatColumnReader(r) => drain(r, limits, Some(f32::NAN)).map(|(v, l)| (Values::F32(v), l)),
        ColumnReader::DoubleColumnReader(r) => drain(r, limits, Some(f64::NAN)).map(|(v, l)| (Values::F64(v), l)),
        ColumnReader::BoolColumnReader(r) => drain(r, limits, None).map(|(v, l)| (Values::Bool(v), l)),
        ColumnReader::ByteArrayColumnReader(r) => {
            let (values, lengths) = drain(r, limits, Some(ByteArray::from("")))?;
            let values = if text {
                Values::Text(values.iter().map(|b| String::from_utf8_lossy(b.data()).into_owned()).collect())
            } else {
                Values::Bytes(values.iter().map(|b| b.data().to_vec()).collect())
            };
            Ok((values, lengths))
        }
        _ => Err(ParquetError::NYI("this physical type".into())),
    }
}

/// All values of a chunk. `missing` stands for a null scalar; without it a null is an error.
fn drain<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    (rows, max_definition, max_repetition): (usize, i16, i16),
    missing: Option<T::T>,
) -> Result<(Vec<T::T>, Vec<u32>), ParquetError> {
    let (mut definition, mut repetition, mut packed) = (Vec::new(), Vec::new(), Vec::new());
    let mut done = 0;
    while done < rows {
        let batch = (rows - done).min(1 << 14);
        let definition = (max_definition > 0).then_some(&mut definition);
        let repetition = (max_repetition > 0).then_some(&mut repetition);
        let (records, ..) = reader.read_records(batch, definition, repetition, &mut packed)?;
        if records == 0 {
            return Err(ParquetError::EOF(format!("ends after {done} of {rows} rows")));
        }
        done += records;
    }
    if max_repetition == 0 {
        if max_definition == 0 || definition.iter().all(|&d| d == max_definition) {
            return Ok((packed, Vec::new()));
        }
        let missing = missing.ok_or_else(|| ParquetError::General("a value is missing".into()))?;
        let mut packed = packed.into_iter();
        let mut present = |d: i16| if d == max_definition { packed.next() } else { None };
        return Ok((definition.iter().map(|&d| present(d).unwrap_or_else(|| missing.clone())).collect(), Vec::new()));
    }
    let mut lengths = Vec::with_capacity(rows);
    for (&d, &r) in definition.iter().zip(&repetition) {
        if r == 0 {
            lengths.push(0);
        }
        match lengths.last_mut() {
            Some(last) if d == max_definition => *last += 1,
            Some(_) => {}
            None => return Err(ParquetError::General("the first row is missing".into())),
        }
    }
    Ok((packed, lengths))
}

impl Table {
    /// The column called `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Takes the column out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Column> {
        let at = self.columns.iter().position(|c| c.name == name)?;
        Some(self.columns.swap_remove(at))
    }

    fn need(&self, path: &Path, name: &str) -> Result<&Column> {
        self.get(name).ok_or_else(|| DatasetError::invalid(path, name, "the column is missing", RESTORE))
    }

    /// A column of one whole number a row.
    pub(crate) fn i64s(&self, path: &Path, name: &str) -> Result<&[i64]> {
        match self.need(path, name)? {
            Column { values: Values::I64(v), .. } if v.len() == self.rows => Ok(v),
            _ => Err(DatasetError::invalid(path, name, "not one whole number a row", RESTORE)),
        }
    }

    /// A column of one number a row.
    pub(crate) fn f64s(&self, path: &Path, name: &str) -> Result<Vec<f64>> {
        let values = self.need(path, name)?.values.to_f64();
        values
            .filter(|v| v.len() == self.rows)
            .ok_or_else(|| DatasetError::invalid(path, name, "not one number a row", RESTORE))
    }

    /// A column of texts, some for each row.
    pub(crate) fn texts(&self, path: &Path, name: &str) -> Result<Vec<Vec<String>>> {
        let bad = || DatasetError::invalid(path, name, "not a column of texts", RESTORE);
        let column = self.need(path, name)?;
        let Values::Text(values) = &column.values else { return Err(bad()) };
        match &column.layout {
            Layout::List(lengths) => {
                let mut rest = values.as_slice();
                let mut rows = Vec::with_capacity(lengths.len());
                for &length in lengths {
                    let (head, tail) = rest.split_at_checked(length as usize).ok_or_else(bad)?;
                    rows.push(head.to_vec());
                    rest = tail;
                }
                Ok(rows)
            }
            _ => Ok(values.iter().map(|v| vec![v.clone()]).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_column_survives_a_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        let group = |seed: i64| {
            vec![
                Column::scalar("n", Values::I64(vec![seed, -2])),
                Column::scalar("b", Values::Bool(vec![true, false])),
                Column::scalar("t", Values::Text(vec!["é".into(), String::new()])),
                Column::lists("v", Values::F32(vec![1.0, 2.0, 3.0, 4.0]), 2, 2),
                Column {
                    name: "r".into(),
                    values: Values::Text(["a", "b"].map(String::from).to_vec()),
                    layout: Layout::List(vec![0, 2]),
                },
                Column {
                    name: "p".into(),
                    values: Values::F64((0..6).map(f64::from).collect()),
                    layout: Layout::Pixels,
                },
            ]
        };
        write(&path, &[group(1), group(7)], &[("k", "v".into())]).unwrap();
        assert_eq!(count_rows(&path).unwrap(), 4);
        let table = read(&path, |_| true).unwrap();
        assert_eq!(table.i64s(&path, "n").unwrap(), [1, -2, 7, -2]);
        assert_eq!(table.f64s(&path, "b").unwrap(), [1.0, 0.0, 1.0, 0.0]);
        assert_eq!(table.texts(&path, "t").unwrap()[2], ["é"]);
        assert_eq!(table.get("v").unwrap().width(), Some(2));
        assert_eq!(table.texts(&path, "r").unwrap()[3], ["a", "b"]);
        assert_eq!(table.get("p").unwrap().layout, Layout::List(vec![3; 4]));
        assert!(table.i64s(&path, "v").is_err() && table.i64s(&path, "none").is_err());
    }
}
