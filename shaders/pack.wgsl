// pack.wgsl: packed[slot][a][tap][b] = source[a * outer_step + b * inner_step + tap], zero past the end of a, b or the taps.
#import index

// Slot 0 is taken from `one`, slot k from the (k - 1)-th of `many`. With one tap and steps 1 and I it transposes an (N, I)
// matrix; of a conv layer's weight it makes rows of consecutive channels, which a tile loads at once. In quads, four a's or taps
// lie side by side: packed[slot][a][tap][b][c] of 4 a + c, or of 4 tap + c.
struct Pack {
    outer: u32, // length of a
    inner: u32, // length of b
    padded_outer: u32,
    padded_inner: u32,
    outer_step: u32,
    inner_step: u32,
    taps: u32,
    packed_taps: u32,
    outer_each: u32, // one, or four in quads of a
    tap_each: u32,   // one, or four in quads of taps
    one_offset: u32,
    many_offset: u32,
    pitch: u32, // distance between two of `many`
}
var<immediate> pack: Pack;

@group(0) @binding(0) var<storage, read> one: array<f32>;
@group(0) @binding(1) var<storage, read> many: array<f32>; // (K, pitch)
@group(0) @binding(2) var<storage, read_write> packed: array<f32>; // (1 + K, padded_outer, packed_taps, padded_inner)

fn value(slot: u32, a: u32, b: u32, tap: u32) -> f32 {
    if a >= pack.outer || b >= pack.inner || tap >= pack.taps { return 0.0; }
    let source = a * pack.outer_step + b * pack.inner_step + tap;
    if slot == 0u { return one[pack.one_offset + source]; }
    return many[pack.many_offset + (slot - 1u) * pack.pitch + source];
}

// One invocation: four consecutive pairs (a, tap) of one b. They lie side by side in the source, whose cache lines are then
// fetched once, and neighbours write neighbours.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let rows = pack.padded_outer * pack.packed_taps;
    let each = pack.outer_each * pack.tap_each;
    let item = flat(id);
    let first = item / pack.padded_inner * 4u;
    let column = item % pack.padded_inner;
    let b = column / each;
    let c = column % each;
    var a = first / pack.packed_taps;
    var tap = first % pack.packed_taps;
    for (var row = first; row < min(first + 4u, rows); row++) {
        packed[(id.z * rows + row) * pack.padded_inner + column] =
            value(id.z, a * pack.outer_each + c % pack.outer_each, b, tap * pack.tap_each + c % pack.tap_each);
        tap++;
        if tap == pack.packed_taps {
            tap = 0u;
            a++;
        }
    }
}
