// relu_mask.wgsl: dz = m dy in place, with the mask m = 1[y > 0], in each direction.
#import index
#import dense

@group(0) @binding(0) var<storage, read> y: array<f32>; // (N, O)
@group(0) @binding(1) var<storage, read_write> dy: array<f32>; // (K, N, O)

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = flat(id);
    let len = layer.samples * layer.outputs;
    if i >= len { return; }
    if !(y[i] > 0.0) { dy[id.z * len + i] = 0.0; }
}
