// update.wgsl: W <- (W - V h) m on a range of rows, in one sweep.
#import index
#import outer

struct Update {
    rows: u32,
    w_offset: u32,
    w_pitch: u32,
    w_count: u32,
    v_offset: u32,
    v_pitch: u32,
    v_count: u32,
}
var<immediate> update: Update;

@group(0) @binding(0) var<storage, read> v: array<f32>; // row i of column j at v_offset + j * v_pitch + i
@group(0) @binding(1) var<storage, read> h: array<vec4<f32>>; // (k, 16): padded with zeros, at least one row
@group(0) @binding(2) var<storage, read> m: array<mat4x4<f32>>; // 4 x 4 tiles of 4 x 4, padded with zeros
@group(0) @binding(3) var<storage, read_write> w: array<f32>; // row i of column j at w_offset + j * w_pitch + i

// Four columns of one row, zeros past the last column.
fn load(row: u32, first: u32) -> vec4<f32> {
    let j = first + vec4(0u, 1u, 2u, 3u);
    let at = update.w_offset + min(j, vec4(update.w_count - 1u)) * update.w_pitch + row;
    return select(vec4(0.0), vec4(w[at.x], w[at.y], w[at.z], w[at.w]), j < vec4(update.w_count));
}

fn load_tile(rows: vec4<u32>, first: u32) -> mat4x4<f32> {
    return mat4x4<f32>(load(rows.x, first), load(rows.y, first), load(rows.z, first), load(rows.w, first));
}

fn store(row: u32, first: u32, value: vec4<f32>) {
    if row >= update.rows { return; }
    let at = update.w_offset + first * update.w_pitch + row;
    if first < update.w_count { w[at] = value.x; }
    if first + 1u < update.w_count { w[at + update.w_pitch] = value.y; }
    if first + 2u < update.w_count { w[at + 2u * update.w_pitch] = value.z; }
    if first + 3u < update.w_count { w[at + 3u * update.w_pitch] = value.w; }
}

fn store_tile(rows: vec4<u32>, first: u32, values: mat4x4<f32>) {
    store(rows.x, first, values[0]);
    store(rows.y, first, values[1]);
    store(rows.z, first, values[2]);
    store(rows.w, first, values[3]);
}

// Column tile c of (w0 w1 w2 w3) m. The tiles hold rows where WGSL has columns, so m comes from the left.
fn times_m(w0: mat4x4<f32>, w1: mat4x4<f32>, w2: mat4x4<f32>, w3: mat4x4<f32>, c: u32) -> mat4x4<f32> {
    var product = m[c] * w0;
    if update.w_count > 4u { product += m[4u + c] * w1; }
    if update.w_count > 8u { product += m[8u + c] * w2; }
    if update.w_count > 12u { product += m[12u + c] * w3; }
    return product;
}

// One invocation: four rows, with all of their up to sixteen entries of W in registers: each load of h serves all four.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let rows = flat4(group, lane);
    // Rows past the end load the last one and are not stored.
    let in_rows = min(rows, vec4(update.rows - 1u));
    let count = update.w_count;
    var w0 = load_tile(in_rows, 0u);
    var w1 = mat4x4<f32>();
    var w2 = mat4x4<f32>();
    var w3 = mat4x4<f32>();
    if count > 4u { w1 = load_tile(in_rows, 4u); }
    if count > 8u { w2 = load_tile(in_rows, 8u); }
    if count > 12u { w3 = load_tile(in_rows, 12u); }
    for (var k = 0u; k < update.v_count; k++) {
        let at = update.v_offset + k * update.v_pitch + in_rows;
        let minus_v = -vec4(v[at.x], v[at.y], v[at.z], v[at.w]);
        w0 = add_outer(w0, minus_v, h[4u * k]);
        if count > 4u { w1 = add_outer(w1, minus_v, h[4u * k + 1u]); }
        if count > 8u { w2 = add_outer(w2, minus_v, h[4u * k + 2u]); }
        if count > 12u { w3 = add_outer(w3, minus_v, h[4u * k + 3u]); }
    }
    store_tile(rows, 0u, times_m(w0, w1, w2, w3, 0u));
    if count > 4u { store_tile(rows, 4u, times_m(w0, w1, w2, w3, 1u)); }
    if count > 8u { store_tile(rows, 8u, times_m(w0, w1, w2, w3, 2u)); }
    if count > 12u { store_tile(rows, 12u, times_m(w0, w1, w2, w3, 3u)); }
}
