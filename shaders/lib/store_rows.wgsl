// Hands a tile to the kernel's own `store(direction, row, item, sums)`, row by row; the columns are a window's positions.
fn store_rows(direction: u32, row: u32, item: u32, sums: Tile) {
    store_four(direction, row, item, sums.a);
    store_four(direction, row + 4u, item, sums.b);
    store_four(direction, row + 8u, item, sums.c);
    store_four(direction, row + 12u, item, sums.d);
}

fn store_four(direction: u32, row: u32, item: u32, sums: mat4x4<f32>) {
    store(direction, row, item, sums[0]);
    store(direction, row + 1u, item, sums[1]);
    store(direction, row + 2u, item, sums[2]);
    store(direction, row + 3u, item, sums[3]);
}
