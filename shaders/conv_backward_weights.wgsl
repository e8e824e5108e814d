// conv_backward_weights.wgsl: partials of dW = unroute(dp) x^T and db = sum unroute(dp), one per slice of pooled rows.
#import conv

@group(0) @binding(0) var<storage, read> x: array<f32>; // (N, IC, H, W)
@group(0) @binding(1) var<storage, read> route: array<u32>; // (N, OC, PH, PW)
@group(0) @binding(2) var<storage, read> dp: array<f32>; // (N, OC, PH, PW)
@group(0) @binding(3) var<storage, read_write> partials: array<f32>; // (slices, OC * IC * K * K + OC)

// One invocation: one tap (oc, ky, kx) of four input channels, or one bias; z the slice.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let ph = layer.height / 2u;
    let pw = layer.width / 2u;
    let taps = layer.kernel * layer.kernel;
    let groups = (layer.in_channels + CHANNELS - 1u) / CHANNELS;
    let quads = layer.out_channels * groups * taps;
    let item = id.x;
    if item >= quads + layer.out_channels { return; }
    let is_bias = item >= quads;
    let kx = item % layer.kernel;
    let ky = item / layer.kernel % layer.kernel;
    let first = item / taps % groups * CHANNELS;
    let oc = select(item / (taps * groups), item - quads, is_bias);
    let ic = channels(first, layer.in_channels);

    let radius = layer.kernel / 2u;
    let slice = layer.base + id.z;
    let begin = slice * layer.slice;
    let end = min(begin + layer.slice, layer.samples * ph);
    var sum = vec4(0.0);
    for (var row = begin; row < end; row++) {
        let n = row / ph;
        let py = row % ph;
        for (var px = 0u; px < pw; px++) {
            let at = ((n * layer.out_channels + oc) * ph + py) * pw + px;
            let code = route[at];
            if code >= DEAD { continue; }
            if is_bias {
                sum.x += dp[at];
                continue;
            }
            let y = 2u * py + code / 2u + ky - radius;
            let column = 2u * px + code % 2u + kx - radius;
            if !inside(y, column) { continue; }
            let i = ((n * layer.in_channels + ic) * layer.height + y) * layer.width + column;
            sum = fma(vec4(dp[at]), vec4(x[i.x], x[i.y], x[i.z], x[i.w]), sum);
        }
    }
    let weights = layer.out_channels * layer.in_channels * taps;
    let partial = slice * (weights + layer.out_channels);
    if is_bias {
        partials[partial + weights + oc] = sum.x;
        return;
    }
    let to = partial + (oc * layer.in_channels + first) * taps + ky * layer.kernel + kx;
    partials[to] = sum.x;
    if first + 1u < layer.in_channels { partials[to + taps] = sum.y; }
    if first + 2u < layer.in_channels { partials[to + 2u * taps] = sum.z; }
    if first + 3u < layer.in_channels { partials[to + 3u * taps] = sum.w; }
}
