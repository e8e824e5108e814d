// What belongs to a tile's sixteen rows is the same for all lanes. `#rows NAME BINDING` makes
//     fn NAME(at: u32, rows: Offsets) -> Rows
// which loads it from an array of Packed, where rows are neighbours and `at` is a multiple of four. Here every lane loads all
// of it, four at a time: GPUs do that once for a subgroup, into scalar registers or by a broadcast.
alias Packed = vec4<f32>;

struct Rows {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

struct Offsets {
    none: u32,
}

fn row_offsets(lane: u32, count: u32, step: u32) -> Offsets {
    return Offsets(0u);
}

// Where a lane's sixteen rows begin, and its four columns, which are this far apart, so that neighbours load neighbours.
const COLUMN_STEP: u32 = 16u;

fn first_row(group: u32, lane: u32) -> u32 {
    return group * 64u + lane / 16u * 16u;
}

fn first_column(group: u32, lane: u32) -> u32 {
    return group * 64u + lane % 16u;
}
