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

const LANES: u32 = 64u;
var<workgroup> shared_sums: array<mat4x4<f32>, LANES>;

// A workgroup: four columns of A (y) by four of B (z) over one slab (x). Each invocation adds every 64th row, then a
// tree adds the invocations: both keep the error of a partial near sqrt(slab / 64 + 6) roundings.
@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let lanes = vec4(0u, 1u, 2u, 3u);
    let i = 4u * group.y + lanes;
    let j = 4u * group.z + lanes;
    // Columns past the end repeat the last one; what they sum is not stored.
    let a_at = gram.a_offset + min(i, vec4(gram.a_count - 1u)) * gram.a_pitch;
    let b_at = gram.b_offset + min(j, vec4(gram.b_count - 1u)) * gram.b_pitch;
    let end = min((group.x + 1u) * gram.slab, gram.rows);
    var s0 = vec4(0.0);
    var s1 = vec4(0.0);
    var s2 = vec4(0.0);
    var s3 = vec4(0.0);
    for (var row = group.x * gram.slab + lane; row < end; row += LANES) {
        let right = vec4(b[b_at.x + row], b[b_at.y + row], b[b_at.z + row], b[b_at.w + row]);
        s0 = fma(vec4(a[a_at.x + row]), right, s0);
        s1 = fma(vec4(a[a_at.y + row]), right, s1);
        s2 = fma(vec4(a[a_at.z + row]), right, s2);
        s3 = fma(vec4(a[a_at.w + row]), right, s3);
    }
    shared_sums[lane] = mat4x4<f32>(s0, s1, s2, s3);
    for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if lane < stride { shared_sums[lane] += shared_sums[lane + stride]; }
    }
    if lane == 0u {
        let sums = shared_sums[0];
        store(group.x, i.x, j, sums[0]);
        store(group.x, i.y, j, sums[1]);
        store(group.x, i.z, j, sums[2]);
        store(group.x, i.w, j, sums[3]);
    }
}

fn store(slab: u32, i: u32, j: vec4<u32>, sums: vec4<f32>) {
    if i >= gram.a_count { return; }
    let to = gram.partial + (slab * gram.a_count + i) * gram.b_count;
    partials[to + j.x] = sums.x;
    if j.y < gram.b_count { partials[to + j.y] = sums.y; }
    if j.z < gram.b_count { partials[to + j.z] = sums.z; }
    if j.w < gram.b_count { partials[to + j.w] = sums.w; }
}
