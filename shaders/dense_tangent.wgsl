// dense_tangent.wgsl: ty = m (W tx + tW x + tb), with the mask m = 1[y > 0] if the layer has a ReLU.
#import dense
#import outer
#import rows
#import tile
#import store_tile

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim)
@group(0) @binding(1) var<storage, read> vectors: array<f32>; // (K, pitch)
@group(0) @binding(2) var<storage, read> xt: array<f32>; // (1 + K, I4, N): x and then tx (not in the first layer), transposed
@group(0) @binding(3) var<storage, read> y: array<f32>; // (N, O)
@group(0) @binding(4) var<storage, read_write> ty: array<f32>; // (K, N, O)

override first_layer: bool = false;

fn store(direction: u32, o: u32, n: u32, sum: f32) {
    if o >= layer.outputs || n >= layer.samples { return; }
    let primal = n * layer.outputs + o;
    let at = direction * layer.samples * layer.outputs + primal;
    var value = sum;
    if layer.begin == 0u { value += vectors[direction * layer.pitch + layer.bias + o]; } else { value += ty[at]; }
    let off = layer.relu != 0u && !(y[primal] > 0.0);
    ty[at] = select(value, 0.0, off);
}

#row_quads weights theta
#row_quads tangent_weights vectors

fn columns(at: u32) -> vec4<f32> {
    return vec4(xt[at], xt[at + 64u], xt[at + 128u], xt[at + 192u]);
}

// Rows are outputs, columns samples; four steps of the sum at a time, so that a row's weights are loaded four at a time.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * COLUMNS + lane;
    if past_end(column, lane, layer.samples) { return; }
    let row = (layer.base + group.y) * ROWS;
    let direction = layer.first + group.z;
    let weight = layer.weight + row * layer.inputs;
    let vector = direction * layer.pitch + weight;
    let rows = row_offsets(lane, layer.outputs - row, layer.inputs);
    let tangents = (1u + group.z) * ((layer.inputs + 3u) / 4u * 4u) * layer.samples;
    var sums = Tile();
    for (var i = layer.begin; i < layer.end; i += 4u) {
        let at = i * layer.samples + column;
        let w = tangent_weights(vector + i, rows);
        sums = add_tile(sums, w.x, columns(at));
        sums = add_tile(sums, w.y, columns(at + layer.samples));
        sums = add_tile(sums, w.z, columns(at + 2u * layer.samples));
        sums = add_tile(sums, w.w, columns(at + 3u * layer.samples));
    }
    // The second product in a loop of its own: with both in one, AMD's scalar registers do not suffice.
    for (var i = layer.begin; !first_layer && i < layer.end; i += 4u) {
        let at = tangents + i * layer.samples + column;
        let w = weights(weight + i, rows);
        sums = add_tile(sums, w.x, columns(at));
        sums = add_tile(sums, w.y, columns(at + layer.samples));
        sums = add_tile(sums, w.z, columns(at + 2u * layer.samples));
        sums = add_tile(sums, w.w, columns(at + 3u * layer.samples));
    }
    store_tile(direction, row, column, sums);
}
