//! The binary version of CIFAR-10.
//!
//! A file is a sequence of records without a header: one label byte, then the
//! red, the green and the blue plane of a 32 x 32 image, row by row. That is
//! (C, H, W) order already. As nothing marks the format, its only checks are
//! the file's size and the range of the labels.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Dataset, ImageShape, Samples, check_labels, read};
use crate::{Error, Result};

const SHAPE: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };

/// A label and an image, in bytes.
const RECORD: usize = 1 + SHAPE.channels * SHAPE.height * SHAPE.width;

/// One in so many training samples is kept for validation: 10,000 of the
/// 50,000 of the full set.
const VALIDATION_SHARE: usize = 5;

/// The folder that the published archive unpacks to.
const ARCHIVE_FOLDER: &str = "cifar-10-batches-bin";

impl Dataset {
    /// CIFAR-10 in its binary version: 32 x 32 images in red, green and blue.
    ///
    /// All `data_batch_N.bin` in `dir`, or else in its folder
    /// `cifar-10-batches-bin`, are the training files, in the order of N; the
    /// last fifth of them is for validation. `test_batch.bin`, if present, is
    /// the test part.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if there is no training file, if a file's size isn't a
    /// multiple of a record's, if a label is above 9, or if there are fewer than
    /// 5 training samples.
    pub fn cifar10_directory(dir: impl AsRef<Path>) -> Result<Dataset> {
        let (dir, batches) = find_batches(dir.as_ref())?;
        let mut records = Vec::new();
        for batch in &batches {
            records.extend(read_records(batch)?);
        }
        let test = dir.join("test_batch.bin");
        let test = if test.is_file() { Some(samples(&read_records(&test)?)?) } else { None };
        Dataset::split(&dir, "cifar10", samples(&records)?, VALIDATION_SHARE, test)
    }
}

/// The training files, and the directory where they are.
fn find_batches(dir: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    for folder in [dir.to_owned(), dir.join(ARCHIVE_FOLDER)] {
        if folder != dir && !folder.is_dir() {
            continue;
        }
        let unreadable = |error| Error::file(&folder, format!("cannot be read: {error}"));
        let mut numbered = Vec::new();
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if let Some(number) = batch_number(&path) {
                numbered.push((number, path));
            }
        }
        if !numbered.is_empty() {
            numbered.sort();
            let paths = numbered.into_iter().map(|(_, path)| path).collect();
            return Ok((folder, paths));
        }
    }
    let problem = format!("there is no data_batch_1.bin or the like here or in {ARCHIVE_FOLDER}");
    Err(Error::file(dir, problem))
}

/// The N of `data_batch_N.bin`. As a number, because 10 comes after 9.
fn batch_number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let digits = name.strip_prefix("data_batch_")?.strip_suffix(".bin")?;
    // `parse` alone would let "+1" pass.
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

/// A file's bytes, if they are whole records with possible labels.
fn read_records(path: &Path) -> Result<Vec<u8>> {
    let bytes = read(path)?;
    check_records(path, &bytes)?;
    Ok(bytes)
}

fn check_records(path: &Path, bytes: &[u8]) -> Result<()> {
    if bytes.is_empty() {
        return Err(Error::file(path, "is empty"));
    }
    if !bytes.len().is_multiple_of(RECORD) {
        let problem = format!("holds {} bytes, which isn't a multiple of a record's {RECORD}", bytes.len());
        return Err(Error::file(path, problem));
    }
    check_labels(path, bytes.iter().copied().step_by(RECORD))
}

/// Separates the labels from the pixels.
fn samples(records: &[u8]) -> Result<Samples> {
    let mut pixels = Vec::with_capacity(records.len());
    let mut labels = Vec::with_capacity(records.len() / RECORD);
    for record in records.chunks_exact(RECORD) {
        labels.push(record[0]);
        pixels.extend_from_slice(&record[1..]);
    }
    Samples::new(SHAPE, pixels, labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Records whose pixels tell the plane, and whose labels count up.
    fn records(first: u8, count: u8) -> Vec<u8> {
        (first..first + count)
            .flat_map(|i| {
                let planes = [i, i + 50, i + 100].map(|value| [value; 1024]);
                [vec![i % 10], planes.concat()].concat()
            })
            .collect()
    }

    fn problem(files: &[(&str, &[u8])]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let error = Dataset::cifar10_directory(folder.path()).unwrap_err();
        assert!(matches!(error, Error::File { .. }));
        error.to_string()
    }

    #[test]
    fn batches_come_in_numeric_order() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        write("data_batch_10.bin", &records(5, 5));
        write("data_batch_9.bin", &records(0, 5));
        write("data_batch_+1.bin", b"not a batch");
        write("batches.meta.txt", b"airplane\n");

        let data = Dataset::cifar10_directory(folder.path()).unwrap();
        assert_eq!(data.name, "cifar10");
        assert_eq!((data.shape, data.classes), (SHAPE, 10));
        assert_eq!(data.train.labels(), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(data.validation.labels(), [8, 9]);
        assert!(data.test.is_none());
        let image = data.train.image(6);
        assert_eq!([image[1023], image[1024], image[2048]], [6, 56, 106]);

        write("test_batch.bin", &records(3, 2));
        let data = Dataset::cifar10_directory(folder.path()).unwrap();
        assert_eq!(data.test.unwrap().labels(), [3, 4]);
    }

    #[test]
    fn the_archive_folder_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join(ARCHIVE_FOLDER);
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("data_batch_1.bin"), records(0, 5)).unwrap();
        fs::write(inner.join("test_batch.bin"), records(0, 1)).unwrap();
        let data = Dataset::cifar10_directory(folder.path()).unwrap();
        assert_eq!((data.train.len(), data.validation.len()), (4, 1));
        assert_eq!(data.test.unwrap().len(), 1);
    }

    #[test]
    fn problems_are_named() {
        let good = records(0, 5);
        let mut mislabelled = good.clone();
        mislabelled[3 * RECORD] = 12;
        let cut = &good[..good.len() - 1];
        let batch = "data_batch_1.bin";
        for (files, expected) in [
            (vec![], ": there is no data_batch_1.bin or the like here or in cifar-10-batches-bin"),
            (vec![(batch, &[] as &[u8])], "data_batch_1.bin: is empty"),
            (vec![(batch, cut)], "data_batch_1.bin: holds 15364 bytes, which isn't a multiple of a record's 3073"),
            (
                vec![(batch, mislabelled.as_slice())],
                "data_batch_1.bin: label 12 at sample 3 is out of range: labels are 0 to 9",
            ),
            (
                vec![(batch, &good[..4 * RECORD])],
                ": only 4 training samples: at least 5 are needed, to keep one in 5 for validation",
            ),
            (
                vec![(batch, good.as_slice()), ("test_batch.bin", cut)],
                "test_batch.bin: holds 15364 bytes, which isn't a multiple of a record's 3073",
            ),
        ] {
            let found = problem(&files);
            assert!(found.ends_with(expected), "{found}");
        }
        let error = Dataset::cifar10_directory("/no/such/folder").unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("/no/such/folder: cannot be read"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            label in 0..20u8,
            count in 0..3usize,
            extra in prop_oneof![Just(0), 0..RECORD],
        ) {
            let bytes = vec![label; count * RECORD + extra];
            let valid = extra == 0 && count > 0 && label < 10;
            match check_records(Path::new("batch"), &bytes) {
                Ok(()) => prop_assert!(valid && samples(&bytes).unwrap().len() == count),
                Err(error) => {
                    let error = error.to_string();
                    prop_assert!(!valid);
                    prop_assert!(error.starts_with("batch: ") && error.lines().count() == 1);
                }
            }
        }
    }
}
