// column_sums.wgsl: db = sum over the samples of dz, or db += it, in each direction.
#import index
#import dense

@group(0) @binding(0) var<storage, read> dz: array<f32>; // (K, N, O)
@group(0) @binding(1) var<storage, read_write> gradient: array<f32>; // (K, pitch)

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let o = flat(id);
    if o >= layer.outputs { return; }
    var sum = 0.0;
    for (var n = layer.begin; n < layer.end; n++) {
        sum += dz[(id.z * layer.samples + n) * layer.outputs + o];
    }
    let at = id.z * layer.pitch + layer.bias + o;
    if layer.accumulate == 0u { gradient[at] = sum; } else { gradient[at] += sum; }
}
