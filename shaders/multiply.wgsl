// multiply.wgsl: C = A B in each direction, or C += A B, or C -= A B, over a range of the summed index.
#import outer
#import rows
#import tile
#workgroup
#import panels
#end
#import store_rows
#import store_columns

// A lies transposed: its rows are neighbours, `a_step` from one term to the next.
struct Multiply {
    rows: u32,
    columns: u32,
    terms: u32,
    slice: u32, // length of one slice of the sum; z is the pair of slice and direction
    directions: u32,
    base: u32, // first row of tiles of this dispatch
    store: u32, // 0: C is replaced, 1: added to, 2: subtracted from
    a_offset: u32,
    a_pitch: u32, // distance between two directions
    a_step: u32,
    b_offset: u32,
    b_pitch: u32,
    b_step: u32,
    c_offset: u32,
    c_pitch: u32,
}
var<immediate> multiply: Multiply;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

// `part` is a direction, or a pair of slice and direction.
fn store(part: u32, row: u32, column: u32, sum: f32) {
    if row >= multiply.rows || column >= multiply.columns { return; }
    let at = multiply.c_offset + part * multiply.c_pitch + row * multiply.columns + column;
    switch multiply.store {
        case 0u: { c[at] = sum; }
        case 1u: { c[at] += sum; }
        default: { c[at] -= sum; }
    }
}

#workgroup
#panel stage_rows left along_rows a
#panel stage_columns right along_rows b
#end

#subgroup
#rows row_terms a
#columns column_terms b
#end

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = first_column(group.x, lane);
#subgroup
    if past_end(column, lane, multiply.columns) { return; }
#end
    let row = first_row(multiply.base + group.y, lane);
    let direction = group.z % multiply.directions;
    let begin = group.z / multiply.directions * multiply.slice;
    let end = min(begin + multiply.slice, multiply.terms);
    let a_offset = multiply.a_offset + direction * multiply.a_pitch;
    let b_offset = multiply.b_offset + direction * multiply.b_pitch;
    var sums = Tile();
#workgroup
    let tile_row = first_row(multiply.base + group.y, 0u);
    let tile_column = first_column(group.x, 0u);
    for (var term = begin; term < end; term += TERMS) {
        let at = a_offset + term * multiply.a_step + tile_row;
        let bt = b_offset + term * multiply.b_step + tile_column;
        let terms = end - term;
        stage_rows(Operand(at, 1u, multiply.a_step, multiply.rows - tile_row, terms), lane);
        stage_columns(Operand(bt, 1u, multiply.b_step, multiply.columns - tile_column, terms), lane);
        sums = add_panels(sums, lane);
    }
#end
#subgroup
    // Two terms at a time.
    let rows = row_offsets(lane, ROWS, 1u);
    var at = a_offset + begin * multiply.a_step + row;
    var bt = b_offset + begin * multiply.b_step + column;
    var term = begin;
    for (; term + 1u < end; term += 2u) {
        let next = column_terms(bt + multiply.b_step);
        sums = add_pair(sums, row_terms(at, rows), column_terms(bt), row_terms(at + multiply.a_step, rows), next);
        at += 2u * multiply.a_step;
        bt += 2u * multiply.b_step;
    }
    if term < end {
        sums = add_tile(sums, row_terms(at, rows), column_terms(bt));
    }
#end
    store_rows(group.z, row, column, sums);
}
