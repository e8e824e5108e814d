// A register tile: sums of sixteen rows and four columns. In the forward pass of a conv block and on software adapters all lanes of a
// workgroup share the rows, so what belongs to them is loaded once, into scalar registers where a GPU has them, and each step of a sum takes
// twenty loads for 64 multiply-adds; panels.wgsl has the rest. rows.wgsl says where a lane's rows and columns lie.
//
// Tiles at the edge read past the last row or column, into the next row or the room that every buffer has at its end; what
// they compute there is not stored.
const ROWS: u32 = 16u;
const COLUMNS: u32 = 256u;

struct Tile {
    a: mat4x4<f32>, // [row][column], four rows each
    b: mat4x4<f32>,
    c: mat4x4<f32>,
    d: mat4x4<f32>,
}

// Adds the outer product of the rows and four columns.
fn add_tile(sums: Tile, rows: Rows, columns: vec4<f32>) -> Tile {
    return Tile(
        add_outer(sums.a, rows.a, columns),
        add_outer(sums.b, rows.b, columns),
        add_outer(sums.c, rows.c, columns),
        add_outer(sums.d, rows.d, columns),
    );
}

// The same for two steps of the sum: each sum gets both before it is left. A software adapter has no registers for all
// of a tile's sums, and loads and stores each of them once a call.
fn add_pair(sums: Tile, x: Rows, x_columns: vec4<f32>, y: Rows, y_columns: vec4<f32>) -> Tile {
    return Tile(
        add_two_outer(sums.a, x.a, x_columns, y.a, y_columns),
        add_two_outer(sums.b, x.b, x_columns, y.b, y_columns),
        add_two_outer(sums.c, x.c, x_columns, y.c, y_columns),
        add_two_outer(sums.d, x.d, x_columns, y.d, y_columns),
    );
}

fn add_two_outer(sums: mat4x4<f32>, x: vec4<f32>, x_columns: vec4<f32>, y: vec4<f32>, y_columns: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        fma(vec4(y.x), y_columns, fma(vec4(x.x), x_columns, sums[0])),
        fma(vec4(y.y), y_columns, fma(vec4(x.y), x_columns, sums[1])),
        fma(vec4(y.z), y_columns, fma(vec4(x.z), x_columns, sums[2])),
        fma(vec4(y.w), y_columns, fma(vec4(x.w), x_columns, sums[3])),
    );
}

// Four steps of one row, whose columns are those of the matrix.
fn add_four(sum: vec4<f32>, row: vec4<f32>, columns: mat4x4<f32>) -> vec4<f32> {
    let two = fma(vec4(row.y), columns[1], fma(vec4(row.x), columns[0], sum));
    return fma(vec4(row.w), columns[3], fma(vec4(row.z), columns[2], two));
}

// The first lane of eight whose columns, or items, lie past the end: it and those after it can stop. A lane before it
// works on, even if its own are past the end, because it may hold a row that the others need.
fn past_end(first: u32, lane: u32, count: u32) -> bool {
    return first - lane % 8u >= count;
}
