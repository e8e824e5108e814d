// conv_backward_weights.wgsl: partials of dW = unroute(dp) x^T and db = sum unroute(dp), one per slice of pooled rows.
#import conv
#import outer
#import rows
#import routed
#import tile
#import store_tile

@group(0) @binding(0) var<storage, read> images: array<f32>; // (N, IC, H + K - 1, W + K - 1): x with a border
@group(0) @binding(1) var<storage, read> route: array<u32>; // (N, OC, PH, PW)
@group(0) @binding(2) var<storage, read> dp: array<f32>; // (N, OC, PH, PW)
@group(0) @binding(3) var<storage, read_write> partials: array<f32>; // (slices, OC * IC * K * K + OC)

// `direction` is the slice here.
fn store(direction: u32, oc: u32, column: u32, sum: f32) {
    let columns = layer.in_channels * layer.kernel * layer.kernel;
    if oc >= layer.out_channels || column >= columns { return; }
    partials[direction * layer.out_channels * (columns + 1u) + oc * columns + column] = sum;
}

fn store_bias(slice: u32, oc: u32, sums: vec4<f32>) {
    store_one_bias(slice, oc, sums.x);
    store_one_bias(slice, oc + 1u, sums.y);
    store_one_bias(slice, oc + 2u, sums.z);
    store_one_bias(slice, oc + 3u, sums.w);
}

fn store_one_bias(slice: u32, oc: u32, sum: f32) {
    if oc >= layer.out_channels { return; }
    let weights = layer.out_channels * layer.in_channels * layer.kernel * layer.kernel;
    partials[slice * (weights + layer.out_channels) + weights + oc] = sum;
}

#row_adjoints adjoints dp route

fn pixels(at: vec4<u32>) -> vec4<f32> {
    return vec4(images[at.x], images[at.y], images[at.z], images[at.w]);
}

// Rows are output channels, columns taps (ic, ky, kx); z is the slice. All lanes walk the same pooled cells, so
// routes and adjoints are loaded once for a workgroup; at each of the four positions of a window the channels that were not
// routed there have a zero.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let ph = layer.height / 2u;
    let pw = layer.width / 2u;
    let columns = layer.in_channels * layer.kernel * layer.kernel;
    // A first layer has few taps: then they are packed into few lanes, whole subgroups of eight, and the others stop.
    let step = min((columns + 31u) / 32u * 8u, 64u);
    let column = group.x * COLUMNS + lane;
    if lane >= step || past_end(column, lane, columns) { return; }
    let width = bordered_width();
    let tap = min(column + vec4(0u, 1u, 2u, 3u) * step, vec4(columns - 1u));
    let taps = layer.kernel * layer.kernel;
    let reach = tap / taps * bordered_len() + tap % taps / layer.kernel * width + tap % layer.kernel;

    let row = group.y * ROWS;
    let rows = row_offsets(lane, layer.out_channels - row, ph * pw);
    let slice = layer.base + group.z;
    let begin = slice * layer.slice;
    let end = min(begin + layer.slice, layer.samples * ph);
    var sums = Tile();
    var live = RowSums();
    for (var cells = begin; cells < end; cells++) {
        let n = cells / ph;
        let py = cells % ph;
        for (var px = 0u; px < pw; px++) {
            let cell = ((n * layer.out_channels + row) * ph + py) * pw + px;
            let d = adjoints(cell, cell, rows);
            live = add_live(live, d);
            let at = n * layer.in_channels * bordered_len() + 2u * (py * width + px) + reach;
            sums = add_tile(sums, routed(d, 0u), pixels(at));
            sums = add_tile(sums, routed(d, 1u), pixels(at + 1u));
            sums = add_tile(sums, routed(d, 2u), pixels(at + width));
            sums = add_tile(sums, routed(d, 3u), pixels(at + width + 1u));
        }
    }
    let bias = row_sums(live);
    store_tile(slice, row, column, step, sums);
    if column == 0u {
        store_bias(slice, row, bias.a);
        store_bias(slice, row + 4u, bias.b);
        store_bias(slice, row + 8u, bias.c);
        store_bias(slice, row + 12u, bias.d);
    }
}
