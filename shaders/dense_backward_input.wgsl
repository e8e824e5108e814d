// dense_backward_input.wgsl: dx = dz W.
#import dense
#import outer
#import rows
#import tile
#workgroup
#import panels
#end
#import store_rows
#import store_columns

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim)
@group(0) @binding(1) var<storage, read> dzt: array<f32>; // (O, N16): dz transposed, N padded to a multiple of 16
@group(0) @binding(2) var<storage, read_write> dx: array<f32>; // (N, I), or partials of it (slices, N, I)

fn store(slice: u32, n: u32, i: u32, sum: f32) {
    if n >= layer.samples || i >= layer.inputs { return; }
    let at = (slice * layer.samples + n) * layer.inputs + i;
    if layer.accumulate == 0u { dx[at] = sum; } else { dx[at] += sum; }
}

#workgroup
#panel stage_adjoints left along_rows dzt
#panel stage_columns right along_rows theta
#end

#subgroup
#rows adjoints dzt
#columns columns theta
#end

// Rows are samples, columns inputs.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = first_column(group.x, lane);
#subgroup
    if past_end(column, lane, layer.inputs) { return; }
#end
    let row = first_row(layer.base + group.y, lane);
    let begin = group.z * layer.slice;
    let end = min(begin + layer.slice, layer.outputs);
    let step = (layer.samples + ROWS - 1u) / ROWS * ROWS;
    var sums = Tile();
#workgroup
    let tile_row = first_row(layer.base + group.y, 0u);
    let tile_column = first_column(group.x, 0u);
    for (var o = begin; o < end; o += TERMS) {
        let weight = layer.weight + o * layer.inputs + tile_column;
        stage_adjoints(Operand(o * step + tile_row, 1u, step, layer.samples - tile_row, end - o), lane);
        stage_columns(Operand(weight, 1u, layer.inputs, layer.inputs - tile_column, end - o), lane);
        sums = add_panels(sums, lane);
    }
#end
#subgroup
    let rows = row_offsets(lane, ROWS, 1u);
    for (var o = begin; o < end; o++) {
        sums = add_tile(sums, adjoints(o * step + row, rows), columns(layer.weight + o * layer.inputs + column));
    }
#end
    store_rows(group.z, row, column, sums);
}
