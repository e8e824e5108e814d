// Hands a tile to the kernel's own `store(direction, row, column, sum)`, entry by entry.
fn store_tile(direction: u32, row: u32, column: u32, sums: Tile) {
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

fn store_row(direction: u32, row: u32, column: u32, sums: vec4<f32>) {
    store(direction, row, column, sums.x);
    store(direction, row, column + COLUMN_STEP, sums.y);
    store(direction, row, column + 2u * COLUMN_STEP, sums.z);
    store(direction, row, column + 3u * COLUMN_STEP, sums.w);
}
