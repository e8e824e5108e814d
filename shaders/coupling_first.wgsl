// coupling_first.wgsl: td1[c, j] += sum over o and the taps of M[j, o, c] tW2[o, c], in each direction.
#import index
#import coupling

@group(0) @binding(0) var<storage, read> matrix: array<f32>; // (J, OC, IC, K, K)
@group(0) @binding(1) var<storage, read> vectors: array<f32>; // (K, pitch)
@group(0) @binding(2) var<storage, read_write> products: array<f32>; // (K, pitch)

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let item = flat(id);
    if item >= blocks.own * blocks.channels { return; }
    let channel = item / blocks.own;
    let j = item % blocks.own;
    let filter_len = blocks.channels * blocks.taps;
    let part = j * blocks.out_channels * filter_len;
    let weights = id.z * blocks.pitch + blocks.weight;
    var sum = 0.0;
    for (var oc = 0u; oc < blocks.out_channels; oc++) {
        let at = oc * filter_len + channel * blocks.taps;
        var of_filter = 0.0;
        for (var tap = 0u; tap < blocks.taps; tap++) {
            of_filter = fma(matrix[part + at + tap], vectors[weights + at + tap], of_filter);
        }
        sum += of_filter;
    }
    products[own_component(id.z, channel, j)] += sum;
}
