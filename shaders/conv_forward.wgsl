// conv_forward.wgsl: p = pool(relu(W x + b)), and which position of each 2x2 window won.
#import index
#import conv

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim)
@group(0) @binding(1) var<storage, read> x: array<f32>; // (N, IC, H, W)
@group(0) @binding(2) var<storage, read_write> p: array<f32>; // (N, OC, PH, PW)
@group(0) @binding(3) var<storage, read_write> route: array<u32>; // (N, OC, PH, PW)

fn store(at: u32, z: vec4<f32>) {
    var best = z.x;
    var code = 0u;
    // Strictly greater: ties go to the first position.
    if z.y > best { best = z.y; code = 1u; }
    if z.z > best { best = z.z; code = 2u; }
    if z.w > best { best = z.w; code = 3u; }
    let dead = best <= 0.0;
    p[at] = select(best, 0.0, dead);
    route[at] = select(code, DEAD, dead);
}

// One invocation: one pooled cell of four output channels, all four positions of the window.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let ph = layer.height / 2u;
    let pw = layer.width / 2u;
    let groups = (layer.out_channels + CHANNELS - 1u) / CHANNELS;
    let item = layer.base + flat(id);
    if item >= layer.samples * groups * ph * pw { return; }
    let px = item % pw;
    let py = item / pw % ph;
    let first = item / (pw * ph) % groups * CHANNELS;
    let n = item / (pw * ph * groups);

    let oc = channels(first, layer.out_channels);
    let taps = layer.kernel * layer.kernel;
    let bias = layer.bias + oc;
    var z0 = vec4(theta[bias.x]);
    var z1 = vec4(theta[bias.y]);
    var z2 = vec4(theta[bias.z]);
    var z3 = vec4(theta[bias.w]);
    // The window's four pixels under the tap (ky, kx) are (y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1).
    let ys = 2u * py - layer.kernel / 2u;
    let xs = 2u * px - layer.kernel / 2u;
    for (var ic = 0u; ic < layer.in_channels; ic++) {
        let image = (n * layer.in_channels + ic) * layer.height;
        var w = layer.weight + (oc * layer.in_channels + ic) * taps;
        for (var ky = 0u; ky < layer.kernel; ky++) {
            let upper = (image + min(ys + ky, layer.height - 1u)) * layer.width;
            let lower = (image + min(ys + ky + 1u, layer.height - 1u)) * layer.width;
            for (var kx = 0u; kx < layer.kernel; kx++) {
                let left = min(xs + kx, layer.width - 1u);
                let right = min(xs + kx + 1u, layer.width - 1u);
                let pixels = vec4(x[upper + left], x[upper + right], x[lower + left], x[lower + right]);
                let on = vec4(
                    inside(ys + ky, xs + kx),
                    inside(ys + ky, xs + kx + 1u),
                    inside(ys + ky + 1u, xs + kx),
                    inside(ys + ky + 1u, xs + kx + 1u),
                );
                let window = select(vec4(0.0), pixels, on);
                z0 = fma(vec4(theta[w.x]), window, z0);
                z1 = fma(vec4(theta[w.y]), window, z1);
                z2 = fma(vec4(theta[w.z]), window, z2);
                z3 = fma(vec4(theta[w.w]), window, z3);
                w += 1u;
            }
        }
    }
    let cells = ph * pw;
    let at = (n * layer.out_channels + first) * cells + py * pw + px;
    store(at, z0);
    if first + 1u < layer.out_channels { store(at + cells, z1); }
    if first + 2u < layer.out_channels { store(at + 2u * cells, z2); }
    if first + 3u < layer.out_channels { store(at + 3u * cells, z3); }
}
