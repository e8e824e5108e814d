//! What is true of each of many items, in words.

/// Bits a word.
pub const WORD: usize = u64::BITS as usize;

/// A bit for each of up to [`WORD`] items: the lowest of the byte that `flag` makes of it.
#[inline(always)]
pub fn word_of<T: Copy>(items: &[T], flag: impl Fn(T) -> u8) -> u64 {
    let (eights, rest) = items.as_chunks::<8>();
    let mut bits = 0;
    for (i, &items) in eights.iter().enumerate() {
        // Eight bytes, then the lowest bit of each, all in the highest byte.
        let lowest = u64::from_le_bytes(items.map(&flag)) & 0x0101_0101_0101_0101;
        bits |= (lowest.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
    }
    for (i, &item) in (8 * eights.len()..).zip(rest) {
        bits |= u64::from(flag(item) & 1) << i;
    }
    bits
}
