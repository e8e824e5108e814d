// dense_tangent_backward_input.wgsl: tdx = tdz W + dz tW.
#import dense
#import outer
#import store_tile

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim)
@group(0) @binding(1) var<storage, read> vectors: array<f32>; // (K, pitch)
@group(0) @binding(2) var<storage, read> dz: array<f32>; // (N, O)
@group(0) @binding(3) var<storage, read> tdz: array<f32>; // (K, N, O)
@group(0) @binding(4) var<storage, read_write> tdx: array<f32>; // (K, N, I)

fn store(direction: u32, n: u32, i: u32, sum: f32) {
    if n >= layer.samples || i >= layer.inputs { return; }
    let at = (direction * layer.samples + n) * layer.inputs + i;
    if layer.begin == 0u { tdx[at] = sum; } else { tdx[at] += sum; }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let rows = tile_rows(group, lane);
    if rows.x >= layer.samples { return; }
    let columns = tile_columns(group, lane);
    let zs = clamped(rows, layer.samples) * layer.outputs;
    let tzs = group.z * layer.samples * layer.outputs + zs;
    let cs = layer.weight + clamped(columns, layer.inputs);
    let vector = group.z * layer.pitch;
    var sums = mat4x4<f32>();
    for (var o = layer.begin; o < layer.end; o++) {
        let ws = cs + o * layer.inputs;
        let tws = vector + ws;
        let d = vec4(dz[zs.x + o], dz[zs.y + o], dz[zs.z + o], dz[zs.w + o]);
        let td = vec4(tdz[tzs.x + o], tdz[tzs.y + o], tdz[tzs.z + o], tdz[tzs.w + o]);
        let w = vec4(theta[ws.x], theta[ws.y], theta[ws.z], theta[ws.w]);
        let tw = vec4(vectors[tws.x], vectors[tws.y], vectors[tws.z], vectors[tws.w]);
        sums = add_outer(add_outer(sums, td, w), d, tw);
    }
    store_tile(group.z, rows, columns, sums);
}
