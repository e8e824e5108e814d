// dense_backward_input.wgsl: dx = dz W.
#import dense
#import outer
#import store_tile

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim)
@group(0) @binding(1) var<storage, read> dz: array<f32>; // (N, O)
@group(0) @binding(2) var<storage, read_write> dx: array<f32>; // (N, I)

fn store(direction: u32, n: u32, i: u32, sum: f32) {
    if n >= layer.samples || i >= layer.inputs { return; }
    let at = n * layer.inputs + i;
    if layer.begin == 0u { dx[at] = sum; } else { dx[at] += sum; }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let rows = tile_rows(group, lane);
    if rows.x >= layer.samples { return; }
    let columns = tile_columns(group, lane);
    let zs = clamped(rows, layer.samples) * layer.outputs;
    let cs = layer.weight + clamped(columns, layer.inputs);
    var sums = mat4x4<f32>();
    for (var o = layer.begin; o < layer.end; o++) {
        let ws = cs + o * layer.inputs;
        let d = vec4(dz[zs.x + o], dz[zs.y + o], dz[zs.z + o], dz[zs.w + o]);
        let w = vec4(theta[ws.x], theta[ws.y], theta[ws.z], theta[ws.w]);
        sums = add_outer(sums, d, w);
    }
    store_tile(group.z, rows, columns, sums);
}
