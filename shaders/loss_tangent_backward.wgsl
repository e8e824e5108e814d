// loss_tangent_backward.wgsl: tdlogits = scale * (diag(s) - s s^T) tlogits.
#import index
#import loss

@group(0) @binding(0) var<storage, read> r: array<f32>; // (N, C)
@group(0) @binding(1) var<storage, read> labels: array<u32>; // (N)
@group(0) @binding(2) var<storage, read> tlogits: array<f32>; // (K, N, C)
@group(0) @binding(3) var<storage, read_write> tdlogits: array<f32>; // (K, N, C)

// With c the correct class and m = t_c + sum_{j != c} r_j (t_j - t_c), entry j is r_j (t_j - m) and entry c is minus the
// sum of the others: no cancellation when s_c is near one.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let n = flat(id);
    if n >= loss.samples { return; }
    let first = n * loss.classes;
    let tangents = (id.z * loss.samples + n) * loss.classes;
    let label = min(labels[n], loss.classes - 1u);
    let correct = tlogits[tangents + label];
    var above = 0.0; // m - t_c
    for (var j = 0u; j < loss.classes; j++) {
        if j != label { above = fma(r[first + j], tlogits[tangents + j] - correct, above); }
    }
    var others = 0.0;
    for (var j = 0u; j < loss.classes; j++) {
        if j != label {
            let value = loss.scale * r[first + j] * ((tlogits[tangents + j] - correct) - above);
            tdlogits[tangents + j] = value;
            others += value;
        }
    }
    tdlogits[tangents + label] = -others;
}
