//! Labelled images: where they come from, how they are split, how subsets are
//! drawn.
//!
//! A spectrum can only be compared with another one if both were computed on
//! the same samples. So everything here is deterministic: splits are by
//! position in the files, random subsets come from a fixed algorithm and a
//! seed, and every data set carries a digest of its training data to record
//! beside the results.
//!
//! Pixels stay bytes, 0 to 255, as they are in the files; scaling them is up
//! to whoever feeds the network.

mod cifar10;
mod idx;

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// Every supported set has ten classes, labelled 0 to 9.
const CLASSES: usize = 10;

/// The largest file that is read, in bytes, both as stored and unpacked. It is
/// far above any real set and keeps a damaged header from filling the memory.
const MAX_BYTES: u64 = 1 << 30;

/// The size of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Colour planes: 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// Rows of a plane.
    pub height: usize,
    /// Columns of a plane.
    pub width: usize,
}

impl ImageShape {
    /// The number of values of one image: channels x height x width.
    pub fn pixels(&self) -> usize {
        self.channels * self.height * self.width
    }
}

/// Images of one shape with their labels.
///
/// Clones and leading subsets share the underlying bytes, so both are cheap.
#[derive(Clone)]
pub struct Samples {
    shape: ImageShape,
    pixels: Arc<[u8]>,
    labels: Arc<[u8]>,
    /// The part of the shared bytes that is meant, in samples.
    window: Range<usize>,
}

impl Samples {
    /// Samples from pixels in (N, C, H, W) order and N labels.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if there isn't exactly one image for each label.
    pub fn new(shape: ImageShape, pixels: impl Into<Arc<[u8]>>, labels: impl Into<Arc<[u8]>>) -> Result<Samples> {
        let (pixels, labels) = (pixels.into(), labels.into());
        if labels.len().checked_mul(shape.pixels()) != Some(pixels.len()) {
            return Err(Error::Usage(format!(
                "{} labels need {} pixel values each, but there are {} values in all",
                labels.len(),
                shape.pixels(),
                pixels.len()
            )));
        }
        let window = 0..labels.len();
        Ok(Samples { shape, pixels, labels, window })
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.window.len()
    }

    /// Whether there are no samples at all.
    pub fn is_empty(&self) -> bool {
        self.window.is_empty()
    }

    /// The shape of each image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// All images, in (N, C, H, W) order; values are 0 to 255.
    pub fn pixels(&self) -> &[u8] {
        let size = self.shape.pixels();
        &self.pixels[self.window.start * size..self.window.end * size]
    }

    /// All N labels.
    pub fn labels(&self) -> &[u8] {
        &self.labels[self.window.clone()]
    }

    /// Image `i`, in (C, H, W) order.
    ///
    /// # Panics
    ///
    /// If `i` isn't below [`len`](Samples::len).
    pub fn image(&self, i: usize) -> &[u8] {
        let size = self.shape.pixels();
        &self.pixels()[i * size..(i + 1) * size]
    }

    /// The label of image `i`.
    ///
    /// # Panics
    ///
    /// If `i` isn't below [`len`](Samples::len).
    pub fn label(&self, i: usize) -> u8 {
        self.labels()[i]
    }

    /// The first `n` samples, without a copy.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if `n` is zero or more than there are.
    pub fn first(&self, n: usize) -> Result<Samples> {
        self.check_subset(n)?;
        Ok(self.range(0..n))
    }

    /// A copy of the samples with these indices, in this order; an index may
    /// occur more than once.
    ///
    /// # Panics
    ///
    /// If an index isn't below [`len`](Samples::len).
    pub fn select(&self, indices: &[usize]) -> Samples {
        let mut pixels = Vec::with_capacity(indices.len() * self.shape.pixels());
        for &i in indices {
            pixels.extend_from_slice(self.image(i));
        }
        Samples {
            shape: self.shape,
            pixels: pixels.into(),
            labels: indices.iter().map(|&i| self.label(i)).collect(),
            window: 0..indices.len(),
        }
    }

    /// `n` distinct samples drawn at random, in the order in which they occur
    /// here. The same samples, `n` and seed give the same subset for ever.
    ///
    /// The algorithm is written out rather than taken from a library, whose
    /// sampling may change between versions. ChaCha8 is keyed with the seed as
    /// 8 little-endian bytes followed by 24 zero bytes. A partial Fisher-Yates
    /// shuffle of 0, 1, ..., len - 1 then swaps position i, for i = 0 to n - 1,
    /// with position i + floor(r (len - i) / 2^64), where r is the next 64-bit
    /// output. The first n positions, sorted, are the subset. It follows that a
    /// larger subset contains every smaller one of the same seed.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if `n` is zero or more than there are.
    pub fn random(&self, n: usize, seed: u64) -> Result<Samples> {
        self.check_subset(n)?;
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        let mut indices: Vec<usize> = (0..self.len()).collect();
        for i in 0..n {
            let left = (self.len() - i) as u128;
            let step = (u128::from(rng.next_u64()) * left) >> 64;
            indices.swap(i, i + step as usize);
        }
        indices.truncate(n);
        indices.sort_unstable();
        Ok(self.select(&indices))
    }

    /// A fixed subset: `n` samples at random by `seed`, or without one the first `n`.
    ///
    /// # Errors
    ///
    /// As [`first`](Samples::first).
    pub fn subset(&self, n: usize, seed: Option<u64>) -> Result<Samples> {
        match seed {
            Some(seed) => self.random(n, seed),
            None => self.first(n),
        }
    }

    fn check_subset(&self, n: usize) -> Result<()> {
        let len = self.len();
        if (1..=len).contains(&n) {
            Ok(())
        } else {
            Err(Error::Usage(format!("cannot take {n} of {len} samples: ask for 1 to {len}")))
        }
    }

    fn range(&self, range: Range<usize>) -> Samples {
        let start = self.window.start;
        Samples { window: start + range.start..start + range.end, ..self.clone() }
    }
}

/// Without the bytes, of which there are millions.
impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Samples").field("shape", &self.shape).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A data set, split for training, validation and test. Cheap to clone.
///
/// All three parts have images of the same shape.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What to call it in reports.
    pub name: String,
    /// The shape of each image.
    pub shape: ImageShape,
    /// The number of classes; labels are 0 to `classes - 1`.
    pub classes: usize,
    /// The leading part of the training files.
    pub train: Samples,
    /// The rest of the training files.
    pub validation: Samples,
    /// The test files, if there are any.
    pub test: Option<Samples>,
    /// Lowercase hexadecimal SHA-256 of the training files' pixels (training
    /// part, then validation part, unpacked and without headers), followed by
    /// their labels.
    pub digest: String,
}

impl Dataset {
    /// Sets the last 1/`share` of `all` aside for validation; `origin` is what
    /// an error names.
    fn split(origin: &Path, name: &str, all: Samples, share: usize, test: Option<Samples>) -> Result<Dataset> {
        let held_out = all.len() / share;
        if held_out == 0 {
            return Err(Error::file(
                origin,
                format!(
                    "only {} training samples: at least {share} are needed, to keep \
                     one in {share} for validation",
                    all.len()
                ),
            ));
        }
        let border = all.len() - held_out;
        let hash = Sha256::new().chain_update(all.pixels()).chain_update(all.labels()).finalize();
        Ok(Dataset {
            name: name.to_owned(),
            shape: all.shape(),
            classes: CLASSES,
            train: all.range(0..border),
            validation: all.range(border..all.len()),
            test,
            digest: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

/// Reads a regular file of at most [`MAX_BYTES`].
fn read(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |error| Error::file(path, format!("cannot be read: {error}"));
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Error::file(path, "isn't a regular file"));
    }
    if metadata.len() > MAX_BYTES {
        let problem = format!("holds {} bytes, more than the limit of {MAX_BYTES}", metadata.len());
        return Err(Error::file(path, problem));
    }
    fs::read(path).map_err(unreadable)
}

/// Fails on the first label that isn't below [`CLASSES`].
fn check_labels(path: &Path, labels: impl IntoIterator<Item = u8>) -> Result<()> {
    let mut numbered = labels.into_iter().enumerate();
    match numbered.find(|&(_, label)| usize::from(label) >= CLASSES) {
        None => Ok(()),
        Some((sample, label)) => Err(Error::file(
            path,
            format!("label {label} at sample {sample} is out of range: labels are 0 to {}", CLASSES - 1),
        )),
    }
}

#[cfg(test)]
mod tests;
