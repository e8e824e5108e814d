// As rows.wgsl, for adapters whose subgroups are eight lanes: a lane loads two of the sixteen rows and hands them to the
// others. A software adapter works through a load lane by lane, which costs more than all of the tile's multiply-adds.
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
