// Hands a tile to the kernel's own `store(direction, row, column, sum)`, entry by entry.
fn store_tile(direction: u32, row: u32, column: u32, sums: Tile) {
    store_row(direction, row, column, sums.upper[0]);
    store_row(direction, row + 1u, column, sums.upper[1]);
    store_row(direction, row + 2u, column, sums.upper[2]);
    store_row(direction, row + 3u, column, sums.upper[3]);
    store_row(direction, row + 4u, column, sums.lower[0]);
    store_row(direction, row + 5u, column, sums.lower[1]);
    store_row(direction, row + 6u, column, sums.lower[2]);
    store_row(direction, row + 7u, column, sums.lower[3]);
}

fn store_row(direction: u32, row: u32, column: u32, sums: vec4<f32>) {
    store(direction, row, column, sums.x);
    store(direction, row, column + 64u, sums.y);
    store(direction, row, column + 128u, sums.z);
    store(direction, row, column + 192u, sums.w);
}
