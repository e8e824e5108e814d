// A register tile: sums of sixteen rows and four columns. All lanes of a workgroup share the rows, so what belongs to them
// is loaded once, into scalar registers where a GPU has them; a lane's columns are 64 apart, so that neighbours load
// neighbours. Each step of a sum takes twenty loads for 64 multiply-adds, and no workgroup memory.
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

// The first lane of eight whose columns, or items, lie past the end: it and those after it can stop. A lane before it
// works on, even if its own are past the end, because it may hold a row that the others need.
fn past_end(first: u32, lane: u32, count: u32) -> bool {
    return first - lane % 8u >= count;
}
