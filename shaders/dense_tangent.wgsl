// dense_tangent.wgsl: ty = m (W tx + tW x + tb), with the mask m = 1[y > 0] if the layer has a ReLU.
#import dense
#import outer
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

fn w4(at: u32) -> vec4<f32> {
    return vec4(theta[at], theta[at + 1u], theta[at + 2u], theta[at + 3u]);
}

fn tw4(at: u32) -> vec4<f32> {
    return vec4(vectors[at], vectors[at + 1u], vectors[at + 2u], vectors[at + 3u]);
}

fn columns(at: u32) -> vec4<f32> {
    return vec4(xt[at], xt[at + 64u], xt[at + 128u], xt[at + 192u]);
}

// Rows are outputs, columns samples; four steps of the sum at a time, so that a row's weights are loaded four at a time.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * COLUMNS + lane;
    if column >= layer.samples { return; }
    let row = (layer.base + group.y) * ROWS;
    let direction = layer.first + group.z;
    let rows = layer.weight + layer.inputs * min(row + vec4(0u, 1u, 2u, 3u), vec4(layer.outputs - 1u));
    let more = layer.weight + layer.inputs * min(row + vec4(4u, 5u, 6u, 7u), vec4(layer.outputs - 1u));
    let vector = direction * layer.pitch;
    let tangents = (1u + group.z) * ((layer.inputs + 3u) / 4u * 4u) * layer.samples;
    var sums = Tile();
    for (var i = layer.begin; i < layer.end; i += 4u) {
        let at = i * layer.samples + column;
        let u = vector + rows + i;
        let l = vector + more + i;
        let upper = transpose(mat4x4<f32>(tw4(u.x), tw4(u.y), tw4(u.z), tw4(u.w)));
        let lower = transpose(mat4x4<f32>(tw4(l.x), tw4(l.y), tw4(l.z), tw4(l.w)));
        sums = add_tile(sums, upper[0], lower[0], columns(at));
        sums = add_tile(sums, upper[1], lower[1], columns(at + layer.samples));
        sums = add_tile(sums, upper[2], lower[2], columns(at + 2u * layer.samples));
        sums = add_tile(sums, upper[3], lower[3], columns(at + 3u * layer.samples));
        if !first_layer {
            let t = tangents + at;
            let u = rows + i;
            let l = more + i;
            let upper = transpose(mat4x4<f32>(w4(u.x), w4(u.y), w4(u.z), w4(u.w)));
            let lower = transpose(mat4x4<f32>(w4(l.x), w4(l.y), w4(l.z), w4(l.w)));
            sums = add_tile(sums, upper[0], lower[0], columns(t));
            sums = add_tile(sums, upper[1], lower[1], columns(t + layer.samples));
            sums = add_tile(sums, upper[2], lower[2], columns(t + 2u * layer.samples));
            sums = add_tile(sums, upper[3], lower[3], columns(t + 3u * layer.samples));
        }
    }
    store_tile(direction, row, column, sums);
}
