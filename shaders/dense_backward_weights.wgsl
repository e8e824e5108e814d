// dense_backward_weights.wgsl: dW = dz^T x, or dW += dz^T x.
#import dense
#import outer
#import rows
#import tile
#import store_rows
#import store_columns

@group(0) @binding(0) var<storage, read> x: array<f32>; // (N, I)
@group(0) @binding(1) var<storage, read> dz: array<f32>; // (N, O)
@group(0) @binding(2) var<storage, read_write> gradient: array<f32>; // (dim)

fn store(direction: u32, o: u32, i: u32, sum: f32) {
    if o >= layer.outputs || i >= layer.inputs { return; }
    let at = layer.weight + o * layer.inputs + i;
    if layer.accumulate == 0u { gradient[at] = sum; } else { gradient[at] += sum; }
}

#rows adjoints dz
#columns columns x

// Rows are outputs, columns inputs.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = first_column(group.x, lane);
    if past_end(column, lane, layer.inputs) { return; }
    let row = (layer.base + group.y) * ROWS;
    let rows = row_offsets(lane, ROWS, 1u);
    var sums = Tile();
    for (var n = layer.begin; n < layer.end; n++) {
        let z = n * layer.outputs + row;
        sums = add_tile(sums, adjoints(z, rows), columns(n * layer.inputs + column));
    }
    store_rows(0u, row, column, sums);
}
