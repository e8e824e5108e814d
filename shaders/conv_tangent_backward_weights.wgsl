// conv_tangent_backward_weights.wgsl: partials of tdW = unroute(tdp) x^T + unroute(dp) tx^T and tdb = sum unroute(tdp).
#import conv
#import outer
#import tile
#import store_tile

@group(0) @binding(0) var<storage, read> images: array<f32>; // (1 + K, N, IC, H + 2 (K/2), W + 2 (K/2)): x, then tx, bordered
@group(0) @binding(1) var<storage, read> route: array<u32>; // (N, OC, PH, PW)
@group(0) @binding(2) var<storage, read> dp: array<f32>; // (N, OC, PH, PW)
@group(0) @binding(3) var<storage, read> tdp: array<f32>; // (K, N, OC, PH, PW)
@group(0) @binding(4) var<storage, read_write> partials: array<f32>; // (slices, K, OC * IC * K * K + OC)

override first_layer: bool = false;

// `direction` is the pair of slice and direction here.
fn store(direction: u32, oc: u32, column: u32, sum: f32) {
    let columns = layer.in_channels * layer.kernel * layer.kernel;
    if oc >= layer.out_channels || column >= columns { return; }
    partials[direction * layer.out_channels * (columns + 1u) + oc * columns + column] = sum;
}

fn store_bias(pair: u32, oc: u32, sum: f32) {
    if oc >= layer.out_channels { return; }
    let weights = layer.out_channels * layer.in_channels * layer.kernel * layer.kernel;
    partials[pair * (weights + layer.out_channels) + weights + oc] = sum;
}

fn codes(at: vec4<u32>) -> vec4<u32> {
    return vec4(route[at.x], route[at.y], route[at.z], route[at.w]);
}

fn adjoints(at: vec4<u32>) -> vec4<f32> {
    return vec4(dp[at.x], dp[at.y], dp[at.z], dp[at.w]);
}

fn tadjoints(at: vec4<u32>) -> vec4<f32> {
    return vec4(tdp[at.x], tdp[at.y], tdp[at.z], tdp[at.w]);
}

fn pixels(at: vec4<u32>) -> vec4<f32> {
    return vec4(images[at.x], images[at.y], images[at.z], images[at.w]);
}

// What of the adjoints belongs at this position of the windows.
fn routed(adjoints: vec4<f32>, codes: vec4<u32>, position: u32) -> vec4<f32> {
    return select(vec4(0.0), adjoints, codes == vec4(position));
}

// Rows are output channels, columns taps (ic, ky, kx); z the pair of slice and direction. All lanes walk the same pooled cells, so routes and
// adjoints are loaded once for a workgroup; at each of the four positions of a window the channels that were not routed
// there have a zero.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let ph = layer.height / 2u;
    let pw = layer.width / 2u;
    let columns = layer.in_channels * layer.kernel * layer.kernel;
    let column = group.x * COLUMNS + lane;
    if column >= columns { return; }
    let width = bordered_width();
    let tap = min(column + vec4(0u, 64u, 128u, 192u), vec4(columns - 1u));
    let taps = layer.kernel * layer.kernel;
    let reach = tap / taps * bordered_len() + tap % taps / layer.kernel * width + tap % layer.kernel;

    let row = group.y * ROWS;
    let upper = min(row + vec4(0u, 1u, 2u, 3u), vec4(layer.out_channels - 1u)) * ph * pw;
    let lower = min(row + vec4(4u, 5u, 6u, 7u), vec4(layer.out_channels - 1u)) * ph * pw;
    let pair = layer.base + group.z;
    let slice = pair / layer.directions;
    let direction = pair % layer.directions;
    let outputs = (layer.first + direction) * layer.samples * layer.out_channels * ph * pw;
    let inputs = (1u + direction) * layer.samples * layer.in_channels * bordered_len();
    let begin = slice * layer.slice;
    let end = min(begin + layer.slice, layer.samples * ph);
    var sums = Tile();
    var upper_bias = vec4(0.0);
    var lower_bias = vec4(0.0);
    for (var cells = begin; cells < end; cells++) {
        let n = cells / ph;
        let py = cells % ph;
        for (var px = 0u; px < pw; px++) {
            let cell = (n * layer.out_channels * ph + py) * pw + px;
            let uc = codes(cell + upper);
            let lc = codes(cell + lower);
            let utd = tadjoints(outputs + cell + upper);
            let ltd = tadjoints(outputs + cell + lower);
            upper_bias += select(vec4(0.0), utd, uc < vec4(DEAD));
            lower_bias += select(vec4(0.0), ltd, lc < vec4(DEAD));
            let at = n * layer.in_channels * bordered_len() + 2u * (py * width + px) + reach;
            sums = add_tile(sums, routed(utd, uc, 0u), routed(ltd, lc, 0u), pixels(at));
            sums = add_tile(sums, routed(utd, uc, 1u), routed(ltd, lc, 1u), pixels(at + 1u));
            sums = add_tile(sums, routed(utd, uc, 2u), routed(ltd, lc, 2u), pixels(at + width));
            sums = add_tile(sums, routed(utd, uc, 3u), routed(ltd, lc, 3u), pixels(at + width + 1u));
            if !first_layer {
                let ud = adjoints(cell + upper);
                let ld = adjoints(cell + lower);
                let t = inputs + at;
                sums = add_tile(sums, routed(ud, uc, 0u), routed(ld, lc, 0u), pixels(t));
                sums = add_tile(sums, routed(ud, uc, 1u), routed(ld, lc, 1u), pixels(t + 1u));
                sums = add_tile(sums, routed(ud, uc, 2u), routed(ld, lc, 2u), pixels(t + width));
                sums = add_tile(sums, routed(ud, uc, 3u), routed(ld, lc, 3u), pixels(t + width + 1u));
            }
        }
    }
    store_tile(pair, row, column, sums);
    if column == 0u {
        store_bias(pair, row, upper_bias.x);
        store_bias(pair, row + 1u, upper_bias.y);
        store_bias(pair, row + 2u, upper_bias.z);
        store_bias(pair, row + 3u, upper_bias.w);
        store_bias(pair, row + 4u, lower_bias.x);
        store_bias(pair, row + 5u, lower_bias.y);
        store_bias(pair, row + 6u, lower_bias.z);
        store_bias(pair, row + 7u, lower_bias.w);
    }
}
