// conv_tangent_backward_weights.wgsl: partials of tdW = unroute(tdp) x^T + unroute(dp) tx^T, or the first product alone, and
// tdb = sum unroute(tdp).
#import conv
#import outer
#workgroup
#import quads
#end
#subgroup
#import rows
#import tile
#import store_rows
#import store_columns
#import routed
#end

#workgroup
@group(0) @binding(0) var<storage, read> images: array<vec4<f32>>; // (1 + K, N, H + K - 1, W + K - 1, Q): x, then tx
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

// The live cells among 64 of the workgroup's output channel, one after the other: where the routed pixel lies, in quads; the
// adjoint; its tangents in the lane's directions. The rest are zeros. At the end four_tangents has four sums of every lane.
var<workgroup> routed: array<u32, 64>;
var<workgroup> adjoints: array<f32, 64>;
var<workgroup> tangents: array<f32, 64>;
var<workgroup> four_tangents: array<vec4<f32>, 256>;
// A bit for each of the 64.
var<workgroup> live_cells: array<atomic<u32>, 2>;

// Cells that a lane takes at a time, so that their pixels are loaded together.
const TOGETHER: u32 = 4u;

// Sums of four quads of columns, a row for each direction.
struct Sums {
    a: mat4x4<f32>,
    b: mat4x4<f32>,
    c: mat4x4<f32>,
    d: mat4x4<f32>,
}

// Quads of columns (ky, kx, q).
fn columns() -> u32 {
    return kernel() * steps_across() * quads();
}

// Where a quad of columns lies from a pixel; past the last step, that one's again.
fn reach_of(column: u32) -> u32 {
    let step = min(column, columns() - 1u) / quads();
    return (step / steps_across() * bordered_width() + tap_of(step % steps_across())) * quads() + column % quads();
}

// Lanes that share the columns, four quads each; if there are more than they need, others take other cells.
fn lanes() -> u32 {
    var lanes = 1u;
    while lanes < 64u && 4u * lanes < columns() { lanes *= 2u; }
    return lanes;
}

fn tangents_at(at: vec4<u32>) -> vec4<f32> {
    if four_directions { return vec4(tdp[at.x], tdp[at.y], tdp[at.z], tdp[at.w]); }
    return vec4(tdp[at.x], 0.0, 0.0, 0.0);
}

fn add_tangents(sums: mat4x4<f32>, cell: u32, columns: vec4<f32>) -> mat4x4<f32> {
    if four_directions { return add_outer(sums, four_tangents[cell], columns); }
    return mat4x4<f32>(fma(vec4(tangents[cell]), columns, sums[0]), sums[1], sums[2], sums[3]);
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

fn store(part: u32, oc: u32, column: u32, within: u32, sum: f32) {
    let step = column / quads();
    let kx = tap_of(step % steps_across()) + select(0u, within, few_channels);
    let ic = select(column % quads() * 4u + within, column % quads(), few_channels);
    if kx >= kernel() || ic >= layer.in_channels { return; }
    let taps = kernel() * kernel();
    let each = layer.out_channels * (layer.in_channels * taps + 1u);
    let tap = step / steps_across() * kernel() + kx;
    partials[part * each + (oc * layer.in_channels + ic) * taps + tap] = sum;
}

fn store_quad(part: u32, oc: u32, column: u32, sums: vec4<f32>) {
    if column >= columns() { return; }
    store(part, oc, column, 0u, sums.x);
    store(part, oc, column, 1u, sums.y);
    store(part, oc, column, 2u, sums.z);
    store(part, oc, column, 3u, sums.w);
}

// Stores a direction's sums of the lane's columns; where lanes have the same, of them all.
fn store_columns(part: u32, oc: u32, lane: u32, own: vec4<u32>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) {
    if lanes() == 64u {
        store_quad(part, oc, own.x, a);
        store_quad(part, oc, own.y, b);
        store_quad(part, oc, own.z, c);
        store_quad(part, oc, own.w, d);
        return;
    }
    workgroupBarrier();
    four_tangents[lane] = a;
    four_tangents[lane + 64u] = b;
    four_tangents[lane + 128u] = c;
    four_tangents[lane + 192u] = d;
    workgroupBarrier();
    for (var column = lane; column < 4u * lanes(); column += 64u) {
        let first = column / lanes() * 64u + column % lanes();
        var sum = vec4(0.0);
        for (var other = 0u; other < 64u; other += lanes()) { sum += four_tangents[first + other]; }
        store_quad(part, oc, column, sum);
    }
}

// A workgroup has an output channel, a lane quads of its columns; z is the pair of slice and group of directions. At the
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
    let inputs = (1u + directions) * layer.samples * bordered_len() * quads();
    let lanes = lanes();
    let parts = 64u / lanes;
    let column = group.x * 256u + lane % lanes;
    let own = column + vec4(0u, 1u, 2u, 3u) * lanes;
    let reach = vec4(reach_of(own.x), reach_of(own.y), reach_of(own.z), reach_of(own.w));
    // One direction's images are reached from the pixel too, which spares an addition for each load.
    let reach_images = reach + select(inputs.x, 0u, four_directions);
    let more = select(vec4(0u), inputs, four_directions);
    var sums = Sums();

    let begin = slice * layer.slice * pw;
    let end = min((slice + 1u) * layer.slice, layer.samples * ph) * pw;
    var live = vec4(0.0);
    if lane < 2u { atomicStore(&live_cells[lane], 0u); }
    workgroupBarrier();
    for (var first = begin; first < end; first += 64u) {
        let cell = min(first + lane, end - 1u);
        let n = cell / (ph * pw);
        let at = (n * layer.out_channels + group.y) * ph * pw + cell % (ph * pw);
        let code = route[at];
        let y = 2u * (cell / pw % ph) + code / 2u;
        let pixel = n * bordered_len() + y * bordered_width() + 2u * (cell % pw) + code % 2u;
        let is_live = code < DEAD && first + lane < end;
        let bit = lane % 32u;
        if is_live { atomicOr(&live_cells[lane / 32u], 1u << bit); }
        workgroupBarrier();
        let low = atomicLoad(&live_cells[0]);
        let high = atomicLoad(&live_cells[1]);
        let count = countOneBits(low) + countOneBits(high);
        let own_half = select(low, high, lane >= 32u);
        let before = countOneBits(own_half & ((1u << bit) - 1u)) + select(0u, countOneBits(low), lane >= 32u);
        if lane >= count {
            routed[lane] = 0u;
            adjoints[lane] = 0.0;
            tangents[lane] = 0.0;
            if four_directions { four_tangents[lane] = vec4(0.0); }
        }
        if is_live {
            let tangent = tangents_at(outputs + at);
            live += tangent;
            routed[before] = pixel * quads();
            if four_directions { four_tangents[before] = tangent; } else { tangents[before] = tangent.x; }
            if !one_product { adjoints[before] = dp[at]; }
        }
        workgroupBarrier();
        if lane < 2u { atomicStore(&live_cells[lane], 0u); }
        for (var cells = lane / lanes; cells * TOGETHER < count; cells += parts) {
            for (var i = 0u; i < TOGETHER; i++) {
                let cell = cells * TOGETHER + i;
                let at = routed[cell] + reach;
                let pixels = mat4x4<f32>(images[at.x], images[at.y], images[at.z], images[at.w]);
                sums.a = add_tangents(sums.a, cell, pixels[0]);
                sums.b = add_tangents(sums.b, cell, pixels[1]);
                sums.c = add_tangents(sums.c, cell, pixels[2]);
                sums.d = add_tangents(sums.d, cell, pixels[3]);
            }
            if one_product { continue; }
            for (var i = 0u; i < TOGETHER; i++) {
                let cell = cells * TOGETHER + i;
                let start = routed[cell] + reach_images;
                sums.a = add_images(sums.a, adjoints[cell], more + start.x);
                sums.b = add_images(sums.b, adjoints[cell], more + start.y);
                sums.c = add_images(sums.c, adjoints[cell], more + start.z);
                sums.d = add_images(sums.d, adjoints[cell], more + start.w);
            }
        }
        workgroupBarrier();
    }

    let part = slice * layer.directions + direction;
    store_columns(part, group.y, lane, own, sums.a[0], sums.b[0], sums.c[0], sums.d[0]);
    if four_directions && direction + 1u < layer.directions {
        store_columns(part + 1u, group.y, lane, own, sums.a[1], sums.b[1], sums.c[1], sums.d[1]);
    }
    if four_directions && direction + 2u < layer.directions {
        store_columns(part + 2u, group.y, lane, own, sums.a[2], sums.b[2], sums.c[2], sums.d[2]);
    }
    if four_directions && direction + 3u < layer.directions {
        store_columns(part + 3u, group.y, lane, own, sums.a[3], sums.b[3], sums.c[3], sums.d[3]);
    }
    workgroupBarrier();
    four_tangents[lane] = live;
    workgroupBarrier();
    if group.x == 0u && lane < together && direction + lane < layer.directions {
        var bias = 0.0;
        for (var i = 0u; i < 64u; i++) { bias += four_tangents[i][lane]; }
        store_bias(part + lane, group.y, bias);
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
