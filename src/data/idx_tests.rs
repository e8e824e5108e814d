use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

fn idx(magic: u32, sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let words = [&[magic], sizes].concat();
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend_from_slice(values);
    bytes
}

/// `n` images of 2 x 3 pixels, counting up.
fn image_file(n: u8) -> Vec<u8> {
    let values: Vec<u8> = (0..6 * n).collect();
    idx(IMAGES_MAGIC, &[n.into(), 2, 3], &values)
}

fn label_file(n: u8) -> Vec<u8> {
    let values: Vec<u8> = (0..n).map(|i| i % 10).collect();
    idx(LABELS_MAGIC, &[n.into()], &values)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn load(images: &[u8], labels: &[u8]) -> Result<Samples> {
    samples((Path::new("images"), images), (Path::new("labels"), labels))
}

/// The one line that explains why `images` and `labels` cannot be loaded.
fn problem(images: &[u8], labels: &[u8]) -> String {
    load(images, labels).unwrap_err().to_string()
}

fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

#[test]
fn embedded_mnist_is_the_published_set() {
    let data = Dataset::mnist_embedded().unwrap();
    let test = data.test.unwrap();
    assert_eq!((data.name.as_str(), data.classes), ("mnist", 10));
    assert_eq!(data.train.len(), 50_000);
    assert_eq!(data.validation.len(), 10_000);
    assert_eq!(test.len(), 10_000);
    assert_eq!(data.shape.pixels(), 784);
    assert_eq!((data.shape, test.shape()), (data.train.shape(), data.shape));
    assert_eq!(data.train.labels()[..5], [5, 0, 4, 1, 9]);
    assert_eq!(data.validation.labels()[..5], [3, 8, 6, 9, 6]);
    assert_eq!(test.labels()[..5], [7, 2, 1, 0, 4]);
    assert_eq!(data.digest, "edc0d1098aa497be14ace79ddd5171e5a3dcf9c4d196c015389203eb3ba1f59b");
}

/// The digests of assets/mnist/README.md, over files rebuilt from what was
/// loaded: not a byte of them goes unread.
#[test]
fn embedded_files_have_the_stated_digests() {
    use sha2::{Digest, Sha256};
    let data = Dataset::mnist_embedded().unwrap();
    let join = |part: fn(&Samples) -> &[u8]| [part(&data.train), part(&data.validation)].concat();
    let test = data.test.as_ref().unwrap();
    for (file, stated) in [
        (
            idx(IMAGES_MAGIC, &[60_000, 28, 28], &join(Samples::pixels)),
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        (
            idx(LABELS_MAGIC, &[60_000], &join(Samples::labels)),
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        (
            idx(IMAGES_MAGIC, &[10_000, 28, 28], test.pixels()),
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        (
            idx(LABELS_MAGIC, &[10_000], test.labels()),
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ] {
        let digest: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, stated);
    }
}

#[test]
fn directories_are_read_under_any_usual_name() {
    // gzip under a plain name, plain under a gzip name, and dotted names.
    let folder =
        folder(&[("train-images.idx3-ubyte", gzip(&image_file(12))), ("train-labels-idx1-ubyte.gz", label_file(12))]);
    // What some archives unpack to; it must not hide the file.
    fs::create_dir(folder.path().join("train-images-idx3-ubyte")).unwrap();
    let data = Dataset::idx_directory(folder.path()).unwrap();
    assert_eq!((data.train.len(), data.validation.len()), (10, 2));
    assert_eq!(data.validation.image(0), [60, 61, 62, 63, 64, 65]);
    assert!(data.test.is_none());
    let own_name = folder.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(data.name, own_name);

    let write = |name, bytes| fs::write(folder.path().join(name), bytes).unwrap();
    write("t10k-images.idx3-ubyte.gz", gzip(&image_file(3)));
    let error = Dataset::idx_directory(folder.path()).unwrap_err();
    assert!(error.to_string().contains("there is no t10k-labels-idx1-ubyte"));
    write("t10k-labels-idx1-ubyte", label_file(3));
    let data = Dataset::idx_directory(folder.path()).unwrap();
    assert_eq!(data.test.unwrap().labels(), [0, 1, 2]);

    write("t10k-images.idx3-ubyte.gz", idx(IMAGES_MAGIC, &[3, 3, 2], &[0; 18]));
    let error = Dataset::idx_directory(folder.path()).unwrap_err();
    assert!(error.to_string().ends_with("images are 3 x 2, but the training images are 2 x 3"));
}

#[test]
fn missing_files_are_named() {
    let only_images = folder(&[("train-images-idx3-ubyte", image_file(6))]);
    let error = Dataset::idx_directory(only_images.path()).unwrap_err();
    let expected = format!(
        "{}: there is no train-labels-idx1-ubyte or train-labels.idx1-ubyte here, \
         with or without .gz",
        only_images.path().display()
    );
    assert_eq!(error.to_string(), expected);
    let nothing = Dataset::idx_directory(folder(&[]).path().join("no")).unwrap_err();
    assert!(nothing.to_string().ends_with("no: no such directory"));
}

#[test]
fn damaged_files_are_explained() {
    let (images, labels) = (image_file(6), label_file(6));
    let other = "magic number 0x6e6f7420";
    let cases = [
        (
            problem(&labels, &labels),
            "images: expected an IDX image file (magic number 0x00000803), \
             found an IDX label file (magic number 0x00000801)",
        ),
        (
            problem(b"not IDX", &labels),
            &format!(
                "images: expected an IDX image file (magic number 0x00000803), \
                 found something else ({other})"
            ),
        ),
        (problem(&[], &labels), "images: truncated: expected 16 header bytes, found 0"),
        (problem(&images[..15], &labels), "images: truncated: expected 16 header bytes, found 15"),
        (problem(&images[..50], &labels), "images: truncated: expected 52 bytes for 6 x 2 x 3 values, found 50"),
        (problem(&gzip(&images[..50]), &labels), "images: truncated: expected 52 bytes for 6 x 2 x 3 values, found 50"),
        (
            problem(&[images.as_slice(), b"!"].concat(), &labels),
            "images: trailing bytes: more than the 52 bytes for 6 x 2 x 3 values",
        ),
        (problem(&images, &label_file(5)), "labels: holds 5 labels, but images holds 6 images"),
        (
            problem(&images, &idx(LABELS_MAGIC, &[6], &[0, 9, 12, 10, 0, 0])),
            "labels: label 12 at sample 2 is out of range: labels are 0 to 9",
        ),
        (
            problem(&idx(IMAGES_MAGIC, &[6, 0, 3], &[]), &labels),
            "images: declares 6 x 0 x 3 values: every size must be at least 1",
        ),
        (
            problem(&idx(IMAGES_MAGIC, &[u32::MAX; 3], &[0; 9]), &labels),
            "images: declares 4294967295 x 4294967295 x 4294967295 values, \
             more than the limit of 1073741824",
        ),
        (
            problem(&idx(IMAGES_MAGIC, &[60_000, 100, 100], &[0; 9]), &labels),
            "images: truncated: expected 600000016 bytes for 60000 x 100 x 100 values, found 25",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn broken_gzip_is_reported_wherever_it_breaks() {
    let labels = label_file(6);
    let good = gzip(&image_file(6));
    assert!(load(&good, &labels).is_ok());
    for len in 2..good.len() {
        let found = problem(&good[..len], &labels);
        assert!(found.starts_with("images: broken gzip: "), "{len}: {found}");
    }
    let mut bad_checksum = good;
    let end = bad_checksum.len() - 8;
    bad_checksum[end] ^= 1;
    assert!(problem(&bad_checksum, &labels).starts_with("images: broken gzip: "));
}

/// Whatever the bytes are: samples that make sense, or one line that names a
/// file.
fn check_outcome(images: &[u8], labels: &[u8]) -> std::result::Result<(), TestCaseError> {
    match load(images, labels) {
        Ok(samples) => {
            prop_assert!(!samples.is_empty());
            let size = samples.shape().pixels();
            prop_assert_eq!(samples.pixels().len(), samples.len() * size);
            prop_assert_eq!(samples.labels().len(), samples.len());
            prop_assert!(samples.labels().iter().all(|&label| label < 10));
        }
        Err(error) => {
            let line = error.to_string();
            prop_assert!(line.starts_with("images: ") || line.starts_with("labels: "));
            prop_assert_eq!(line.lines().count(), 1);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        images in any::<Vec<u8>>(),
        labels in any::<Vec<u8>>(),
        packed in any::<bool>(),
    ) {
        check_outcome(&images, &labels)?;
        let images = if packed {
            [&GZIP_MAGIC, images.as_slice()].concat()
        } else {
            idx(IMAGES_MAGIC, &[], &images)
        };
        check_outcome(&images, &label_file(6))?;
    }

    #[test]
    fn arbitrary_sizes_never_panic(
        sizes in any::<[u32; 3]>(),
        small in [0..4u32, 0..4u32, 0..4u32],
        values in prop::collection::vec(any::<u8>(), 0..64),
        count in any::<u32>(),
    ) {
        check_outcome(&idx(IMAGES_MAGIC, &sizes, &values), &label_file(6))?;
        check_outcome(&image_file(6), &idx(LABELS_MAGIC, &[count], &values))?;
        let labels = label_file(small[0] as u8);
        let loaded = load(&idx(IMAGES_MAGIC, &small, &values), &labels);
        let len = small.iter().product::<u32>() as usize;
        prop_assert_eq!(loaded.is_ok(), len > 0 && len == values.len());
    }

    #[test]
    fn mutated_files_never_panic(
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        cut in any::<Option<Index>>(),
        packed in any::<bool>(),
    ) {
        let pack = |bytes: Vec<u8>| if packed { gzip(&bytes) } else { bytes };
        let mutate = |mut bytes: Vec<u8>| {
            for (index, value) in &changes {
                let at = index.index(bytes.len());
                bytes[at] = *value;
            }
            if let Some(cut) = &cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        };
        let (images, labels) = (pack(image_file(6)), pack(label_file(6)));
        check_outcome(&mutate(images.clone()), &labels)?;
        check_outcome(&images, &mutate(labels.clone()))?;
        // The damage may also be inside an intact gzip file.
        check_outcome(&pack(mutate(image_file(6))), &labels)?;
        check_outcome(&images, &pack(mutate(label_file(6))))?;
    }
}
