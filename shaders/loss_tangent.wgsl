// loss_tangent.wgsl: tlosses = sum_c r tlogits, the derivative of each sample's loss along each direction.
#import index
#import loss

@group(0) @binding(0) var<storage, read> r: array<f32>; // (N, C)
@group(0) @binding(1) var<storage, read> tlogits: array<f32>; // (K, N, C)
@group(0) @binding(2) var<storage, read_write> tlosses: array<f32>; // (K, N)

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let n = flat(id);
    if n >= loss.samples { return; }
    let first = n * loss.classes;
    let tangents = (id.z * loss.samples + n) * loss.classes;
    var sum = 0.0;
    for (var j = 0u; j < loss.classes; j++) {
        sum = fma(r[first + j], tlogits[tangents + j], sum);
    }
    tlosses[id.z * loss.samples + n] = sum;
}
