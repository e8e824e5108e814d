// Hands a tile to the kernel's own `store(direction, row, column, sum)`, entry by entry.
fn store_tile(direction: u32, rows: vec4<u32>, columns: vec4<u32>, sums: mat4x4<f32>) {
    store_row(direction, rows.x, columns, sums[0]);
    store_row(direction, rows.y, columns, sums[1]);
    store_row(direction, rows.z, columns, sums[2]);
    store_row(direction, rows.w, columns, sums[3]);
}

fn store_row(direction: u32, row: u32, columns: vec4<u32>, sums: vec4<f32>) {
    store(direction, row, columns.x, sums.x);
    store(direction, row, columns.y, sums.y);
    store(direction, row, columns.z, sums.z);
    store(direction, row, columns.w, sums.w);
}
