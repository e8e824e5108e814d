// pack.wgsl: packed[slot][a][tap][b] = source[a * outer_step + b * inner_step + tap], zero past the end of a or b.
#import index

// Slot 0 is taken from `one`, slot k from the (k - 1)-th of `many`. With one tap and steps 1 and I it transposes an (N, I)
// matrix; of a conv layer's weight it makes rows of consecutive channels, which a tile loads at once.
struct Pack {
    outer: u32, // length of a
    inner: u32, // length of b
    padded_outer: u32,
    padded_inner: u32,
    outer_step: u32,
    inner_step: u32,
    taps: u32,
    one_offset: u32,
    many_offset: u32,
    pitch: u32, // distance between two of `many`
}
var<immediate> pack: Pack;

@group(0) @binding(0) var<storage, read> one: array<f32>;
@group(0) @binding(1) var<storage, read> many: array<f32>; // (K, pitch)
@group(0) @binding(2) var<storage, read_write> packed: array<f32>; // (1 + K, padded_outer, taps, padded_inner)

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let len = pack.padded_outer * pack.taps * pack.padded_inner;
    let item = flat(id);
    if item >= len { return; }
    let b = item % pack.padded_inner;
    let tap = item / pack.padded_inner % pack.taps;
    let a = item / (pack.padded_inner * pack.taps);
    var value = 0.0;
    if a < pack.outer && b < pack.inner {
        let source = a * pack.outer_step + b * pack.inner_step + tap;
        if id.z == 0u {
            value = one[pack.one_offset + source];
        } else {
            value = many[pack.many_offset + (id.z - 1u) * pack.pitch + source];
        }
    }
    packed[id.z * len + item] = value;
}
