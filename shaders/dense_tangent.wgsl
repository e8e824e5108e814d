// dense_tangent.wgsl: ty = m (W tx + tW x + tb), with the mask m = 1[y > 0] if the layer has a ReLU.
#import dense
#import outer
#import store_tile

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim)
@group(0) @binding(1) var<storage, read> vectors: array<f32>; // (K, pitch)
@group(0) @binding(2) var<storage, read> x: array<f32>; // (N, I)
@group(0) @binding(3) var<storage, read> tx: array<f32>; // (K, N, I); x again in the first layer, not read
@group(0) @binding(4) var<storage, read> y: array<f32>; // (N, O)
@group(0) @binding(5) var<storage, read_write> ty: array<f32>; // (K, N, O)

override first_layer: bool = false;

fn store(direction: u32, n: u32, o: u32, sum: f32) {
    if n >= layer.samples || o >= layer.outputs { return; }
    let primal = n * layer.outputs + o;
    let at = direction * layer.samples * layer.outputs + primal;
    var value = sum;
    if layer.begin == 0u { value += vectors[direction * layer.pitch + layer.bias + o]; } else { value += ty[at]; }
    let off = layer.relu != 0u && !(y[primal] > 0.0);
    ty[at] = select(value, 0.0, off);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let rows = tile_rows(group, lane);
    if rows.x >= layer.samples { return; }
    let columns = tile_columns(group, lane);
    let xs = clamped(rows, layer.samples) * layer.inputs;
    let txs = group.z * layer.samples * layer.inputs + xs;
    let ws = layer.weight + clamped(columns, layer.outputs) * layer.inputs;
    let tws = group.z * layer.pitch + ws;
    var sums = mat4x4<f32>();
    for (var i = layer.begin; i < layer.end; i++) {
        let a = vec4(x[xs.x + i], x[xs.y + i], x[xs.z + i], x[xs.w + i]);
        let tw = vec4(vectors[tws.x + i], vectors[tws.y + i], vectors[tws.z + i], vectors[tws.w + i]);
        sums = add_outer(sums, a, tw);
        if !first_layer {
            let ta = vec4(tx[txs.x + i], tx[txs.y + i], tx[txs.z + i], tx[txs.w + i]);
            let w = vec4(theta[ws.x + i], theta[ws.y + i], theta[ws.z + i], theta[ws.w + i]);
            sums = add_outer(sums, ta, w);
        }
    }
    store_tile(group.z, rows, columns, sums);
}
