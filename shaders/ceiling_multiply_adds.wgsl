// ceiling_multiply_adds.wgsl: y = a y + b over and over, in 32 chains an invocation: the most an adapter computes.

struct Chains {
    rounds: u32, // four steps of each chain a round
    a: f32,
    b: f32,
}
var<immediate> chains: Chains;

@group(0) @binding(0) var<storage, read_write> y: array<f32>; // (invocations): sum of the chains

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let a = vec4(chains.a);
    let b = vec4(chains.b);
    let start = vec4(1.0, 2.0, 3.0, 4.0) + f32(id.x % 64u);
    var y0 = start;
    var y1 = start + 10.0;
    var y2 = start + 20.0;
    var y3 = start + 30.0;
    var y4 = start + 40.0;
    var y5 = start + 50.0;
    var y6 = start + 60.0;
    var y7 = start + 70.0;
    for (var round = 0u; round < chains.rounds; round++) {
        y0 = fma(a, fma(a, fma(a, fma(a, y0, b), b), b), b);
        y1 = fma(a, fma(a, fma(a, fma(a, y1, b), b), b), b);
        y2 = fma(a, fma(a, fma(a, fma(a, y2, b), b), b), b);
        y3 = fma(a, fma(a, fma(a, fma(a, y3, b), b), b), b);
        y4 = fma(a, fma(a, fma(a, fma(a, y4, b), b), b), b);
        y5 = fma(a, fma(a, fma(a, fma(a, y5, b), b), b), b);
        y6 = fma(a, fma(a, fma(a, fma(a, y6, b), b), b), b);
        y7 = fma(a, fma(a, fma(a, fma(a, y7, b), b), b), b);
    }
    y[id.x] = dot(((y0 + y1) + (y2 + y3)) + ((y4 + y5) + (y6 + y7)), vec4(1.0));
}
