// Hands a tile to the kernel's own `store(direction, row, item, sums)`, row by row; the columns are a window's positions.
fn store_rows(direction: u32, row: u32, item: u32, sums: Tile) {
    store(direction, row, item, sums.upper[0]);
    store(direction, row + 1u, item, sums.upper[1]);
    store(direction, row + 2u, item, sums.upper[2]);
    store(direction, row + 3u, item, sums.upper[3]);
    store(direction, row + 4u, item, sums.lower[0]);
    store(direction, row + 5u, item, sums.lower[1]);
    store(direction, row + 6u, item, sums.lower[2]);
    store(direction, row + 7u, item, sums.lower[3]);
}
