// dense_tangent_backward_input.wgsl: tdx = tdz W + dz tW.
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
@group(0) @binding(2) var<storage, read> dzt: array<f32>; // (1 + K, O, N16): dz and then tdz, transposed, N padded
@group(0) @binding(3) var<storage, read_write> tdx: array<f32>; // (K, N, I), or partials of it (slices, K, N, I)

// `part` is a direction, or a pair of slice and direction.
fn store(part: u32, n: u32, i: u32, sum: f32) {
    if n >= layer.samples || i >= layer.inputs { return; }
    let at = (part * layer.samples + n) * layer.inputs + i;
    if layer.accumulate == 0u { tdx[at] = sum; } else { tdx[at] += sum; }
}

#workgroup
#panel stage_adjoints left along_rows dzt
#panel stage_columns right along_rows theta
#panel stage_tangent_columns right along_rows vectors
#end

#subgroup
#rows adjoints dzt
#columns w theta
#columns tw vectors
#end

// Rows are samples, columns inputs.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = first_column(group.x, lane);
#subgroup
    if past_end(column, lane, layer.inputs) { return; }
#end
    let row = first_row(layer.base + group.y, lane);
    let direction = group.z % layer.directions;
    let begin = group.z / layer.directions * layer.slice;
    let end = min(begin + layer.slice, layer.outputs);
    let vector = (layer.first + direction) * layer.pitch;
    let step = (layer.samples + ROWS - 1u) / ROWS * ROWS;
    let tangents = (1u + direction) * layer.outputs * step;
    var sums = Tile();
#workgroup
    let tile_row = first_row(layer.base + group.y, 0u);
    let tile_column = first_column(group.x, 0u);
    let columns = layer.inputs - tile_column;
    for (var o = begin; o < end; o += TERMS) {
        let weight = layer.weight + o * layer.inputs + tile_column;
        stage_adjoints(Operand(tangents + o * step + tile_row, 1u, step, layer.samples - tile_row, end - o), lane);
        stage_columns(Operand(weight, 1u, layer.inputs, columns, end - o), lane);
        sums = add_panels(sums, lane);
    }
    for (var o = begin; o < end; o += TERMS) {
        let weight = vector + layer.weight + o * layer.inputs + tile_column;
        stage_adjoints(Operand(o * step + tile_row, 1u, step, layer.samples - tile_row, end - o), lane);
        stage_tangent_columns(Operand(weight, 1u, layer.inputs, columns, end - o), lane);
        sums = add_panels(sums, lane);
    }
#end
#subgroup
    // Two outputs at a time.
    let rows = row_offsets(lane, ROWS, 1u);
    var z = begin * step + row;
    var at = layer.weight + begin * layer.inputs + column;
    var o = begin;
    for (; o + 1u < end; o += 2u) {
        let next = at + layer.inputs;
        let tz = tangents + z;
        let quads = Quads(adjoints(tz, rows), adjoints(z, rows), adjoints(tz + step, rows), adjoints(z + step, rows));
        sums = add_quads(sums, quads, mat4x4<f32>(w(at), tw(vector + at), w(next), tw(vector + next)));
        z += 2u * step;
        at += 2u * layer.inputs;
    }
    if o < end {
        sums = add_pair(sums, adjoints(tangents + z, rows), w(at), adjoints(z, rows), tw(vector + at));
    }
#end
    // Partials are those of this dispatch's directions alone.
    store_rows(select(layer.first, 0u, layer.slices > 1u) + group.z, row, column, sums);
}
