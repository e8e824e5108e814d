// dense_forward.wgsl: y = W x + b, then max(y, 0) if the layer has a ReLU.
#import dense
#import outer
#import store_tile

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim)
@group(0) @binding(1) var<storage, read> x: array<f32>; // (N, I)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (N, O)

fn store(direction: u32, n: u32, o: u32, sum: f32) {
    if n >= layer.samples || o >= layer.outputs { return; }
    let at = n * layer.outputs + o;
    var value = sum;
    if layer.begin == 0u { value += theta[layer.bias + o]; } else { value += y[at]; }
    let off = layer.end == layer.inputs && layer.relu != 0u && value < 0.0;
    y[at] = select(value, 0.0, off);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let rows = tile_rows(group, lane);
    if rows.x >= layer.samples { return; }
    let columns = tile_columns(group, lane);
    let xs = clamped(rows, layer.samples) * layer.inputs;
    let ws = layer.weight + clamped(columns, layer.outputs) * layer.inputs;
    var sums = mat4x4<f32>();
    for (var i = layer.begin; i < layer.end; i++) {
        let a = vec4(x[xs.x + i], x[xs.y + i], x[xs.z + i], x[xs.w + i]);
        let w = vec4(theta[ws.x + i], theta[ws.y + i], theta[ws.z + i], theta[ws.w + i]);
        sums = add_outer(sums, a, w);
    }
    store_tile(group.z, rows, columns, sums);
}
