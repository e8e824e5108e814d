// As rows.wgsl, for adapters whose subgroups are eight lanes: a lane loads two of the sixteen rows and hands them to the
// others. A software adapter works through a load lane by lane, which costs more than all of the tile's multiply-adds.
// `#row_quads NAME BINDING` loads four consecutive steps of the sum (Quads), and `#columns NAME BINDING` makes
//     fn NAME(at: u32) -> vec4<f32>
// which loads a lane's columns.
alias Packed = f32;

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
    own: u32,  // of the lane's row among the first eight
    more: u32, // and among the others
}

// Offsets of the lane's rows, `step` apart; past the `count`-th the last one again.
fn row_offsets(lane: u32, count: u32, step: u32) -> Offsets {
    return Offsets(min(lane % 8u, count - 1u) * step, min(lane % 8u + 8u, count - 1u) * step);
}

// A subgroup's columns are 32 neighbours: a software adapter works through a kernel subgroup by subgroup, and each should use
// up the cache lines that it fetches.
const COLUMN_STEP: u32 = 8u;

fn first_row(group: u32, lane: u32) -> u32 {
    return group * ROWS;
}

fn first_column(group: u32, lane: u32) -> u32 {
    return group * COLUMNS + lane / 8u * 32u + lane % 8u;
}

fn lanes_0_to_3(own: f32) -> vec4<f32> {
    return vec4(subgroupShuffle(own, 0u), subgroupShuffle(own, 1u), subgroupShuffle(own, 2u), subgroupShuffle(own, 3u));
}

fn lanes_4_to_7(own: f32) -> vec4<f32> {
    return vec4(subgroupShuffle(own, 4u), subgroupShuffle(own, 5u), subgroupShuffle(own, 6u), subgroupShuffle(own, 7u));
}

fn spread(own: f32, more: f32) -> Rows {
    return Rows(lanes_0_to_3(own), lanes_4_to_7(own), lanes_0_to_3(more), lanes_4_to_7(more));
}

fn spread_quads(own: vec4<f32>, more: vec4<f32>) -> Quads {
    return Quads(spread(own.x, more.x), spread(own.y, more.y), spread(own.z, more.z), spread(own.w, more.w));
}

// Adds four steps of a tile together, whose columns are those of the matrix.
fn add_quads(sums: Tile, rows: Quads, columns: mat4x4<f32>) -> Tile {
    return Tile(
        add_four_outer(sums.a, mat4x4<f32>(rows.x.a, rows.y.a, rows.z.a, rows.w.a), columns),
        add_four_outer(sums.b, mat4x4<f32>(rows.x.b, rows.y.b, rows.z.b, rows.w.b), columns),
        add_four_outer(sums.c, mat4x4<f32>(rows.x.c, rows.y.c, rows.z.c, rows.w.c), columns),
        add_four_outer(sums.d, mat4x4<f32>(rows.x.d, rows.y.d, rows.z.d, rows.w.d), columns),
    );
}

fn add_four_outer(sums: mat4x4<f32>, steps: mat4x4<f32>, columns: mat4x4<f32>) -> mat4x4<f32> {
    let rows = transpose(steps);
    return mat4x4<f32>(
        add_four(sums[0], rows[0], columns),
        add_four(sums[1], rows[1], columns),
        add_four(sums[2], rows[2], columns),
        add_four(sums[3], rows[3], columns),
    );
}
