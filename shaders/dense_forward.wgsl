// dense_forward.wgsl: y = W x + b, then max(y, 0) if the layer has a ReLU.
#import dense
#import outer
#import tile
#import store_tile

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim)
@group(0) @binding(1) var<storage, read> xt: array<f32>; // (I4, N): x transposed, I padded with zeros to a multiple of 4
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (N, O)

fn store(direction: u32, o: u32, n: u32, sum: f32) {
    if o >= layer.outputs || n >= layer.samples { return; }
    let at = n * layer.outputs + o;
    var value = sum;
    if layer.begin == 0u { value += theta[layer.bias + o]; } else { value += y[at]; }
    let off = layer.end >= layer.inputs && layer.relu != 0u && value < 0.0;
    y[at] = select(value, 0.0, off);
}

fn w4(at: u32) -> vec4<f32> {
    return vec4(theta[at], theta[at + 1u], theta[at + 2u], theta[at + 3u]);
}

// Rows are outputs, columns samples; four steps of the sum at a time.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * COLUMNS + lane;
    if column >= layer.samples { return; }
    let row = (layer.base + group.y) * ROWS;
    let rows = min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(layer.outputs - 1u));
    let more = min(vec4(row) + vec4(4u, 5u, 6u, 7u), vec4(layer.outputs - 1u));
    var sums = Tile();
    for (var i = layer.begin; i < layer.end; i += 4u) {
        let u = layer.weight + rows * layer.inputs + i;
        let l = layer.weight + more * layer.inputs + i;
        let upper = transpose(mat4x4<f32>(w4(u.x), w4(u.y), w4(u.z), w4(u.w)));
        let lower = transpose(mat4x4<f32>(w4(l.x), w4(l.y), w4(l.z), w4(l.w)));
        var at = i * layer.samples + column;
        sums = add_tile(sums, upper[0], lower[0], vec4(xt[at], xt[at + 64u], xt[at + 128u], xt[at + 192u]));
        at += layer.samples;
        sums = add_tile(sums, upper[1], lower[1], vec4(xt[at], xt[at + 64u], xt[at + 128u], xt[at + 192u]));
        at += layer.samples;
        sums = add_tile(sums, upper[2], lower[2], vec4(xt[at], xt[at + 64u], xt[at + 128u], xt[at + 192u]));
        at += layer.samples;
        sums = add_tile(sums, upper[3], lower[3], vec4(xt[at], xt[at + 64u], xt[at + 128u], xt[at + 192u]));
    }
    store_tile(0u, row, column, sums);
}
