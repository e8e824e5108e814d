// loss_forward.wgsl: softmax cross-entropy of each sample, and r = s - onehot(label) with r[label] = -sum of the others.
#import index
#import loss

@group(0) @binding(0) var<storage, read> logits: array<f32>; // (N, C)
@group(0) @binding(1) var<storage, read> labels: array<u32>; // (N)
@group(0) @binding(2) var<storage, read_write> losses: array<f32>; // (N)
@group(0) @binding(3) var<storage, read_write> r: array<f32>; // (N, C)

// ln(1 + x) for x >= 0. WGSL promises log() only to 2^-21 near 1, where the loss of a well-fitted sample lies, so up to
// x = 1 it is 2 artanh(x / (2 + x)); seven terms leave out less than 2e-8 of it.
fn log1p(x: f32) -> f32 {
    if x > 1.0 { return log(1.0 + x); }
    let t = x / (2.0 + x);
    let u = t * t;
    let tail = u * (1.0 / 3.0 + u * (1.0 / 5.0 + u * (1.0 / 7.0 + u * (1.0 / 9.0 + u * (1.0 / 11.0 + u / 13.0)))));
    return fma(2.0 * t, tail, 2.0 * t);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let n = flat(id);
    if n >= loss.samples { return; }
    let first = n * loss.classes;
    let label = min(labels[n], loss.classes - 1u);
    var top = 0u;
    var highest = logits[first];
    for (var j = 1u; j < loss.classes; j++) {
        let z = logits[first + j];
        if z > highest { highest = z; top = j; }
    }
    // The sum of exponentials is 1 + rest: the largest term is left out, so that a small rest keeps its digits.
    var rest = 0.0;
    for (var j = 0u; j < loss.classes; j++) {
        if j != top { rest += exp(logits[first + j] - highest); }
    }
    losses[n] = (highest - logits[first + label]) + log1p(rest);
    var others = 0.0;
    for (var j = 0u; j < loss.classes; j++) {
        if j != label {
            let s = exp(logits[first + j] - highest) / (1.0 + rest);
            r[first + j] = s;
            others += s;
        }
    }
    r[first + label] = -others;
}
