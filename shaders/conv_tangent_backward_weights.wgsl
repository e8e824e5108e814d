// conv_tangent_backward_weights.wgsl: partials of tdW = unroute(tdp) x^T + unroute(dp) tx^T, or the first product alone, and
// tdb = sum unroute(tdp).
#import conv
#import outer
#subgroup
#import rows
#import tile
#import store_rows
#import store_columns
#import routed
#end

#workgroup
@group(0) @binding(0) var<storage, read> images: array<vec4<f32>>; // (1 + K, N, H + K - 1, W + K - 1, IC4): x, then tx, bordered
#end
#subgroup
@group(0) @binding(0) var<storage, read> images: array<f32>; // (1 + K, N, IC, H + K - 1, W + K - 1): x, then tx, bordered
#end
@group(0) @binding(1) var<storage, read> route: array<u32>; // (N, OC, PH, PW)
@group(0) @binding(2) var<storage, read> dp: array<f32>; // (N, OC, PH, PW)
@group(0) @binding(3) var<storage, read> tdp: array<f32>; // (K, N, OC, PH, PW)
@group(0) @binding(4) var<storage, read_write> partials: array<f32>; // (slices, K, OC * IC * K * K + OC)

override one_product: bool = false;

fn store_bias(part: u32, oc: u32, sum: f32) {
    if oc >= layer.out_channels { return; }
    let weights = layer.out_channels * layer.in_channels * kernel() * kernel();
    partials[part * (weights + layer.out_channels) + weights + oc] = sum;
}

#workgroup
override four_directions: bool = false; // of a lane; otherwise it has one
override many_columns: bool = false;    // a lane has four times four of them; otherwise four

// Of a cell of the workgroup's output channel each: where its routed pixel lies, in vectors of four input channels, or
// DEAD_CELL; the adjoint; its tangents in the lane's directions.
const DEAD_CELL: u32 = 0xffffffffu;
var<workgroup> routed: array<u32, 64>;
var<workgroup> adjoints: array<f32, 64>;
var<workgroup> tangents: array<vec4<f32>, 64>;

// Sums of four times four columns, a row for each direction.
struct Sums {
    a: mat4x4<f32>,
    b: mat4x4<f32>,
    c: mat4x4<f32>,
    d: mat4x4<f32>,
}

fn fours() -> u32 {
    return (layer.in_channels + 3u) / 4u;
}

// Where the four columns (ky, kx, ic4) lie from a pixel; past the last ones, those.
fn reach_of(four: u32) -> u32 {
    let tap = min(four / fours(), kernel() * kernel() - 1u);
    return (tap / kernel() * bordered_width() + tap % kernel()) * fours() + four % fours();
}

// Where half of the lanes have all columns, each half takes every other cell, and has partial sums of its own.
fn halves() -> u32 {
    return select(1u, 2u, !many_columns && fours() * kernel() * kernel() <= 32u);
}

fn four_tangents(at: vec4<u32>) -> vec4<f32> {
    if four_directions { return vec4(tdp[at.x], tdp[at.y], tdp[at.z], tdp[at.w]); }
    return vec4(tdp[at.x], 0.0, 0.0, 0.0);
}

fn add_tangents(sums: mat4x4<f32>, tangents: vec4<f32>, columns: vec4<f32>) -> mat4x4<f32> {
    if four_directions { return add_outer(sums, tangents, columns); }
    return mat4x4<f32>(fma(vec4(tangents.x), columns, sums[0]), sums[1], sums[2], sums[3]);
}

// The adjoint's products with the images of each direction.
fn add_images(sums: mat4x4<f32>, adjoint: f32, at: vec4<u32>) -> mat4x4<f32> {
    let first = fma(vec4(adjoint), images[at.x], sums[0]);
    if !four_directions { return mat4x4<f32>(first, sums[1], sums[2], sums[3]); }
    return mat4x4<f32>(
        first,
        fma(vec4(adjoint), images[at.y], sums[1]),
        fma(vec4(adjoint), images[at.z], sums[2]),
        fma(vec4(adjoint), images[at.w], sums[3]),
    );
}

fn store_four(part: u32, oc: u32, four: u32, sums: vec4<f32>) {
    let taps = kernel() * kernel();
    let tap = four / fours();
    let ic = four % fours() * 4u;
    if tap >= taps { return; }
    store(part, oc, ic, tap, sums.x);
    store(part, oc, ic + 1u, tap, sums.y);
    store(part, oc, ic + 2u, tap, sums.z);
    store(part, oc, ic + 3u, tap, sums.w);
}

fn store(part: u32, oc: u32, ic: u32, tap: u32, sum: f32) {
    if ic >= layer.in_channels { return; }
    let taps = kernel() * kernel();
    let each = layer.out_channels * (layer.in_channels * taps + 1u);
    partials[part * each + (oc * layer.in_channels + ic) * taps + tap] = sum;
}

fn store_directions(part: u32, direction: u32, oc: u32, four: u32, sums: mat4x4<f32>) {
    store_four(part, oc, four, sums[0]);
    if four_directions && direction + 1u < layer.directions { store_four(part + 1u, oc, four, sums[1]); }
    if four_directions && direction + 2u < layer.directions { store_four(part + 2u, oc, four, sums[2]); }
    if four_directions && direction + 3u < layer.directions { store_four(part + 3u, oc, four, sums[3]); }
}

// A workgroup has an output channel, a lane columns (ky, kx, ic) of it; z is the pair of slice and group of directions. At the
// one position where a cell was routed, its adjoint meets the pixels at all taps; dead cells are passed by.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let ph = layer.height / 2u;
    let pw = layer.width / 2u;
    let together = select(1u, 4u, four_directions);
    let groups = (layer.directions + together - 1u) / together;
    let direction = (layer.base + group.z) % groups * together;
    let slice = (layer.base + group.z) / groups;
    let directions = min(direction + vec4(0u, 1u, 2u, 3u), vec4(layer.directions - 1u));
    let outputs = (layer.first + directions) * layer.samples * layer.out_channels * ph * pw;
    let inputs = (1u + directions) * layer.samples * bordered_len() * fours();
    let parts = halves();
    let half = lane / (64u / parts);
    let four = group.x * select(64u, 256u, many_columns) + lane % (64u / parts);
    let reach = vec4(reach_of(four), reach_of(four + 64u), reach_of(four + 128u), reach_of(four + 192u));
    var sums = Sums();

    let begin = slice * layer.slice * pw;
    let end = min((slice + 1u) * layer.slice, layer.samples * ph) * pw;
    var live = vec4(0.0);
    for (var first = begin; first < end; first += 64u) {
        let cell = min(first + lane, end - 1u);
        let n = cell / (ph * pw);
        let at = (n * layer.out_channels + group.y) * ph * pw + cell % (ph * pw);
        let code = route[at];
        let y = 2u * (cell / pw % ph) + code / 2u;
        let pixel = n * bordered_len() + y * bordered_width() + 2u * (cell % pw) + code % 2u;
        let is_live = code < DEAD && first + lane < end;
        let tangent = select(vec4(0.0), four_tangents(outputs + at), is_live);
        live += tangent;
        routed[lane] = select(DEAD_CELL, pixel * fours(), is_live);
        tangents[lane] = tangent;
        if !one_product { adjoints[lane] = dp[at]; }
        workgroupBarrier();
        for (var i = half; i < min(64u, end - first); i += parts) {
            let pixel_at = routed[i];
            if pixel_at == DEAD_CELL { continue; }
            let at = pixel_at + reach;
            sums.a = add_tangents(sums.a, tangents[i], images[at.x]);
            if many_columns {
                sums.b = add_tangents(sums.b, tangents[i], images[at.y]);
                sums.c = add_tangents(sums.c, tangents[i], images[at.z]);
                sums.d = add_tangents(sums.d, tangents[i], images[at.w]);
            }
            if one_product { continue; }
            sums.a = add_images(sums.a, adjoints[i], inputs + at.x);
            if many_columns {
                sums.b = add_images(sums.b, adjoints[i], inputs + at.y);
                sums.c = add_images(sums.c, adjoints[i], inputs + at.z);
                sums.d = add_images(sums.d, adjoints[i], inputs + at.w);
            }
        }
        workgroupBarrier();
    }

    let part = (slice * parts + half) * layer.directions + direction;
    store_directions(part, direction, group.y, four, sums.a);
    if many_columns {
        store_directions(part, direction, group.y, four + 64u, sums.b);
        store_directions(part, direction, group.y, four + 128u, sums.c);
        store_directions(part, direction, group.y, four + 192u, sums.d);
    }
    if group.x > 0u { return; }
    tangents[lane] = live;
    workgroupBarrier();
    let own = lane % (64u / parts);
    if own < together && direction + own < layer.directions {
        // By the first half of the lanes for all.
        var bias = 0.0;
        for (var i = 0u; half == 0u && i < 64u; i++) { bias += tangents[i][own]; }
        store_bias(part + own, group.y, bias);
    }
}
#end

#subgroup
#row_adjoints adjoints dp route
#row_adjoints tangent_adjoints tdp route

fn store(part: u32, oc: u32, column: u32, sum: f32) {
    let columns = layer.in_channels * kernel() * kernel();
    if oc >= layer.out_channels || column >= columns { return; }
    partials[part * layer.out_channels * (columns + 1u) + oc * columns + column] = sum;
}

fn store_biases(part: u32, oc: u32, sums: Rows) {
    store_four_biases(part, oc, sums.a);
    store_four_biases(part, oc + 4u, sums.b);
    store_four_biases(part, oc + 8u, sums.c);
    store_four_biases(part, oc + 12u, sums.d);
}

fn store_four_biases(part: u32, oc: u32, sums: vec4<f32>) {
    store_bias(part, oc, sums.x);
    store_bias(part, oc + 1u, sums.y);
    store_bias(part, oc + 2u, sums.z);
    store_bias(part, oc + 3u, sums.w);
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
    let taps = kernel() * kernel();
    return tap / taps * bordered_len() + tap % taps / kernel() * bordered_width() + tap % kernel();
}

// Rows are output channels, columns taps (ic, ky, kx); z is the pair of slice and direction. All lanes walk the same cells, so
// routes and adjoints are loaded once for a workgroup; at each of the four positions of a window the channels that were not
// routed there have a zero.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let ph = layer.height / 2u;
    let pw = layer.width / 2u;
    let columns = layer.in_channels * kernel() * kernel();
    let column = first_column(group.x, lane);
    if past_end(column, lane, columns) { return; }
    let width = bordered_width();
    let reach = tap_offsets(column, columns);

    let row = first_row(group.y, lane);
    let pair = layer.base + group.z;
    let slice = pair / layer.directions;
    let direction = pair % layer.directions;
    let outputs = (layer.first + direction) * layer.samples * layer.out_channels * ph * pw;
    let inputs = (1u + direction) * layer.samples * layer.in_channels * bordered_len();
    let begin = slice * layer.slice;
    let end = min(begin + layer.slice, layer.samples * ph);
    var sums = Tile();
    let rows = row_offsets(lane, layer.out_channels - row, ph * pw);
    var live = RowSums();
    for (var cells = begin; cells < end; cells++) {
        let n = cells / ph;
        let py = cells % ph;
        let cell = ((n * layer.out_channels + row) * ph + py) * pw;
        let at = n * layer.in_channels * bordered_len() + 2u * py * width + reach;
        for (var px = 0u; px < pw; px++) {
            let td = tangent_adjoints(outputs + cell + px, cell + px, rows);
            live = add_live(live, td);
            sums = add_window(sums, td, window_pixels(at + 2u * px, width));
        }
        if one_product { continue; }
        for (var px = 0u; px < pw; px++) {
            let d = adjoints(cell + px, cell + px, rows);
            sums = add_window(sums, d, window_pixels(inputs + at + 2u * px, width));
        }
    }
    // By all lanes, which may hand each other their rows.
    let biases = row_sums(live);
    if column == 0u { store_biases(pair, row, biases); }
    store_rows(pair, row, column, sums);
}
#end
