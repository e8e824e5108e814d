// loss_backward.wgsl: dlogits = scale * r.
#import index
#import loss

@group(0) @binding(0) var<storage, read> r: array<f32>; // (N, C)
@group(0) @binding(1) var<storage, read_write> dlogits: array<f32>; // (N, C)

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = flat(id);
    if i >= loss.samples * loss.classes { return; }
    dlogits[i] = loss.scale * r[i];
}
