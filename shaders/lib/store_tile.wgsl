// Hands a tile, whose columns are `step` apart, to the kernel's own `store(direction, row, column, sum)`, entry by entry.
fn store_tile(direction: u32, row: u32, column: u32, step: u32, sums: Tile) {
    store_four(direction, row, column, step, sums.a);
    store_four(direction, row + 4u, column, step, sums.b);
    store_four(direction, row + 8u, column, step, sums.c);
    store_four(direction, row + 12u, column, step, sums.d);
}

fn store_four(direction: u32, row: u32, column: u32, step: u32, sums: mat4x4<f32>) {
    store_row(direction, row, column, step, sums[0]);
    store_row(direction, row + 1u, column, step, sums[1]);
    store_row(direction, row + 2u, column, step, sums[2]);
    store_row(direction, row + 3u, column, step, sums[3]);
}

fn store_row(direction: u32, row: u32, column: u32, step: u32, sums: vec4<f32>) {
    store(direction, row, column, sums.x);
    store(direction, row, column + step, sums.y);
    store(direction, row, column + 2u * step, sums.z);
    store(direction, row, column + 3u * step, sums.w);
}
