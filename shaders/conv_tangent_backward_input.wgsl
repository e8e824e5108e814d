// conv_tangent_backward_input.wgsl: tdx = W^T unroute(tdp) + tW^T unroute(dp).
#import index
#import conv

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim)
@group(0) @binding(1) var<storage, read> vectors: array<f32>; // (K, pitch)
@group(0) @binding(2) var<storage, read> route: array<u32>; // (N, OC, PH, PW)
@group(0) @binding(3) var<storage, read> dp: array<f32>; // (N, OC, PH, PW)
@group(0) @binding(4) var<storage, read> tdp: array<f32>; // (K, N, OC, PH, PW)
@group(0) @binding(5) var<storage, read_write> tdx: array<f32>; // (K, N, IC, H, W)

// One invocation: one pixel of four input channels, in the direction z; the gather is that of conv_backward_input.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let ph = layer.height / 2u;
    let pw = layer.width / 2u;
    let groups = (layer.in_channels + CHANNELS - 1u) / CHANNELS;
    let item = layer.base + flat(id);
    if item >= layer.samples * groups * layer.height * layer.width { return; }
    let column = item % layer.width;
    let y = item / layer.width % layer.height;
    let first = item / (layer.width * layer.height) % groups * CHANNELS;
    let n = item / (layer.width * layer.height * groups);

    let ic = channels(first, layer.in_channels);
    let taps = layer.kernel * layer.kernel;
    let radius = layer.kernel / 2u;
    let py_begin = (y - min(radius, y)) / 2u;
    let py_end = min((y + radius) / 2u + 1u, ph);
    let px_begin = (column - min(radius, column)) / 2u;
    let px_end = min((column + radius) / 2u + 1u, pw);
    let vector = id.z * layer.pitch;
    let tangents = id.z * layer.samples * layer.out_channels * ph * pw;
    var sum = vec4(0.0);
    for (var oc = 0u; oc < layer.out_channels; oc++) {
        let kernel = layer.weight + (oc * layer.in_channels + ic) * taps;
        for (var py = py_begin; py < py_end; py++) {
            for (var px = px_begin; px < px_end; px++) {
                let at = ((n * layer.out_channels + oc) * ph + py) * pw + px;
                let code = route[at];
                // Unsigned: a tap above or left of the kernel is far past its end.
                let ky = y + radius - (2u * py + code / 2u);
                let kx = column + radius - (2u * px + code % 2u);
                if code >= DEAD || ky >= layer.kernel || kx >= layer.kernel { continue; }
                let w = kernel + ky * layer.kernel + kx;
                let v = vector + w;
                sum = fma(vec4(tdp[tangents + at]), vec4(theta[w.x], theta[w.y], theta[w.z], theta[w.w]), sum);
                sum = fma(vec4(dp[at]), vec4(vectors[v.x], vectors[v.y], vectors[v.z], vectors[v.w]), sum);
            }
        }
    }
    let pixels = layer.height * layer.width;
    let to = ((id.z * layer.samples + n) * layer.in_channels + first) * pixels + y * layer.width + column;
    tdx[to] = sum.x;
    if first + 1u < layer.in_channels { tdx[to + pixels] = sum.y; }
    if first + 2u < layer.in_channels { tdx[to + 2u * pixels] = sum.z; }
    if first + 3u < layer.in_channels { tdx[to + 3u * pixels] = sum.w; }
}
