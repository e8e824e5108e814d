// Hands a row of a tile to the kernel's own `store(direction, row, column, sum)`, column by column.
fn store_row(direction: u32, row: u32, column: u32, sums: vec4<f32>) {
    store(direction, row, column, sums.x);
    store(direction, row, column + COLUMN_STEP, sums.y);
    store(direction, row, column + 2u * COLUMN_STEP, sums.z);
    store(direction, row, column + 3u * COLUMN_STEP, sums.w);
}
