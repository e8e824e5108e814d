// dense_tangent.wgsl: partials of W tx + tW x, one per slice of the inputs.
#import dense
#import outer
#import rows
#import tile
#import store_rows
#import store_columns

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim)
@group(0) @binding(1) var<storage, read> vectors: array<f32>; // (K, pitch)
@group(0) @binding(2) var<storage, read> xt: array<f32>; // (1 + K, I4, N): x and then tx (not in the first layer), transposed
@group(0) @binding(3) var<storage, read_write> partials: array<f32>; // (slices, K, N, O)

override one_product: bool = false;

// `direction` is the pair of slice and direction here.
fn store(direction: u32, o: u32, n: u32, sum: f32) {
    if o >= layer.outputs || n >= layer.samples { return; }
    partials[(direction * layer.samples + n) * layer.outputs + o] = sum;
}

#row_quads weights theta
#row_quads tangent_weights vectors
#columns columns xt

fn four_columns(at: u32) -> mat4x4<f32> {
    let n = layer.samples;
    return mat4x4<f32>(columns(at), columns(at + n), columns(at + 2u * n), columns(at + 3u * n));
}

// Rows are outputs, columns samples; four steps of the sum at a time, so that a row's weights are loaded four at a time.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = first_column(group.x, lane);
    if past_end(column, lane, layer.samples) { return; }
    let row = (layer.base + group.y) * ROWS;
    let direction = group.z % layer.directions;
    let begin = group.z / layer.directions * layer.slice;
    let end = min(begin + layer.slice, layer.inputs);
    let weight = layer.weight + row * layer.inputs;
    let vector = (layer.first + direction) * layer.pitch + weight;
    let rows = row_offsets(lane, layer.outputs - row, layer.inputs);
    let tangents = (1u + direction) * ((layer.inputs + 3u) / 4u * 4u) * layer.samples;
    var sums = Tile();
    for (var i = begin; i < end; i += 4u) {
        let at = i * layer.samples + column;
        sums = add_quads(sums, tangent_weights(vector + i, rows), four_columns(at));
    }
    // The second product in a loop of its own: with both in one, AMD's scalar registers do not suffice.
    for (var i = begin; !one_product && i < end; i += 4u) {
        let at = tangents + i * layer.samples + column;
        sums = add_quads(sums, weights(weight + i, rows), four_columns(at));
    }
    store_rows(group.z, row, column, sums);
}
