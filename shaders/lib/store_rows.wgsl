// Hands a tile to `store_row(direction, row, column, sums)`, row by row. It is the kernel's own where a row's four columns are
// the positions of a window, and store_columns.wgsl's elsewhere.
fn store_rows(direction: u32, row: u32, column: u32, sums: Tile) {
    store_four(direction, row, column, sums.a);
    store_four(direction, row + 4u, column, sums.b);
    store_four(direction, row + 8u, column, sums.c);
    store_four(direction, row + 12u, column, sums.d);
}

fn store_four(direction: u32, row: u32, column: u32, sums: mat4x4<f32>) {
    store_row(direction, row, column, sums[0]);
    store_row(direction, row + 1u, column, sums[1]);
    store_row(direction, row + 2u, column, sums[2]);
    store_row(direction, row + 3u, column, sums[3]);
}
