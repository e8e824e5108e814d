// dense_forward.wgsl: partials of W x, one per slice of the inputs.
#import dense
#import outer
#import rows
#import tile
#import store_rows
#import store_columns

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim)
@group(0) @binding(1) var<storage, read> xt: array<f32>; // (I4, N): x transposed, I padded with zeros to a multiple of 4
@group(0) @binding(2) var<storage, read_write> partials: array<f32>; // (slices, N, O)

// `direction` is the slice here.
fn store(direction: u32, o: u32, n: u32, sum: f32) {
    if o >= layer.outputs || n >= layer.samples { return; }
    partials[(direction * layer.samples + n) * layer.outputs + o] = sum;
}

#row_quads weights theta
#columns columns xt

fn four_columns(at: u32) -> mat4x4<f32> {
    let n = layer.samples;
    return mat4x4<f32>(columns(at), columns(at + n), columns(at + 2u * n), columns(at + 3u * n));
}

// Rows are outputs, columns samples; four steps of the sum at a time.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = first_column(group.x, lane);
    if past_end(column, lane, layer.samples) { return; }
    let row = (layer.base + group.y) * ROWS;
    let weight = layer.weight + row * layer.inputs;
    let rows = row_offsets(lane, layer.outputs - row, layer.inputs);
    var sums = Tile();
    let end = min((group.z + 1u) * layer.slice, layer.inputs);
    for (var i = group.z * layer.slice; i < end; i += 4u) {
        let at = i * layer.samples + column;
        sums = add_quads(sums, weights(weight + i, rows), four_columns(at));
    }
    store_rows(group.z, row, column, sums);
}
