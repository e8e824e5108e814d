// conv_tangent_backward_input.wgsl: tdx = W^T unroute(tdp) + tW^T unroute(dp), or the first product alone.
#import conv
#import outer
#import rows
#import tile
#import store_rows
#import unpool
#import windows

@group(0) @binding(0) var<storage, read> weights: array<Packed>; // (1 + K, OC, K, K, IC16): W and then tW, IC padded
@group(0) @binding(1) var<storage, read> route: array<u32>; // (N, OC, PH, PW)
@group(0) @binding(2) var<storage, read> dp: array<f32>; // (N, OC, PH, PW)
@group(0) @binding(3) var<storage, read> tdp: array<f32>; // (K, N, OC, PH, PW)
@group(0) @binding(4) var<storage, read_write> dx: array<f32>; // tdx (K, N, IC, H, W)

override one_product: bool = false;

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
    let y = item / across % down * 2u + layer.kernel / 2u;
    let x = item % across * 2u + layer.kernel / 2u;
    let step = (layer.in_channels + ROWS - 1u) / ROWS * ROWS;
    let rows = row_offsets(lane, ROWS, 1u);
    let vector = (1u + group.z) * layer.out_channels * layer.kernel * layer.kernel * step;
    var w = group.y * ROWS;
    var sums = Tile();
    for (var oc = 0u; oc < layer.out_channels; oc++) {
        let plane = (item / (across * down) * layer.out_channels + oc) * cells;
        for (var ky = 0u; ky < layer.kernel; ky++) {
            let upper = plane + row_cell(y - ky);
            let lower = plane + row_cell(y - ky + 1u);
            let upper_bit = row_bit(y - ky);
            let lower_bit = row_bit(y - ky + 1u);
            var upper_cell = cell(upper + column_cell(x + 1u), tangents);
            var lower_cell = cell(lower + column_cell(x + 1u), tangents);
            var bit = column_bit(x + 1u);
            var upper_right = at_position(upper_cell, upper_bit + bit);
            var lower_right = at_position(lower_cell, lower_bit + bit);
            for (var kx = 0u; kx < layer.kernel; kx++) {
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
