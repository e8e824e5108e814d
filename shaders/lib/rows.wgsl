// What belongs to a tile's sixteen rows is the same for all lanes. `#rows NAME BINDING` makes
//     fn NAME(at: u32, rows: Offsets) -> Rows
// which loads it, and `#row_quads NAME BINDING` the same for four consecutive steps of the sum (Quads). Here every lane
// loads all of it: GPUs do that once for a subgroup, into scalar registers or by a broadcast.
struct Rows {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

// Four consecutive steps of the sum.
struct Quads {
    x: Rows,
    y: Rows,
    z: Rows,
    w: Rows,
}

struct Offsets {
    a: vec4<u32>,
    b: vec4<u32>,
    c: vec4<u32>,
    d: vec4<u32>,
}

// Offsets of the rows, `step` apart; past the `count`-th the last one again.
fn row_offsets(lane: u32, count: u32, step: u32) -> Offsets {
    let first = vec4(0u, 1u, 2u, 3u);
    let last = vec4(count - 1u);
    return Offsets(
        min(first, last) * step,
        min(first + 4u, last) * step,
        min(first + 8u, last) * step,
        min(first + 12u, last) * step,
    );
}

// A lane's four columns are this far apart, so that neighbours load neighbours. `#columns NAME BINDING` makes
//     fn NAME(at: u32) -> vec4<f32>
// which loads them.
const COLUMN_STEP: u32 = 64u;

fn first_column(group: u32, lane: u32) -> u32 {
    return group * COLUMNS + lane;
}

// Four consecutive steps of four rows, by step.
fn quads(a: mat4x4<f32>, b: mat4x4<f32>, c: mat4x4<f32>, d: mat4x4<f32>) -> Quads {
    return Quads(
        Rows(a[0], b[0], c[0], d[0]),
        Rows(a[1], b[1], c[1], d[1]),
        Rows(a[2], b[2], c[2], d[2]),
        Rows(a[3], b[3], c[3], d[3]),
    );
}
