// What belongs to a tile's eight rows is the same for all lanes. `#rows NAME BINDING` makes
//     fn NAME(at: u32, rows: Offsets) -> Rows
// which loads it, `#row_quads NAME BINDING` the same for four consecutive steps of the sum (Quads), and `#row_codes NAME
// BINDING` for integers (Codes). Here every lane loads all of it: GPUs do that once for a subgroup, into scalar registers or
// by a broadcast.
struct Rows {
    upper: vec4<f32>,
    lower: vec4<f32>,
}

struct Quads {
    upper: mat4x4<f32>, // [step][row]
    lower: mat4x4<f32>,
}

struct Codes {
    upper: vec4<u32>,
    lower: vec4<u32>,
}

struct Offsets {
    upper: vec4<u32>,
    lower: vec4<u32>,
}

// Offsets of the rows, `step` apart; past the `count`-th the last one again.
fn row_offsets(lane: u32, count: u32, step: u32) -> Offsets {
    let last = vec4(count - 1u);
    return Offsets(min(vec4(0u, 1u, 2u, 3u), last) * step, min(vec4(4u, 5u, 6u, 7u), last) * step);
}
