// dense_tangent_backward_input.wgsl: tdx = tdz W + dz tW.
#import dense
#import outer
#import rows
#import tile
#import store_rows
#import store_columns

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim)
@group(0) @binding(1) var<storage, read> vectors: array<f32>; // (K, pitch)
@group(0) @binding(2) var<storage, read> dzt: array<f32>; // (1 + K, O, N16): dz and then tdz, transposed, N padded
@group(0) @binding(3) var<storage, read_write> tdx: array<f32>; // (K, N, I)

fn store(direction: u32, n: u32, i: u32, sum: f32) {
    if n >= layer.samples || i >= layer.inputs { return; }
    let at = (direction * layer.samples + n) * layer.inputs + i;
    if layer.accumulate == 0u { tdx[at] = sum; } else { tdx[at] += sum; }
}

#rows adjoints dzt
#columns w theta
#columns tw vectors

// Rows are samples, columns inputs; two outputs at a time.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = first_column(group.x, lane);
    if past_end(column, lane, layer.inputs) { return; }
    let row = (layer.base + group.y) * ROWS;
    let direction = layer.first + group.z;
    let vector = direction * layer.pitch;
    let step = (layer.samples + ROWS - 1u) / ROWS * ROWS;
    let rows = row_offsets(lane, ROWS, 1u);
    let tangents = (1u + group.z) * layer.outputs * step;
    var sums = Tile();
    var z = layer.begin * step + row;
    var at = layer.weight + layer.begin * layer.inputs + column;
    var o = layer.begin;
    for (; o + 1u < layer.end; o += 2u) {
        let next = at + layer.inputs;
        let tz = tangents + z;
        let quads = Quads(adjoints(tz, rows), adjoints(z, rows), adjoints(tz + step, rows), adjoints(z + step, rows));
        sums = add_quads(sums, quads, mat4x4<f32>(w(at), tw(vector + at), w(next), tw(vector + next)));
        z += 2u * step;
        at += 2u * layer.inputs;
    }
    if o < layer.end {
        sums = add_pair(sums, adjoints(tangents + z, rows), w(at), adjoints(z, rows), tw(vector + at));
    }
    store_rows(direction, row, column, sums);
}
