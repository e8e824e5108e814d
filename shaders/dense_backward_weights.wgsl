// dense_backward_weights.wgsl: dW += dz^T x.
#import dense
#import outer
#import store_tile

@group(0) @binding(0) var<storage, read> x: array<f32>; // (N, I)
@group(0) @binding(1) var<storage, read> dz: array<f32>; // (N, O)
@group(0) @binding(2) var<storage, read_write> gradient: array<f32>; // (dim)

fn store(direction: u32, o: u32, i: u32, sum: f32) {
    if o >= layer.outputs || i >= layer.inputs { return; }
    gradient[layer.weight + o * layer.inputs + i] += sum;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let rows = tile_rows(group, lane);
    if rows.x >= layer.outputs { return; }
    let columns = tile_columns(group, lane);
    let zs = clamped(rows, layer.outputs);
    let xs = clamped(columns, layer.inputs);
    var sums = mat4x4<f32>();
    for (var n = layer.begin; n < layer.end; n++) {
        let z = n * layer.outputs + zs;
        let i = n * layer.inputs + xs;
        sums = add_outer(sums, vec4(dz[z.x], dz[z.y], dz[z.z], dz[z.w]), vec4(x[i.x], x[i.y], x[i.z], x[i.w]));
    }
    store_tile(group.z, rows, columns, sums);
}
