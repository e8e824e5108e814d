// combine.wgsl: X = V s on a range of rows.
#import index
#import outer

struct Combine {
    rows: u32,
    v_offset: u32,
    v_pitch: u32,
    v_count: u32,
    x_offset: u32,
    x_pitch: u32,
    x_count: u32,
}
var<immediate> combine: Combine;

@group(0) @binding(0) var<storage, read> v: array<f32>; // row i of column j at v_offset + j * v_pitch + i
@group(0) @binding(1) var<storage, read> s: array<vec4<f32>>; // (tiles, k, 16): tiles of sixteen columns, padded with zeros
@group(0) @binding(2) var<storage, read_write> x: array<f32>; // row i of column j at x_offset + j * x_pitch + i

fn store(row: u32, first: u32, value: vec4<f32>) {
    if row >= combine.rows { return; }
    let at = combine.x_offset + first * combine.x_pitch + row;
    if first < combine.x_count { x[at] = value.x; }
    if first + 1u < combine.x_count { x[at + combine.x_pitch] = value.y; }
    if first + 2u < combine.x_count { x[at + 2u * combine.x_pitch] = value.z; }
    if first + 3u < combine.x_count { x[at + 3u * combine.x_pitch] = value.w; }
}

fn store_tile(rows: vec4<u32>, first: u32, values: mat4x4<f32>) {
    store(rows.x, first, values[0]);
    store(rows.y, first, values[1]);
    store(rows.z, first, values[2]);
    store(rows.w, first, values[3]);
}

// One invocation: four rows of sixteen columns of X; z is the tile of columns.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let rows = flat4(group, lane);
    // Rows past the end load the last one and are not stored.
    let in_rows = min(rows, vec4(combine.rows - 1u));
    let first = 16u * group.z;
    let count = combine.x_count - first;
    var x0 = mat4x4<f32>();
    var x1 = mat4x4<f32>();
    var x2 = mat4x4<f32>();
    var x3 = mat4x4<f32>();
    for (var k = 0u; k < combine.v_count; k++) {
        let at = combine.v_offset + k * combine.v_pitch + in_rows;
        let values = vec4(v[at.x], v[at.y], v[at.z], v[at.w]);
        let weights = 4u * (group.z * combine.v_count + k);
        x0 = add_outer(x0, values, s[weights]);
        if count > 4u { x1 = add_outer(x1, values, s[weights + 1u]); }
        if count > 8u { x2 = add_outer(x2, values, s[weights + 2u]); }
        if count > 12u { x3 = add_outer(x3, values, s[weights + 3u]); }
    }
    store_tile(rows, first, x0);
    store_tile(rows, first + 4u, x1);
    store_tile(rows, first + 8u, x2);
    store_tile(rows, first + 12u, x3);
}
