// dense_tangent_backward_weights.wgsl: tdW = tdz^T x + dz^T tx, or tdW += it.
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
@group(0) @binding(1) var<storage, read> tx: array<f32>; // (K, N, I); x again in the first layer, not read
@group(0) @binding(2) var<storage, read> dz: array<f32>; // (N, O)
@group(0) @binding(3) var<storage, read> tdz: array<f32>; // (K, N, O)
@group(0) @binding(4) var<storage, read_write> products: array<f32>; // (K, pitch), or partials of them (slices, K, O, I)

override one_product: bool = false;

// `part` is a direction, or a pair of slice and direction.
fn store(part: u32, o: u32, i: u32, sum: f32) {
    if o >= layer.outputs || i >= layer.inputs { return; }
    let whole = part * layer.pitch + layer.weight;
    let at = select(whole, part * layer.outputs * layer.inputs, layer.slices > 1u) + o * layer.inputs + i;
    if layer.accumulate == 0u { products[at] = sum; } else { products[at] += sum; }
}

#workgroup
#panel stage_adjoints left along_rows dz
#panel stage_tangent_adjoints left along_rows tdz
#panel stage_columns right along_rows x
#panel stage_tangent_columns right along_rows tx
#end

#subgroup
#rows adjoints dz
#rows tangent_adjoints tdz
#columns columns x
#columns tangent_columns tx
#end

// Rows are outputs, columns inputs.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = first_column(group.x, lane);
#subgroup
    if past_end(column, lane, layer.inputs) { return; }
#end
    let row = first_row(layer.base + group.y, lane);
    let direction = group.z % layer.directions;
    let begin = group.z / layer.directions * layer.slice;
    let end = min(begin + layer.slice, layer.samples);
    let outputs = direction * layer.samples * layer.outputs;
    let inputs = direction * layer.samples * layer.inputs;
    var sums = Tile();
#workgroup
    let tile_row = first_row(layer.base + group.y, 0u);
    let tile_column = first_column(group.x, 0u);
    for (var n = begin; n < end; n += TERMS) {
        let z = outputs + n * layer.outputs + tile_row;
        stage_tangent_adjoints(Operand(z, 1u, layer.outputs, layer.outputs - tile_row, end - n), lane);
        stage_columns(Operand(n * layer.inputs + tile_column, 1u, layer.inputs, layer.inputs - tile_column, end - n), lane);
        sums = add_panels(sums, lane);
    }
    for (var n = begin; !one_product && n < end; n += TERMS) {
        let i = inputs + n * layer.inputs + tile_column;
        stage_adjoints(Operand(n * layer.outputs + tile_row, 1u, layer.outputs, layer.outputs - tile_row, end - n), lane);
        stage_tangent_columns(Operand(i, 1u, layer.inputs, layer.inputs - tile_column, end - n), lane);
        sums = add_panels(sums, lane);
    }
#end
#subgroup
    let rows = row_offsets(lane, ROWS, 1u);
    var z = begin * layer.outputs + row;
    var i = begin * layer.inputs + column;
    var n = begin;
    for (; !one_product && n + 1u < end; n += 2u) {
        let tz = outputs + z;
        let next_z = z + layer.outputs;
        let next_tz = tz + layer.outputs;
        let next = i + layer.inputs;
        let quads =
            Quads(tangent_adjoints(tz, rows), adjoints(z, rows), tangent_adjoints(next_tz, rows), adjoints(next_z, rows));
        sums = add_quads(
            sums,
            quads,
            mat4x4<f32>(columns(i), tangent_columns(inputs + i), columns(next), tangent_columns(inputs + next)),
        );
        z += 2u * layer.outputs;
        i += 2u * layer.inputs;
    }
    for (; n < end; n++) {
        let tz = tangent_adjoints(outputs + z, rows);
        if one_product {
            sums = add_tile(sums, tz, columns(i));
        } else {
            sums = add_pair(sums, tz, columns(i), adjoints(z, rows), tangent_columns(inputs + i));
        }
        z += layer.outputs;
        i += layer.inputs;
    }
#end
    store_rows(group.z, row, column, sums);
}
