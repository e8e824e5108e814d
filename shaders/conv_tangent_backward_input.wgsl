// conv_tangent_backward_input.wgsl: tdx = W^T unroute(tdp) + tW^T unroute(dp), or the first product alone.
#import conv
#import rows
#import windows
#import store_window
#workgroup
#import scatter
#end
#subgroup
#import outer
#import tile
#import store_rows
#import unpool
#end

@group(0) @binding(0) var<storage, read> weights: array<Packed>; // (1 + K, OC, K, K, IC16): W and then tW, IC padded
@group(0) @binding(1) var<storage, read> route: array<u32>; // (N, OC, PH, PW)
@group(0) @binding(2) var<storage, read> dp: array<f32>; // (N, OC, PH, PW)
@group(0) @binding(3) var<storage, read> tdp: array<f32>; // (K, N, OC, PH, PW)
@group(0) @binding(4) var<storage, read_write> dx: array<f32>; // tdx (K, N, IC, H, W)

override one_product: bool = false;

#workgroup
override four_directions: bool = false; // of a lane; otherwise it has one

// Four input channels of a window in up to four directions.
struct Sums {
    a: mat4x4<f32>,
    b: mat4x4<f32>,
    c: mat4x4<f32>,
    d: mat4x4<f32>,
}

// Where the adjoints of the lane's directions begin; past the last direction, that one's again.
fn directions_at(direction: u32) -> vec4<u32> {
    let each = layer.samples * layer.out_channels * (layer.height / 2u) * (layer.width / 2u);
    return (layer.first + min(direction + vec4(0u, 1u, 2u, 3u), vec4(layer.directions - 1u))) * each;
}

// Of the lane's directions, or of the one.
fn adjoints_at(tangents: bool, at: vec4<u32>, own: u32) -> vec4<f32> {
    if !tangents { return vec4(dp[own]); }
    if !four_directions { return vec4(tdp[at.x]); }
    return vec4(tdp[at.x], tdp[at.y], tdp[at.z], tdp[at.w]);
}

fn store_adjoints(cell: u32, tangents: bool, own: vec4<f32>) {
    adjoints[cell] = own.x;
    if !four_directions || !tangents { return; }
    adjoints[all_cells + cell] = own.y;
    adjoints[2u * all_cells + cell] = own.z;
    adjoints[3u * all_cells + cell] = own.w;
}

// Adds the staged adjoint's products with the tangent weights of a direction.
fn add_adjoint(sums: mat4x4<f32>, slot: u32, begin: u32, four: u32, lane: u32, place: Place) -> mat4x4<f32> {
    var added = sums;
    stage_taps(slot, begin, four, lane);
    workgroupBarrier();
    for (var channel = 0u; channel < min(staged_channels, layer.out_channels - begin); channel++) {
        for (var cy = 0u; cy < reached(); cy++) {
            let row = channel * staged_cells + row_reached(cy, place);
            for (var cx = 0u; cx < reached(); cx++) {
                added = add_taps(added, taps_reached(row + cx, cy, cx), adjoints[row + cx]);
            }
        }
    }
    workgroupBarrier();
    return added;
}

// A lane has a window of 2x2 input pixels. Of each pooled cell that reaches it, one position has an adjoint, so that four taps
// are wanted and not sixteen; they differ from lane to lane, and four directions share them.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = (layer.base + group.x) * 64u;
    let place = place_of(first, lane);
    let together = select(1u, 4u, four_directions);
    let direction = group.z * together;
    let directions = directions_at(direction);
    var sums = Sums();
    prepare(first, lane);
    for (var begin = 0u; begin < layer.out_channels; begin += staged_channels) {
        stage_taps(0u, begin, group.y, lane);
        stage_cells(true, directions, begin, lane);
        for (var channel = 0u; channel < min(staged_channels, layer.out_channels - begin); channel++) {
            for (var cy = 0u; cy < reached(); cy++) {
                let row = channel * staged_cells + row_reached(cy, place);
                for (var cx = 0u; cx < reached(); cx++) {
                    let own = taps_reached(row + cx, cy, cx);
                    sums.a = add_taps(sums.a, own, adjoints[row + cx]);
                    if four_directions {
                        sums.b = add_taps(sums.b, own, adjoints[all_cells + row + cx]);
                        sums.c = add_taps(sums.c, own, adjoints[2u * all_cells + row + cx]);
                        sums.d = add_taps(sums.d, own, adjoints[3u * all_cells + row + cx]);
                    }
                }
            }
        }
        workgroupBarrier();
    }
    for (var begin = 0u; begin < layer.out_channels && !one_product; begin += staged_channels) {
        stage_cells(false, directions, begin, lane);
        let slot = 1u + direction;
        sums.a = add_adjoint(sums.a, slot, begin, group.y, lane, place);
        if four_directions && direction + 1u < layer.directions {
            sums.b = add_adjoint(sums.b, slot + 1u, begin, group.y, lane, place);
        }
        if four_directions && direction + 2u < layer.directions {
            sums.c = add_adjoint(sums.c, slot + 2u, begin, group.y, lane, place);
        }
        if four_directions && direction + 3u < layer.directions {
            sums.d = add_adjoint(sums.d, slot + 3u, begin, group.y, lane, place);
        }
    }
    if !place.inside { return; }
    store_channels(direction, group.y * 4u, place.item, sums.a);
    if four_directions {
        store_channels(direction + 1u, group.y * 4u, place.item, sums.b);
        store_channels(direction + 2u, group.y * 4u, place.item, sums.c);
        store_channels(direction + 3u, group.y * 4u, place.item, sums.d);
    }
}
#end

#subgroup
// A pooled cell's adjoint, its tangent and its route code.
struct Cell {
    values: vec2<f32>,
    code: u32,
}

fn cell(at: u32, tangents: u32) -> Cell {
    return Cell(vec2(dp[at], tdp[tangents + at]), route[at]);
}

// What of it belongs at the position with this code.
fn at_position(cell: Cell, code: u32) -> vec2<f32> {
    return select(vec2(0.0), cell.values, cell.code == code);
}

#rows weight_rows weights

// Rows are input channels, columns 2x2 neighbouring pixels; the loop over kx walks the adjoint to the left.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let across = windows_across();
    let down = windows_down();
    let first = layer.base + group.x * 64u + lane;
    let items = layer.samples * down * across;
    if past_end(first, lane, items) { return; }
    let item = min(first, items - 1u);
    let cells = (layer.height / 2u) * (layer.width / 2u);
    let direction = layer.first + group.z;
    let tangents = direction * layer.samples * layer.out_channels * cells;
    let y = item / across % down * 2u + kernel() / 2u;
    let x = item % across * 2u + kernel() / 2u;
    let step = (layer.in_channels + ROWS - 1u) / ROWS * ROWS;
    let rows = row_offsets(lane, ROWS, 1u);
    let vector = (1u + group.z) * layer.out_channels * kernel() * kernel() * step;
    var w = group.y * ROWS;
    var sums = Tile();
    for (var oc = 0u; oc < layer.out_channels; oc++) {
        let plane = (item / (across * down) * layer.out_channels + oc) * cells;
        for (var ky = 0u; ky < kernel(); ky++) {
            let upper = plane + row_cell(y - ky);
            let lower = plane + row_cell(y - ky + 1u);
            let upper_bit = row_bit(y - ky);
            let lower_bit = row_bit(y - ky + 1u);
            var upper_cell = cell(upper + column_cell(x + 1u), tangents);
            var lower_cell = cell(lower + column_cell(x + 1u), tangents);
            var bit = column_bit(x + 1u);
            var upper_right = at_position(upper_cell, upper_bit + bit);
            var lower_right = at_position(lower_cell, lower_bit + bit);
            for (var kx = 0u; kx < kernel(); kx++) {
                // A cell has two columns of positions, and the right one comes first.
                if (x - kx) % 2u == 1u {
                    upper_cell = cell(upper + column_cell(x - kx), tangents);
                    lower_cell = cell(lower + column_cell(x - kx), tangents);
                }
                bit = column_bit(x - kx);
                let upper_left = at_position(upper_cell, upper_bit + bit);
                let lower_left = at_position(lower_cell, lower_bit + bit);
                let adjoints = vec4(upper_left.x, upper_right.x, lower_left.x, lower_right.x);
                let tadjoints = vec4(upper_left.y, upper_right.y, lower_left.y, lower_right.y);
                if one_product {
                    sums = add_tile(sums, weight_rows(w, rows), tadjoints);
                } else {
                    sums = add_pair(sums, weight_rows(w, rows), tadjoints, weight_rows(vector + w, rows), adjoints);
                }
                upper_right = upper_left;
                lower_right = lower_left;
                w += step;
            }
        }
    }
    if first < items { store_rows(direction, group.y * ROWS, item, sums); }
}
#end
