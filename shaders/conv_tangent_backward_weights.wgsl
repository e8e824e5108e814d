// conv_tangent_backward_weights.wgsl: partials of tdW = unroute(tdp) x^T + unroute(dp) tx^T, or the first product alone, and
// tdb = sum unroute(tdp).
#import conv
#import outer
#import rows
#import tile
#import store_rows
#import store_columns
#import weight_partials
#workgroup
#import panels
#import cells
#end
#subgroup
#import routed
#end

@group(0) @binding(0) var<storage, read> images: array<f32>; // (1 + K, N, IC, H + K - 1, W + K - 1): x, then tx, bordered
@group(0) @binding(1) var<storage, read> route: array<u32>; // (N, OC, PH, PW)
@group(0) @binding(2) var<storage, read> dp: array<f32>; // (N, OC, PH, PW)
@group(0) @binding(3) var<storage, read> tdp: array<f32>; // (K, N, OC, PH, PW)
@group(0) @binding(4) var<storage, read_write> partials: array<f32>; // (slices, K, OC * IC * K * K + OC)

override one_product: bool = false;

#workgroup
#cells stage_adjoints dp
#cells stage_tangent_adjoints tdp
#end

#subgroup
#row_adjoints adjoints dp route
#row_adjoints tangent_adjoints tdp route
#end

// Rows are output channels, columns taps (ic, ky, kx); z is the pair of slice and direction. All lanes walk the same cells, so
// routes and adjoints are loaded once for a workgroup; at each of the four positions of a window the channels that were not
// routed there have a zero.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let ph = layer.height / 2u;
    let pw = layer.width / 2u;
    let columns = layer.in_channels * layer.kernel * layer.kernel;
    let column = first_column(group.x, lane);
#subgroup
    if past_end(column, lane, columns) { return; }
#end
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
#workgroup
    let tile_row = first_row(group.y, 0u);
    var live = 0.0;
    for (var cell = begin * pw; cell < end * pw; cell += QUADS) {
        let cells = Cells(cell, end * pw, tile_row);
        stage_corners(cells, lane);
        stage_tangent_adjoints(outputs, cells, lane);
        workgroupBarrier();
        live = add_row(live, lane);
        sums = add_cells(sums, 0u, reach, lane);
        workgroupBarrier();
    }
    for (var cell = begin * pw; !one_product && cell < end * pw; cell += QUADS) {
        let cells = Cells(cell, end * pw, tile_row);
        stage_corners(cells, lane);
        stage_adjoints(0u, cells, lane);
        workgroupBarrier();
        sums = add_cells(sums, inputs, reach, lane);
        workgroupBarrier();
    }
    if group.x == 0u { store_one_bias(pair, tile_row + lane, live); }
#end
#subgroup
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
#end
    store_rows(pair, row, column, sums);
}
