// dense_tangent_sum.wgsl: ty = m (sum of the partials + tb), or m (ty + it), first slice first; m = 1[y > 0] if the layer has a ReLU.
#import index
#import dense

@group(0) @binding(0) var<storage, read> vectors: array<f32>; // (K, pitch), for the bias
@group(0) @binding(1) var<storage, read> partials: array<f32>; // (slices, K, N, O)
@group(0) @binding(2) var<storage, read> y: array<f32>; // (N, O)
@group(0) @binding(3) var<storage, read_write> ty: array<f32>; // (K, N, O)

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let len = layer.samples * layer.outputs;
    let i = flat(id);
    if i >= len { return; }
    let direction = layer.first + id.z;
    var sum = vectors[direction * layer.pitch + layer.bias + i % layer.outputs];
    for (var slice = 0u; slice < layer.slices; slice++) {
        sum += partials[(slice * layer.directions + id.z) * len + i];
    }
    if layer.accumulate != 0u { sum += ty[direction * len + i]; }
    ty[direction * len + i] = select(sum, 0.0, layer.relu != 0u && !(y[i] > 0.0));
}
