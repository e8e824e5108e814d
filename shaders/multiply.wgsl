// multiply.wgsl: C = A B in each direction, or C += A B, or C -= A B, over a range of the summed index.
#import outer
#import rows
#import tile
#import store_rows
#import store_columns

// A lies transposed: its rows are neighbours, `a_step` from one term to the next.
struct Multiply {
    rows: u32,
    columns: u32,
    begin: u32, // the range of terms in this dispatch
    end: u32,
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

fn store(direction: u32, row: u32, column: u32, sum: f32) {
    if row >= multiply.rows || column >= multiply.columns { return; }
    let at = multiply.c_offset + direction * multiply.c_pitch + row * multiply.columns + column;
    switch multiply.store {
        case 0u: { c[at] = sum; }
        case 1u: { c[at] += sum; }
        default: { c[at] -= sum; }
    }
}

#rows left a
#columns right b

// Two terms at a time.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = first_column(group.x, lane);
    if past_end(column, lane, multiply.columns) { return; }
    let row = (multiply.base + group.y) * ROWS;
    let rows = row_offsets(lane, ROWS, 1u);
    var at = multiply.a_offset + group.z * multiply.a_pitch + multiply.begin * multiply.a_step + row;
    var bt = multiply.b_offset + group.z * multiply.b_pitch + multiply.begin * multiply.b_step + column;
    var sums = Tile();
    var term = multiply.begin;
    for (; term + 1u < multiply.end; term += 2u) {
        sums = add_pair(sums, left(at, rows), right(bt), left(at + multiply.a_step, rows), right(bt + multiply.b_step));
        at += 2u * multiply.a_step;
        bt += 2u * multiply.b_step;
    }
    if term < multiply.end {
        sums = add_tile(sums, left(at, rows), right(bt));
    }
    store_rows(group.z, row, column, sums);
}
