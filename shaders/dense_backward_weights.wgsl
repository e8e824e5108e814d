// dense_backward_weights.wgsl: dW = dz^T x, or dW += dz^T x.
#import dense
#import outer
#import rows
#import tile
#workgroup
#import panels
#end
#import store_rows
#import store_columns

@group(0) @binding(0) var<storage, read> x: array<f32>; // (N, I)
@group(0) @binding(1) var<storage, read> dz: array<f32>; // (N, O)
@group(0) @binding(2) var<storage, read_write> gradient: array<f32>; // (dim), or partials of it (slices, O, I)

fn store(slice: u32, o: u32, i: u32, sum: f32) {
    if o >= layer.outputs || i >= layer.inputs { return; }
    let at = select(layer.weight, slice * layer.outputs * layer.inputs, layer.slices > 1u) + o * layer.inputs + i;
    if layer.accumulate == 0u { gradient[at] = sum; } else { gradient[at] += sum; }
}

#workgroup
#panel stage_adjoints left along_rows dz
#panel stage_columns right along_rows x
#end

#subgroup
#rows adjoints dz
#columns columns x
#end

// Rows are outputs, columns inputs.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = first_column(group.x, lane);
#subgroup
    if past_end(column, lane, layer.inputs) { return; }
#end
    let row = first_row(layer.base + group.y, lane);
    let begin = group.z * layer.slice;
    let end = min(begin + layer.slice, layer.samples);
    var sums = Tile();
#workgroup
    let tile_row = first_row(layer.base + group.y, 0u);
    let tile_column = first_column(group.x, 0u);
    for (var n = begin; n < end; n += TERMS) {
        stage_adjoints(Operand(n * layer.outputs + tile_row, 1u, layer.outputs, layer.outputs - tile_row, end - n), lane);
        stage_columns(Operand(n * layer.inputs + tile_column, 1u, layer.inputs, layer.inputs - tile_column, end - n), lane);
        sums = add_panels(sums, lane);
    }
#end
#subgroup
    let rows = row_offsets(lane, ROWS, 1u);
    for (var n = begin; n < end; n++) {
        let z = n * layer.outputs + row;
        sums = add_tile(sums, adjoints(z, rows), columns(n * layer.inputs + column));
    }
#end
    store_rows(group.z, row, column, sums);
}
