// coupling_weights.wgsl: tdW2[o, c] += sum_j M[j, o, c] t1[c, j], in each direction.
#import index
#import coupling

@group(0) @binding(0) var<storage, read> matrix: array<f32>; // (J, OC, IC, K, K)
@group(0) @binding(1) var<storage, read> vectors: array<f32>; // (K, pitch)
@group(0) @binding(2) var<storage, read_write> products: array<f32>; // (K, pitch)

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = flat(id);
    let len = blocks.out_channels * blocks.channels * blocks.taps;
    if i >= len { return; }
    let channel = i / blocks.taps % blocks.channels;
    var sum = 0.0;
    for (var j = 0u; j < blocks.own; j++) {
        sum = fma(matrix[j * len + i], vectors[own_component(id.z, channel, j)], sum);
    }
    products[id.z * blocks.pitch + blocks.weight + i] += sum;
}
