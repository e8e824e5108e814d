// conv_backward_input.wgsl: dx = W^T unroute(dp).
#import conv
#import outer
#import rows
#import tile
#import store_rows
#import unpool
#import windows

@group(0) @binding(0) var<storage, read> weights: array<Packed>; // (OC, K, K, IC16): IC padded to a multiple of 16
@group(0) @binding(1) var<storage, read> route: array<u32>; // (N, OC, PH, PW)
@group(0) @binding(2) var<storage, read> dp: array<f32>; // (N, OC, PH, PW)
@group(0) @binding(3) var<storage, read_write> dx: array<f32>; // (N, IC, H, W)

// A pooled cell's adjoint and its route code.
struct Cell {
    value: f32,
    code: u32,
}

fn cell(at: u32) -> Cell {
    return Cell(dp[at], route[at]);
}

// What of it belongs at the position with this code.
fn at_position(cell: Cell, code: u32) -> f32 {
    return select(0.0, cell.value, cell.code == code);
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
    let y = item / across % down * 2u + layer.kernel / 2u;
    let x = item % across * 2u + layer.kernel / 2u;
    let step = (layer.in_channels + ROWS - 1u) / ROWS * ROWS;
    let rows = row_offsets(lane, ROWS, 1u);
    var w = group.y * ROWS;
    var sums = Tile();
    for (var oc = 0u; oc < layer.out_channels; oc++) {
        let plane = (item / (across * down) * layer.out_channels + oc) * cells;
        for (var ky = 0u; ky < layer.kernel; ky++) {
            let upper = plane + row_cell(y - ky);
            let lower = plane + row_cell(y - ky + 1u);
            let upper_bit = row_bit(y - ky);
            let lower_bit = row_bit(y - ky + 1u);
            var upper_cell = cell(upper + column_cell(x + 1u));
            var lower_cell = cell(lower + column_cell(x + 1u));
            var bit = column_bit(x + 1u);
            var right = vec2(at_position(upper_cell, upper_bit + bit), at_position(lower_cell, lower_bit + bit));
            for (var kx = 0u; kx < layer.kernel; kx++) {
                // A cell has two columns of positions, and the right one comes first.
                if (x - kx) % 2u == 1u {
                    upper_cell = cell(upper + column_cell(x - kx));
                    lower_cell = cell(lower + column_cell(x - kx));
                }
                bit = column_bit(x - kx);
                let left = vec2(at_position(upper_cell, upper_bit + bit), at_position(lower_cell, lower_bit + bit));
                sums = add_tile(sums, weight_rows(w, rows), vec4(left.x, right.x, left.y, right.y));
                right = left;
                w += step;
            }
        }
    }
    if first < items { store_rows(0u, group.y * ROWS, item, sums); }
}
