// What both kernels of a conv block's weights do beside their sums: where a lane's taps lie, and where its partial sums go.
// Depends on the globals `layer`, `images` and `partials` (parts, OC * IC * K * K + OC), one part a slice or a pair of slice
// and direction.
fn store(part: u32, oc: u32, column: u32, sum: f32) {
    let columns = layer.in_channels * layer.kernel * layer.kernel;
    if oc >= layer.out_channels || column >= columns { return; }
    partials[part * layer.out_channels * (columns + 1u) + oc * columns + column] = sum;
}

fn store_biases(part: u32, oc: u32, sums: Rows) {
    store_bias(part, oc, sums.a);
    store_bias(part, oc + 4u, sums.b);
    store_bias(part, oc + 8u, sums.c);
    store_bias(part, oc + 12u, sums.d);
}

fn store_bias(part: u32, oc: u32, sums: vec4<f32>) {
    store_one_bias(part, oc, sums.x);
    store_one_bias(part, oc + 1u, sums.y);
    store_one_bias(part, oc + 2u, sums.z);
    store_one_bias(part, oc + 3u, sums.w);
}

fn store_one_bias(part: u32, oc: u32, sum: f32) {
    if oc >= layer.out_channels { return; }
    let weights = layer.out_channels * layer.in_channels * layer.kernel * layer.kernel;
    partials[part * (weights + layer.out_channels) + weights + oc] = sum;
}

fn pixels(at: vec4<u32>) -> vec4<f32> {
    return vec4(images[at.x], images[at.y], images[at.z], images[at.w]);
}

// At the four positions of a window.
fn window_pixels(at: vec4<u32>, width: u32) -> mat4x4<f32> {
    return mat4x4<f32>(pixels(at), pixels(at + 1u), pixels(at + width), pixels(at + width + 1u));
}

// Where a lane's four taps (ic, ky, kx) lie in the bordered images, from the upper left pixel of a window.
fn tap_offsets(column: u32, columns: u32) -> vec4<u32> {
    let tap = min(column + vec4(0u, 1u, 2u, 3u) * COLUMN_STEP, vec4(columns - 1u));
    let taps = layer.kernel * layer.kernel;
    return tap / taps * bordered_len() + tap % taps / layer.kernel * bordered_width() + tap % layer.kernel;
}
