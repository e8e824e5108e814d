// conv_tangent.wgsl: tp = (W tx + tW x + tb)[route], zero where dead.
#import index
#import conv

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim)
@group(0) @binding(1) var<storage, read> vectors: array<f32>; // (K, pitch)
@group(0) @binding(2) var<storage, read> x: array<f32>; // (N, IC, H, W)
@group(0) @binding(3) var<storage, read> tx: array<f32>; // (K, N, IC, H, W); x again in the first layer, not read
@group(0) @binding(4) var<storage, read> route: array<u32>; // (N, OC, PH, PW)
@group(0) @binding(5) var<storage, read_write> tp: array<f32>; // (K, N, OC, PH, PW)

override first_layer: bool = false;

// One invocation: one pooled output of one direction, at the routed position only.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let ph = layer.height / 2u;
    let pw = layer.width / 2u;
    let outputs = layer.samples * layer.out_channels * ph * pw;
    let item = layer.base + flat(id);
    if item >= outputs { return; }
    let at = id.z * outputs + item;
    let code = route[item];
    if code >= DEAD {
        tp[at] = 0.0;
        return;
    }
    let px = item % pw;
    let py = item / pw % ph;
    let oc = item / (pw * ph) % layer.out_channels;
    let n = item / (pw * ph * layer.out_channels);

    // Only the taps whose pixel lies on the image.
    let radius = layer.kernel / 2u;
    let y = 2u * py + code / 2u;
    let ky_begin = radius - min(radius, y);
    let ky_end = min(layer.kernel, layer.height + radius - y);
    let column = 2u * px + code % 2u;
    let kx_begin = radius - min(radius, column);
    let kx_end = min(layer.kernel, layer.width + radius - column);

    let vector = id.z * layer.pitch;
    let tangents = id.z * layer.samples * layer.in_channels * layer.height * layer.width;
    var sum = vectors[vector + layer.bias + oc];
    for (var ic = 0u; ic < layer.in_channels; ic++) {
        let kernel = layer.weight + (oc * layer.in_channels + ic) * layer.kernel * layer.kernel;
        let image = (n * layer.in_channels + ic) * layer.height;
        for (var ky = ky_begin; ky < ky_end; ky++) {
            let w = kernel + ky * layer.kernel;
            let pixels = (image + y + ky - radius) * layer.width + column - radius;
            for (var kx = kx_begin; kx < kx_end; kx++) {
                sum = fma(vectors[vector + w + kx], x[pixels + kx], sum);
                if !first_layer {
                    sum = fma(theta[w + kx], tx[tangents + pixels + kx], sum);
                }
            }
        }
    }
    tp[at] = sum;
}
