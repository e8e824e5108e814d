// dense_backward_input.wgsl: dx = dz W.
#import dense
#import outer
#import rows
#import tile
#import store_rows
#import store_columns

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim)
@group(0) @binding(1) var<storage, read> dzt: array<f32>; // (O, N16): dz transposed, N padded to a multiple of 16
@group(0) @binding(2) var<storage, read_write> dx: array<f32>; // (N, I)

fn store(direction: u32, n: u32, i: u32, sum: f32) {
    if n >= layer.samples || i >= layer.inputs { return; }
    let at = n * layer.inputs + i;
    if layer.accumulate == 0u { dx[at] = sum; } else { dx[at] += sum; }
}

#rows adjoints dzt
#columns columns theta

// Rows are samples, columns inputs.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = first_column(group.x, lane);
    if past_end(column, lane, layer.inputs) { return; }
    let row = (layer.base + group.y) * ROWS;
    let step = (layer.samples + ROWS - 1u) / ROWS * ROWS;
    let rows = row_offsets(lane, ROWS, 1u);
    var sums = Tile();
    for (var o = layer.begin; o < layer.end; o++) {
        sums = add_tile(sums, adjoints(o * step + row, rows), columns(layer.weight + o * layer.inputs + column));
    }
    store_rows(0u, row, column, sums);
}
