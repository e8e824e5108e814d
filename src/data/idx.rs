//! The IDX format, in which MNIST and its drop-in replacements are published.
//!
//! A file is a magic number whose last byte counts the dimensions, that many
//! big-endian 32-bit sizes, and one unsigned byte per value. Publishers differ
//! in names (`-idx3-` or `.idx3-`) and in whether they gzip the files, and
//! people rename and unpack them; hence both names are tried, and compression
//! is recognised by content.
//!
//! Nothing that a header declares is believed before the bytes are there.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use flate2::bufread::MultiGzDecoder;

use super::{Dataset, ImageShape, MAX_BYTES, Samples, check_labels, read};
use crate::{Error, Result};

/// One in so many training samples is kept for validation: 10,000 of MNIST's
/// 60,000.
const VALIDATION_SHARE: usize = 6;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const LABELS_MAGIC: u32 = 0x801;
const IMAGES_MAGIC: u32 = 0x803;

/// A file's name, for messages, and its possibly compressed content.
type Source<'a> = (&'a Path, &'a [u8]);

impl Dataset {
    /// The MNIST digits that are built into the program: 28 x 28 grey images,
    /// 50,000 for training, 10,000 for validation and 10,000 for test.
    ///
    /// They are unpacked on the first call; later calls share the bytes.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the files were damaged when the program was built.
    pub fn mnist_embedded() -> Result<Dataset> {
        static MNIST: LazyLock<Result<Dataset, String>> = LazyLock::new(|| mnist().map_err(|error| error.to_string()));
        MNIST.clone().map_err(|problem| Error::file("built-in MNIST", problem))
    }

    /// A set of IDX files, such as Fashion-MNIST, named after its directory.
    ///
    /// The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and
    /// optionally `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte` for the
    /// test part. Names may have a dot in place of the last but one hyphen and
    /// may end in `.gz`; content may be gzipped whatever the name. The last
    /// sixth of the training files is for validation.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if a file is missing, damaged or doesn't go with the
    /// others, or if there are fewer than 6 training samples.
    pub fn idx_directory(dir: impl AsRef<Path>) -> Result<Dataset> {
        let dir = dir.as_ref();
        let (images, labels) = match find_pair(dir, "train")? {
            (Some(images), Some(labels)) => (images, labels),
            (None, _) => return Err(missing(dir, "train", IMAGES)),
            (_, None) => return Err(missing(dir, "train", LABELS)),
        };
        let all = samples((&images, &read(&images)?), (&labels, &read(&labels)?))?;
        let test = match find_pair(dir, "t10k")? {
            (None, None) => None,
            (Some(images), Some(labels)) => {
                let test = samples((&images, &read(&images)?), (&labels, &read(&labels)?))?;
                same_shape(&images, test.shape(), all.shape())?;
                Some(test)
            }
            (None, _) => return Err(missing(dir, "t10k", IMAGES)),
            (_, None) => return Err(missing(dir, "t10k", LABELS)),
        };
        Dataset::split(&images, &name(dir), all, VALIDATION_SHARE, test)
    }
}

fn mnist() -> Result<Dataset> {
    macro_rules! embedded {
        ($name:literal) => {
            (Path::new($name), include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/mnist/", $name)).as_slice())
        };
    }
    let images = embedded!("train-images-idx3-ubyte.gz");
    let all = samples(images, embedded!("train-labels-idx1-ubyte.gz"))?;
    let test = samples(embedded!("t10k-images-idx3-ubyte.gz"), embedded!("t10k-labels-idx1-ubyte.gz"))?;
    Dataset::split(images.0, "mnist", all, VALIDATION_SHARE, Some(test))
}

/// The directory's own name, also where it was given as `.` or the like.
fn name(dir: &Path) -> String {
    let full = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let name = full.file_name().map(|name| name.to_string_lossy());
    name.map_or_else(|| "idx".to_owned(), |name| name.into_owned())
}

/// The middle and the end of a file's name.
type Kind = (&'static str, &'static str);
const IMAGES: Kind = ("images", "idx3-ubyte");
const LABELS: Kind = ("labels", "idx1-ubyte");

fn spellings(part: &str, (middle, end): Kind) -> [String; 2] {
    ["-", "."].map(|joint| format!("{part}-{middle}{joint}{end}"))
}

/// The image file and the label file of `part`, where they exist.
fn find_pair(dir: &Path, part: &str) -> Result<(Option<PathBuf>, Option<PathBuf>)> {
    if !dir.is_dir() {
        return Err(Error::file(dir, "no such directory"));
    }
    // Some archives unpack to a directory of that name: only files count.
    let find = |kind| {
        let names = spellings(part, kind);
        let candidates = names.iter().flat_map(|name| [dir.join(name), dir.join(format!("{name}.gz"))]);
        candidates.into_iter().find(|path| path.is_file())
    };
    Ok((find(IMAGES), find(LABELS)))
}

fn missing(dir: &Path, part: &str, kind: Kind) -> Error {
    let [hyphen, dot] = spellings(part, kind);
    let problem = format!("there is no {hyphen} or {dot} here, with or without .gz");
    Error::file(dir, problem)
}

fn same_shape(path: &Path, found: ImageShape, expected: ImageShape) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let problem = format!(
        "images are {} x {}, but the training images are {} x {}",
        found.height, found.width, expected.height, expected.width
    );
    Err(Error::file(path, problem))
}

/// An image file together with its label file.
fn samples(images: Source, labels: Source) -> Result<Samples> {
    let ([count, height, width], pixels) = values(images, IMAGES_MAGIC)?;
    let ([label_count], digits) = values(labels, LABELS_MAGIC)?;
    if label_count != count {
        let problem = format!("holds {label_count} labels, but {} holds {count} images", images.0.display());
        return Err(Error::file(labels.0, problem));
    }
    check_labels(labels.0, digits.iter().copied())?;
    let shape = ImageShape { channels: 1, height, width };
    Samples::new(shape, pixels, digits)
}

/// The sizes and the values of a file with `D` dimensions.
fn values<const D: usize>((path, bytes): Source, magic: u32) -> Result<([usize; D], Arc<[u8]>)> {
    let fail = |problem: String| Err(Error::file(path, problem));
    let header_len = 4 + 4 * D;
    let mut content = Content::new(path, bytes);

    let header = content.take(header_len as u64)?;
    let mut words = header.chunks_exact(4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    // The magic number first: a short file of another kind isn't "truncated".
    if let Some(found) = words.next().filter(|&found| found != magic) {
        let (expected, found) = (describe(magic), describe(found));
        return fail(format!("expected {expected}, found {found}"));
    }
    if header.len() < header_len {
        let found = header.len();
        return fail(format!("truncated: expected {header_len} header bytes, found {found}"));
    }

    let mut sizes = [0; D];
    sizes.iter_mut().zip(words).for_each(|(size, word)| *size = word as usize);
    let shown = sizes.map(|size| size.to_string()).join(" x ");
    if sizes.contains(&0) {
        return fail(format!("declares {shown} values: every size must be at least 1"));
    }
    let within_limit = sizes
        .iter()
        .try_fold(1, |product: u64, &size| product.checked_mul(size as u64))
        .filter(|&len| len <= MAX_BYTES);
    let Some(len) = within_limit else {
        return fail(format!("declares {shown} values, more than the limit of {MAX_BYTES}"));
    };

    let values = content.take(len)?;
    if (values.len() as u64) < len {
        let (expected, found) = (header_len as u64 + len, header_len + values.len());
        return fail(format!("truncated: expected {expected} bytes for {shown} values, found {found}"));
    }
    // This also makes gzip compare its checksum, which stands at the end.
    if !content.take(1)?.is_empty() {
        let expected = header_len as u64 + len;
        return fail(format!("trailing bytes: more than the {expected} bytes for {shown} values"));
    }
    Ok((sizes, values.into()))
}

fn describe(magic: u32) -> String {
    let what = match magic {
        IMAGES_MAGIC => "an IDX image file",
        LABELS_MAGIC => "an IDX label file",
        _ => "something else",
    };
    format!("{what} (magic number 0x{magic:08x})")
}

/// A file's content, unpacked as far as it is asked for.
struct Content<'a> {
    path: &'a Path,
    reader: Box<dyn Read + 'a>,
}

impl<'a> Content<'a> {
    fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        let reader: Box<dyn Read> =
            if bytes.starts_with(&GZIP_MAGIC) { Box::new(MultiGzDecoder::new(bytes)) } else { Box::new(bytes) };
        Content { path, reader }
    }

    /// The next `len` bytes, or fewer at the end. Memory grows with what is
    /// there, not with `len`.
    fn take(&mut self, len: u64) -> Result<Vec<u8>> {
        let mut taken = Vec::new();
        match self.reader.by_ref().take(len).read_to_end(&mut taken) {
            Ok(_) => Ok(taken),
            // Reading from memory can't fail, so it is the unpacking.
            Err(error) => Err(Error::file(self.path, format!("broken gzip: {error}"))),
        }
    }
}

#[cfg(test)]
#[path = "idx_tests.rs"]
mod tests;
