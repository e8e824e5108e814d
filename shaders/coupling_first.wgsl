// coupling_first.wgsl: td1[c, j] += sum over o and the taps of M[j, o, c] tW2[o, c], in each direction.
#import index
#import coupling

@group(0) @binding(0) var<storage, read> matrix: array<f32>; // (J, OC, IC, K, K)
@group(0) @binding(1) var<storage, read> vectors: array<f32>; // (K, pitch)
@group(0) @binding(2) var<storage, read_write> products: array<f32>; // (K, pitch)

var<workgroup> sums: array<f32, 64>;

// A workgroup for each component of the first block's channel.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let item = flat(group * vec3(64u, 1u, 1u)) / 64u;
    if item >= blocks.own * blocks.channels { return; }
    let channel = item / blocks.own;
    let j = item % blocks.own;
    let filter_len = blocks.channels * blocks.taps;
    let part = j * blocks.out_channels * filter_len;
    let weights = group.z * blocks.pitch + blocks.weight;
    var sum = 0.0;
    for (var term = lane; term < blocks.out_channels * blocks.taps; term += 64u) {
        let at = term / blocks.taps * filter_len + channel * blocks.taps + term % blocks.taps;
        sum = fma(matrix[part + at], vectors[weights + at], sum);
    }
    sums[lane] = sum;
    workgroupBarrier();
    if lane > 0u { return; }
    var total = 0.0;
    for (var i = 0u; i < 64u; i++) {
        total += sums[i];
    }
    products[own_component(group.z, channel, j)] += total;
}
