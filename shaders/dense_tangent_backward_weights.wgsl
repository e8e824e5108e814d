// dense_tangent_backward_weights.wgsl: tdW += tdz^T x + dz^T tx.
#import dense
#import outer
#import store_tile

@group(0) @binding(0) var<storage, read> x: array<f32>; // (N, I)
@group(0) @binding(1) var<storage, read> tx: array<f32>; // (K, N, I); x again in the first layer, not read
@group(0) @binding(2) var<storage, read> dz: array<f32>; // (N, O)
@group(0) @binding(3) var<storage, read> tdz: array<f32>; // (K, N, O)
@group(0) @binding(4) var<storage, read_write> products: array<f32>; // (K, pitch)

override first_layer: bool = false;

fn store(direction: u32, o: u32, i: u32, sum: f32) {
    if o >= layer.outputs || i >= layer.inputs { return; }
    products[direction * layer.pitch + layer.weight + o * layer.inputs + i] += sum;
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
        let tz = group.z * layer.samples * layer.outputs + z;
        sums = add_outer(sums, vec4(tdz[tz.x], tdz[tz.y], tdz[tz.z], tdz[tz.w]), vec4(x[i.x], x[i.y], x[i.z], x[i.w]));
        if !first_layer {
            let ti = group.z * layer.samples * layer.inputs + i;
            sums = add_outer(sums, vec4(dz[z.x], dz[z.y], dz[z.z], dz[z.w]), vec4(tx[ti.x], tx[ti.y], tx[ti.z], tx[ti.w]));
        }
    }
    store_tile(group.z, rows, columns, sums);
}
