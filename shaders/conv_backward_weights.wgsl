// conv_backward_weights.wgsl: partials of dW = unroute(dp) x^T and db = sum unroute(dp), one per slice of pooled rows.
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

@group(0) @binding(0) var<storage, read> images: array<f32>; // (N, IC, H + K - 1, W + K - 1): x with a border
@group(0) @binding(1) var<storage, read> route: array<u32>; // (N, OC, PH, PW)
@group(0) @binding(2) var<storage, read> dp: array<f32>; // (N, OC, PH, PW)
@group(0) @binding(3) var<storage, read_write> partials: array<f32>; // (slices, OC * IC * K * K + OC)

#workgroup
#cells stage_adjoints dp
#end

#subgroup
#row_adjoints adjoints dp route
#end

// Rows are output channels, columns taps (ic, ky, kx); z is the slice. All lanes walk the same pooled cells, so
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
    let slice = layer.base + group.z;
    let begin = slice * layer.slice;
    let end = min(begin + layer.slice, layer.samples * ph);
    var sums = Tile();
#workgroup
    let tile_row = first_row(group.y, 0u);
    var live = 0.0;
    for (var cell = begin * pw; cell < end * pw; cell += QUADS) {
        let cells = Cells(cell, end * pw, tile_row);
        stage_corners(cells, lane);
        stage_adjoints(0u, cells, lane);
        workgroupBarrier();
        live = add_row(live, lane);
        sums = add_cells(sums, 0u, reach, lane);
        workgroupBarrier();
    }
    if group.x == 0u { store_one_bias(slice, tile_row + lane, live); }
#end
#subgroup
    let rows = row_offsets(lane, layer.out_channels - row, ph * pw);
    var live = RowSums();
    for (var cells = begin; cells < end; cells++) {
        let n = cells / ph;
        let py = cells % ph;
        for (var px = 0u; px < pw; px++) {
            let cell = ((n * layer.out_channels + row) * ph + py) * pw + px;
            let d = adjoints(cell, cell, rows);
            live = add_live(live, d);
            let at = n * layer.in_channels * bordered_len() + 2u * (py * width + px) + reach;
            sums = add_window(sums, d, window_pixels(at, width));
        }
    }
    // By all lanes, which may hand each other their rows.
    let biases = row_sums(live);
    if column == 0u { store_biases(slice, row, biases); }
#end
    store_rows(slice, row, column, sums);
}
