// gram.wgsl: partials of A^T B, one per slab of rows; the host adds them in f64.

struct Gram {
    rows: u32,
    slab: u32,    // rows of one partial
    partial: u32, // where the first partial goes
    a_offset: u32,
    a_pitch: u32,
    a_count: u32,
    b_offset: u32,
    b_pitch: u32,
    b_count: u32,
}
var<immediate> gram: Gram;

@group(0) @binding(0) var<storage, read> a: array<f32>; // row i of column j at a_offset + j * a_pitch + i
@group(0) @binding(1) var<storage, read> b: array<f32>; // row i of column j at b_offset + j * b_pitch + i
@group(0) @binding(2) var<storage, read_write> partials: array<f32>; // (slabs, a_count, b_count)

// Sums of sixteen columns of A and four of B: [column of A][column of B], four columns of A each.
struct Sums {
    a: mat4x4<f32>,
    b: mat4x4<f32>,
    c: mat4x4<f32>,
    d: mat4x4<f32>,
}

// Adds four rows of one column of A, `step` apart, times the same rows of B.
fn add_column(sums: vec4<f32>, at: u32, step: u32, right: mat4x4<f32>) -> vec4<f32> {
    let two = fma(vec4(a[at]), right[0], fma(vec4(a[at + step]), right[1], sums));
    return fma(vec4(a[at + 2u * step]), right[2], fma(vec4(a[at + 3u * step]), right[3], two));
}

fn add_columns(sums: mat4x4<f32>, at: vec4<u32>, step: u32, right: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        add_column(sums[0], at.x, step, right),
        add_column(sums[1], at.y, step, right),
        add_column(sums[2], at.z, step, right),
        add_column(sums[3], at.w, step, right),
    );
}

// A row of B.
fn row(at: vec4<u32>) -> vec4<f32> {
    return vec4(b[at.x], b[at.y], b[at.z], b[at.w]);
}

// First row of four columns of A; those past the end repeat the last one, and what they sum is not stored.
fn columns(first: u32) -> vec4<u32> {
    return gram.a_offset + min(first + vec4(0u, 1u, 2u, 3u), vec4(gram.a_count - 1u)) * gram.a_pitch;
}

const LANES: u32 = 64u;
var<workgroup> shared_sums: array<vec4<f32>, 256>;

// Adds the invocations' sums by fours and stores them: a lane takes a quarter of what is left of one column of A.
fn store_columns(slab: u32, first: u32, j: u32, lane: u32, sums: mat4x4<f32>) {
    workgroupBarrier();
    shared_sums[lane] = sums[0];
    shared_sums[LANES + lane] = sums[1];
    shared_sums[2u * LANES + lane] = sums[2];
    shared_sums[3u * LANES + lane] = sums[3];
    for (var left = LANES / 4u; left > 0u; left /= 4u) {
        workgroupBarrier();
        if lane < 4u * left {
            let at = lane / left * LANES + lane % left;
            let two = shared_sums[at] + shared_sums[at + left];
            shared_sums[at] = two + (shared_sums[at + 2u * left] + shared_sums[at + 3u * left]);
        }
    }
    if lane < 4u && first + lane < gram.a_count {
        let to = (gram.partial + (slab * gram.a_count + first + lane) * gram.b_count) + j;
        let sum = shared_sums[lane * LANES];
        partials[to] = sum.x;
        if j + 1u < gram.b_count { partials[to + 1u] = sum.y; }
        if j + 2u < gram.b_count { partials[to + 2u] = sum.z; }
        if j + 3u < gram.b_count { partials[to + 3u] = sum.w; }
    }
}

// A workgroup: four columns of B (x) by sixteen of A (y) over one slab (z): the workgroups of a slab come one after the
// other, so that a cache has its rows for all of them but the first. Each invocation adds every 64th row, four at a time,
// then the invocations' sums are added: both keep the error of a partial near sqrt(slab / 64 + 6) roundings.
@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = 16u * group.y;
    let j = 4u * group.x;
    let a0 = columns(i);
    let a1 = columns(i + 4u);
    let a2 = columns(i + 8u);
    let a3 = columns(i + 12u);
    let b0 = gram.b_offset + min(j + vec4(0u, 1u, 2u, 3u), vec4(gram.b_count - 1u)) * gram.b_pitch;
    let begin = group.z * gram.slab;
    let end = min(begin + gram.slab, gram.rows);
    var sums = Sums();
    var at = begin + lane;
    for (; at + 3u * LANES < end; at += 4u * LANES) {
        let right = mat4x4<f32>(row(b0 + at), row(b0 + at + LANES), row(b0 + at + 2u * LANES), row(b0 + at + 3u * LANES));
        sums.a = add_columns(sums.a, a0 + at, LANES, right);
        // Whole groups of columns past the end are not loaded.
        if i + 4u < gram.a_count { sums.b = add_columns(sums.b, a1 + at, LANES, right); }
        if i + 8u < gram.a_count { sums.c = add_columns(sums.c, a2 + at, LANES, right); }
        if i + 12u < gram.a_count { sums.d = add_columns(sums.d, a3 + at, LANES, right); }
    }
    // The last rows, one by one: four times the same with zeros.
    for (; at < end; at += LANES) {
        let right = mat4x4<f32>(row(b0 + at), vec4(0.0), vec4(0.0), vec4(0.0));
        sums.a = add_columns(sums.a, a0 + at, 0u, right);
        sums.b = add_columns(sums.b, a1 + at, 0u, right);
        sums.c = add_columns(sums.c, a2 + at, 0u, right);
        sums.d = add_columns(sums.d, a3 + at, 0u, right);
    }
    store_columns(group.z, i, j, lane, sums.a);
    store_columns(group.z, i + 4u, j, lane, sums.b);
    store_columns(group.z, i + 8u, j, lane, sums.c);
    store_columns(group.z, i + 12u, j, lane, sums.d);
}
