// dense_tangent.wgsl: partials of W tx + tW x, one per slice of the inputs.
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
@group(0) @binding(1) var<storage, read> vectors: array<f32>; // (K, pitch)
@group(0) @binding(2) var<storage, read> xt: array<f32>; // (1 + K, I4, N): x and then tx (not in the first layer), transposed
@group(0) @binding(3) var<storage, read_write> partials: array<f32>; // (slices, K, N, O)

override one_product: bool = false;

// `direction` is the pair of slice and direction here.
fn store(direction: u32, o: u32, n: u32, sum: f32) {
    if o >= layer.outputs || n >= layer.samples { return; }
    partials[(direction * layer.samples + n) * layer.outputs + o] = sum;
}

#workgroup
#panel stage_weights left along_terms theta
#panel stage_tangent_weights left along_terms vectors
#panel stage_columns right along_rows xt
#end

#subgroup
#row_quads weights theta
#row_quads tangent_weights vectors
#columns columns xt

fn four_columns(at: u32) -> mat4x4<f32> {
    let n = layer.samples;
    return mat4x4<f32>(columns(at), columns(at + n), columns(at + 2u * n), columns(at + 3u * n));
}
#end

// Rows are outputs, columns samples.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = first_column(group.x, lane);
#subgroup
    if past_end(column, lane, layer.samples) { return; }
#end
    let row = first_row(layer.base + group.y, lane);
    let direction = group.z % layer.directions;
    let begin = group.z / layer.directions * layer.slice;
    let end = min(begin + layer.slice, layer.inputs);
    let vector = (layer.first + direction) * layer.pitch;
    let tangents = (1u + direction) * ((layer.inputs + 3u) / 4u * 4u) * layer.samples;
    var sums = Tile();
#workgroup
    let tile_row = first_row(layer.base + group.y, 0u);
    let tile_column = first_column(group.x, 0u);
    let weight = layer.weight + tile_row * layer.inputs;
    let rows = layer.outputs - tile_row;
    for (var i = begin; i < end; i += TERMS) {
        stage_tangent_weights(Operand(vector + weight + i, layer.inputs, 1u, rows, end - i), lane);
        stage_columns(Operand(i * layer.samples + tile_column, 1u, layer.samples, layer.samples - tile_column, end - i), lane);
        sums = add_panels(sums, lane);
    }
    for (var i = begin; !one_product && i < end; i += TERMS) {
        stage_weights(Operand(weight + i, layer.inputs, 1u, rows, end - i), lane);
        let at = tangents + i * layer.samples + tile_column;
        stage_columns(Operand(at, 1u, layer.samples, layer.samples - tile_column, end - i), lane);
        sums = add_panels(sums, lane);
    }
#end
#subgroup
    // Four steps of the sum at a time, so that a row's weights are loaded four at a time.
    let weight = layer.weight + row * layer.inputs;
    let rows = row_offsets(lane, layer.outputs - row, layer.inputs);
    for (var i = begin; i < end; i += 4u) {
        let at = i * layer.samples + column;
        sums = add_quads(sums, tangent_weights(vector + weight + i, rows), four_columns(at));
    }
    for (var i = begin; !one_product && i < end; i += 4u) {
        let at = tangents + i * layer.samples + column;
        sums = add_quads(sums, weights(weight + i, rows), four_columns(at));
    }
#end
    store_rows(group.z, row, column, sums);
}
