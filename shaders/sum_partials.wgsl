// sum_partials.wgsl: out[k * pitch + offset + i] = sum over the slices of partials[slice, k, i], first slice first, or += or -= it.
#import index

struct Sum {
    slices: u32,
    directions: u32,
    len: u32,
    offset: u32,
    pitch: u32,
    store: u32, // 0: replaces what is stored, 1: is added to it, 2: subtracted from it
}
var<immediate> sum: Sum;

@group(0) @binding(0) var<storage, read> partials: array<f32>; // (slices, K, len)
@group(0) @binding(1) var<storage, read_write> out: array<f32>; // (K, pitch)

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = flat(id);
    if i >= sum.len { return; }
    var total = 0.0;
    for (var slice = 0u; slice < sum.slices; slice++) {
        total += partials[(slice * sum.directions + id.z) * sum.len + i];
    }
    let at = id.z * sum.pitch + sum.offset + i;
    switch sum.store {
        case 0u: { out[at] = total; }
        case 1u: { out[at] += total; }
        default: { out[at] -= total; }
    }
}
