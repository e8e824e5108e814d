// dense_tangent_backward_input.wgsl: tdx = tdz W + dz tW.
#import dense
#import outer
#import rows
#import tile
#import store_tile

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim)
@group(0) @binding(1) var<storage, read> vectors: array<f32>; // (K, pitch)
@group(0) @binding(2) var<storage, read> dzt: array<f32>; // (1 + K, O, N16): dz and then tdz, transposed, N padded
@group(0) @binding(3) var<storage, read_write> tdx: array<f32>; // (K, N, I)

fn store(direction: u32, n: u32, i: u32, sum: f32) {
    if n >= layer.samples || i >= layer.inputs { return; }
    let at = (direction * layer.samples + n) * layer.inputs + i;
    if layer.begin == 0u { tdx[at] = sum; } else { tdx[at] += sum; }
}

#rows adjoints dzt

fn w(at: u32) -> vec4<f32> {
    return vec4(theta[at], theta[at + 64u], theta[at + 128u], theta[at + 192u]);
}

fn tw(at: u32) -> vec4<f32> {
    return vec4(vectors[at], vectors[at + 64u], vectors[at + 128u], vectors[at + 192u]);
}

// Rows are samples, columns inputs.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * COLUMNS + lane;
    if past_end(column, lane, layer.inputs) { return; }
    let row = (layer.base + group.y) * ROWS;
    let direction = layer.first + group.z;
    let vector = direction * layer.pitch;
    let step = (layer.samples + ROWS - 1u) / ROWS * ROWS;
    let rows = row_offsets(lane, ROWS, 1u);
    let tangents = (1u + group.z) * layer.outputs * step;
    var sums = Tile();
    for (var o = layer.begin; o < layer.end; o++) {
        let z = o * step + row;
        let at = layer.weight + o * layer.inputs + column;
        sums = add_pair(sums, adjoints(tangents + z, rows), w(at), adjoints(z, rows), tw(vector + at));
    }
    store_tile(direction, row, column, 64u, sums);
}
