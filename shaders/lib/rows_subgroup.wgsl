// As rows.wgsl, for adapters whose subgroups are eight lanes: a lane loads one row and hands it to the others. A software
// adapter works through a load lane by lane, which costs more than all of the tile's multiply-adds.
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
    own: u32,
}

// Offset of the lane's row; past the `count`-th the last one again.
fn row_offsets(lane: u32, count: u32, step: u32) -> Offsets {
    return Offsets(min(lane % 8u, count - 1u) * step);
}

fn spread_upper(own: f32) -> vec4<f32> {
    return vec4(subgroupShuffle(own, 0u), subgroupShuffle(own, 1u), subgroupShuffle(own, 2u), subgroupShuffle(own, 3u));
}

fn spread_lower(own: f32) -> vec4<f32> {
    return vec4(subgroupShuffle(own, 4u), subgroupShuffle(own, 5u), subgroupShuffle(own, 6u), subgroupShuffle(own, 7u));
}

fn spread(own: f32) -> Rows {
    return Rows(spread_upper(own), spread_lower(own));
}

fn spread_codes(own: u32) -> Codes {
    let rows = spread(bitcast<f32>(own));
    return Codes(bitcast<vec4<u32>>(rows.upper), bitcast<vec4<u32>>(rows.lower));
}

fn spread_quads(own: vec4<f32>) -> Quads {
    return Quads(
        mat4x4<f32>(spread_upper(own.x), spread_upper(own.y), spread_upper(own.z), spread_upper(own.w)),
        mat4x4<f32>(spread_lower(own.x), spread_lower(own.y), spread_lower(own.z), spread_lower(own.w)),
    );
}
