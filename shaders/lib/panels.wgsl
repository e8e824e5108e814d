// Products of two panels that a workgroup keeps in its memory: 64 rows and 64 columns of sums, of which a lane has sixteen and
// four. `#panel NAME PANEL ALONG BINDING` makes
//     fn NAME(operand: Operand, lane: u32)
// which loads the next TERMS terms of BINDING into PANEL: its rows into `left`, its columns into `right`. ALONG says how
// they lie, so that neighbours load neighbours: along_rows (or columns), or along_terms.
const TERMS: u32 = 16u;
const QUADS: u32 = 4u;

// (QUADS, 64): four consecutive terms of a row or column.
var<workgroup> left: array<vec4<f32>, 256>;
var<workgroup> right: array<vec4<f32>, 256>;

struct Operand {
    at: u32,    // the first of its terms in the tile's first row
    step: u32,  // from a row to the next
    term: u32,  // from a term to the next
    rows: u32,  // of the matrix, from the tile's first on; past the last one it is loaded again
    terms: u32, // that are left; past the last one it is loaded again, and is zero in the left panel
}

struct Place {
    row: u32,
    term: u32,
}

fn along_rows(i: u32, lane: u32) -> Place {
    return Place(lane, 4u * i);
}

fn along_terms(i: u32, lane: u32) -> Place {
    return Place(16u * i + lane / QUADS, lane % QUADS * 4u);
}

// Rows are permuted in each quad, so that lanes which store neighbouring quads of neighbouring rows do not meet at one bank.
fn panel_at(place: Place) -> u32 {
    return place.term * 16u + (place.row ^ (place.term / 2u));
}

fn row_start(place: Place, operand: Operand) -> u32 {
    return operand.at + min(place.row, operand.rows - 1u) * operand.step;
}

fn at_term(term: u32, operand: Operand) -> u32 {
    return min(term, operand.terms - 1u) * operand.term;
}

fn left_terms(values: vec4<f32>, place: Place, operand: Operand) -> vec4<f32> {
    return select(vec4(0.0), values, place.term + vec4(0u, 1u, 2u, 3u) < vec4(operand.terms));
}

fn right_terms(values: vec4<f32>, place: Place, operand: Operand) -> vec4<f32> {
    return values;
}

fn add_four_rows(sums: mat4x4<f32>, at: u32, first: u32, quad: u32, columns: mat4x4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        add_four(sums[0], left[at + (first ^ 2u * quad)], columns),
        add_four(sums[1], left[at + (first + 1u ^ 2u * quad)], columns),
        add_four(sums[2], left[at + (first + 2u ^ 2u * quad)], columns),
        add_four(sums[3], left[at + (first + 3u ^ 2u * quad)], columns),
    );
}

// Adds four terms of the lane's rows in the left panel, times the columns of the matrix, a term each.
fn add_quad(sums: Tile, quad: u32, lane: u32, columns: mat4x4<f32>) -> Tile {
    let at = quad * 64u + lane / 16u * 16u;
    return Tile(
        add_four_rows(sums.a, at, 0u, quad, columns),
        add_four_rows(sums.b, at, 4u, quad, columns),
        add_four_rows(sums.c, at, 8u, quad, columns),
        add_four_rows(sums.d, at, 12u, quad, columns),
    );
}

fn right_columns(quad: u32, lane: u32) -> mat4x4<f32> {
    let at = quad * 64u + (lane % 16u ^ 2u * quad);
    return transpose(mat4x4<f32>(right[at], right[at + 16u], right[at + 32u], right[at + 48u]));
}

// Adds the products of both panels, once all lanes have loaded them, and waits until all lanes have done so. Each quad is
// spelt out: its places in the panels are then known to the compiler.
fn add_panels(sums: Tile, lane: u32) -> Tile {
    workgroupBarrier();
    var added = add_quad(sums, 0u, lane, right_columns(0u, lane));
    added = add_quad(added, 1u, lane, right_columns(1u, lane));
    added = add_quad(added, 2u, lane, right_columns(2u, lane));
    added = add_quad(added, 3u, lane, right_columns(3u, lane));
    workgroupBarrier();
    return added;
}
