use super::*;

/// `n` images of 1 x 1 x 2 pixels: sample i is [i, 100 + i], label i % 10.
fn counted(n: u8) -> Samples {
    let shape = ImageShape { channels: 1, height: 1, width: 2 };
    let pixels: Vec<u8> = (0..n).flat_map(|i| [i, 100 + i]).collect();
    let labels: Vec<u8> = (0..n).map(|i| i % 10).collect();
    Samples::new(shape, pixels, labels).unwrap()
}

fn split(n: u8, share: usize) -> Result<Dataset> {
    Dataset::split(Path::new("origin"), "counted", counted(n), share, None)
}

#[test]
fn samples_are_addressed_within_their_window() {
    let tail = counted(20).range(12..20);
    assert_eq!(tail.len(), 8);
    assert_eq!(tail.image(0), [12, 112]);
    assert_eq!(tail.label(7), 9);
    assert_eq!(tail.first(2).unwrap().pixels(), [12, 112, 13, 113]);
    let picked = tail.select(&[3, 0, 3]);
    assert_eq!(picked.pixels(), [15, 115, 12, 112, 15, 115]);
    assert_eq!(picked.labels(), [5, 2, 5]);
    assert!(tail.select(&[]).is_empty());
}

#[test]
#[should_panic(expected = "out of range")]
fn an_image_beyond_the_window_is_refused() {
    counted(20).first(5).unwrap().image(5);
}

#[test]
fn a_subset_must_be_possible() {
    let samples = counted(20);
    for n in [0, 21] {
        let expected = format!("cannot take {n} of 20 samples: ask for 1 to 20");
        for result in [samples.first(n), samples.random(n, 1)] {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Usage(_)));
            assert_eq!(error.to_string(), expected);
        }
    }
}

#[test]
fn pixels_and_labels_must_agree() {
    let shape = counted(1).shape();
    let error = Samples::new(shape, vec![0; 5], vec![0; 2]).unwrap_err();
    assert_eq!(error.to_string(), "2 labels need 2 pixel values each, but there are 5 values in all");
}

#[test]
fn random_subsets_are_distinct_sorted_and_nested() {
    let samples = counted(100);
    let mut smaller: Vec<u8> = Vec::new();
    for n in 1..=100 {
        let subset = samples.random(n, 7).unwrap();
        let ids: Vec<u8> = (0..n).map(|i| subset.image(i)[0]).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert!(smaller.iter().all(|id| ids.contains(id)));
        smaller = ids;
    }
}

/// Computed with an independent implementation of the documented algorithm.
#[test]
fn random_subsets_never_change() {
    let ids = |seed| {
        let subset = counted(100).random(8, seed).unwrap();
        (0..8).map(|i| subset.image(i)[0]).collect::<Vec<u8>>()
    };
    assert_eq!(ids(0), [3, 6, 14, 24, 28, 31, 63, 83]);
    assert_eq!(ids(0x0123_4567_89ab_cdef), [8, 13, 17, 34, 51, 56, 83, 88]);
}

#[test]
fn the_split_is_by_position() {
    let data = split(20, 6).unwrap();
    assert_eq!((data.train.len(), data.validation.len()), (17, 3));
    assert_eq!(data.validation.image(0), [17, 117]);
    let error = split(5, 6).unwrap_err().to_string();
    assert!(error.starts_with("origin: only 5 training samples"), "{error}");
}

/// The reference is `printf '\0\144\1\145\0\1' | sha256sum`.
#[test]
fn the_digest_covers_pixels_then_labels() {
    assert_eq!(split(2, 2).unwrap().digest, "d8133b4641ce000e22c0b9cf83c4b8834d6768d22f386a9701abe134b7ebba94");
}

#[test]
fn only_regular_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let error = read(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("isn't a regular file"), "{error}");
    let error = read(&folder.path().join("none")).unwrap_err().to_string();
    assert!(error.contains("cannot be read: No such file"), "{error}");
    let huge = folder.path().join("huge");
    fs::File::create(&huge).unwrap().set_len(MAX_BYTES + 1).unwrap();
    let error = read(&huge).unwrap_err().to_string();
    assert!(error.contains("more than the limit"), "{error}");
}
