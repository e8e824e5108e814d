//! Named tensors in a safetensors file.

use super::write_atomic;
use crate::{Error, Result};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// A tensor's numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
}

impl TensorData {
    fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    /// The numbers as f64, exactly.
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Self::F64(v) => v.clone(),
        }
    }

    /// The numbers as f32, rounded if they were f64.
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::F32(v) => v.clone(),
            Self::F64(v) => v.iter().map(|&x| x as f32).collect(),
        }
    }
}

impl From<Vec<f32>> for TensorData {
    fn from(values: Vec<f32>) -> Self {
        Self::F32(values)
    }
}

impl From<Vec<f64>> for TensorData {
    fn from(values: Vec<f64>) -> Self {
        Self::F64(values)
    }
}

/// A tensor: shape and row-major numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// Row-major numbers.
    pub data: TensorData,
}

/// The content of a safetensors file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorFile {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// The header's `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    path: PathBuf,
}

impl TensorFile {
    /// Adds a tensor.
    pub fn insert(&mut self, name: impl Into<String>, shape: &[usize], data: impl Into<TensorData>) {
        let data = data.into();
        assert_eq!(data.len(), shape.iter().product::<usize>(), "a tensor's numbers fill its shape");
        self.tensors.insert(name.into(), Tensor { shape: shape.to_vec(), data });
    }

    /// Adds an entry to the header's metadata.
    pub fn note(&mut self, key: impl Into<String>, value: impl ToString) {
        self.metadata.insert(key.into(), value.to_string());
    }

    /// An entry of the header's metadata, read as JSON.
    ///
    /// # Errors
    /// [`Error::File`] if it is missing or of another type.
    pub fn read_note<V: for<'de> Deserialize<'de>>(&self, key: &str) -> Result<V> {
        let text = self.metadata.get(key);
        let text = text.ok_or_else(|| Error::file(&self.path, format!("its metadata has no \"{key}\"")))?;
        serde_json::from_str(text).map_err(|e| Error::file(&self.path, format!("its metadata has {key} = {text}: {e}")))
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// [`Error::File`] that lists what the file holds instead.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| {
            let names: Vec<_> = self.tensors.keys().map(String::as_str).collect();
            Error::file(&self.path, format!("has no tensor \"{name}\"; it has: {}", names.join(", ")))
        })
    }

    /// Writes the file; the same content gives the same bytes.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let views = self.tensors.iter().map(|(name, tensor)| {
            let (dtype, bytes): (_, &[u8]) = match &tensor.data {
                TensorData::F32(v) => (Dtype::F32, bytemuck::cast_slice(v)),
                TensorData::F64(v) => (Dtype::F64, bytemuck::cast_slice(v)),
            };
            (name, TensorView::new(dtype, tensor.shape.clone(), bytes).expect("the numbers fill the shape"))
        });
        let metadata: HashMap<_, _> = self.metadata.clone().into_iter().collect();
        let broken = |e: &dyn std::fmt::Display| Error::file(path, format!("cannot be written: {e}"));
        let mut bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| broken(&e))?;
        sort_header(&mut bytes).map_err(|e| broken(&e))?;
        write_atomic(path, &bytes)
    }

    /// Reads a file of f32 and f64 tensors.
    ///
    /// # Errors
    /// [`Error::File`] if it is missing, broken, or holds another type.
    pub fn read(path: &Path) -> Result<Self> {
        let broken = |e: &dyn std::fmt::Display| Error::file(path, format!("is not a safetensors file: {e}"));
        let bytes = std::fs::read(path).map_err(|e| Error::file(path, format!("cannot be read: {e}")))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(&e))?;
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let file = SafeTensors::deserialize(&bytes).map_err(|e| broken(&e))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let data = match view.dtype() {
                Dtype::F32 => TensorData::F32(bytemuck::pod_collect_to_vec(view.data())),
                Dtype::F64 => TensorData::F64(bytemuck::pod_collect_to_vec(view.data())),
                other => return Err(Error::file(path, format!("{name} is {other:?}; only F32 and F64 are read"))),
            };
            tensors.insert(name, Tensor { shape: view.shape().to_vec(), data });
        }
        Ok(Self { tensors, metadata, path: path.to_path_buf() })
    }
}

/// Sorts the keys of the header in place: the library writes the metadata in the order of a hash map, which differs from
/// run to run.
fn sort_header(bytes: &mut [u8]) -> Result<(), serde_json::Error> {
    let (length, rest) = bytes.split_at_mut(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
    let header: serde_json::Value = serde_json::from_slice(&rest[..length])?;
    let sorted = serde_json::to_vec(&header)?;
    assert!(sorted.len() <= length, "sorting the keys does not lengthen the header");
    rest[..sorted.len()].copy_from_slice(&sorted);
    rest[sorted.len()..length].fill(b' ');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_round_trips_and_its_bytes_are_fixed() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = TensorFile::default();
        file.insert("b", &[2, 3], vec![1f32, -2.0, f32::MIN_POSITIVE, 3.5, f32::MAX, 0.0]);
        file.insert("a", &[1], vec![std::f64::consts::PI]);
        (0..20).for_each(|i| file.note(format!("key{i}"), i));
        let paths = [folder.path().join("one"), folder.path().join("new/two")];
        for path in &paths {
            file.write(path).unwrap();
            let read = TensorFile::read(path).unwrap();
            assert_eq!((&read.tensors, &read.metadata), (&file.tensors, &file.metadata));
        }
        assert_eq!(std::fs::read(&paths[0]).unwrap(), std::fs::read(&paths[1]).unwrap());
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "no temporary file is left: {names:?}");
    }

    #[test]
    fn broken_files_say_so_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let message = |path: &Path| TensorFile::read(path).unwrap_err().to_string();
        assert!(message(&path).contains("cannot be read"));
        for bytes in [&b""[..], b"1234567", &[0xff; 64], b"\x02\0\0\0\0\0\0\0{}trailing"] {
            std::fs::write(&path, bytes).unwrap();
            let message = message(&path);
            assert!(message.contains("is not a safetensors file") && !message.contains('\n'), "{message}");
        }
        let mut file = TensorFile::default();
        file.insert("present", &[1], vec![1f32]);
        assert!(file.get("absent").unwrap_err().to_string().contains("present"));
    }
}
