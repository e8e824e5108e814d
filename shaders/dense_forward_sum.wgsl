// dense_forward_sum.wgsl: y = sum of the partials + b, first slice first, then max(y, 0) if the layer has a ReLU.
#import index
#import dense

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim), for the bias
@group(0) @binding(1) var<storage, read> partials: array<f32>; // (slices, N, O)
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // (N, O)

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let len = layer.samples * layer.outputs;
    let i = flat(id);
    if i >= len { return; }
    var sum = theta[layer.bias + i % layer.outputs];
    for (var slice = 0u; slice < layer.slices; slice++) {
        sum += partials[slice * len + i];
    }
    y[i] = select(sum, 0.0, layer.relu != 0u && sum < 0.0);
}
