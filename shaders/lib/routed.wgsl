// Adjoints of a tile's rows at one window, with their route codes. `#row_adjoints NAME VALUES CODES` makes
//     fn NAME(at: u32, cell: u32, rows: Offsets) -> Adjoints
// which loads VALUES from `at` and CODES from `cell`.
struct Adjoints {
    values: Rows,
    a: vec4<u32>,
    b: vec4<u32>,
    c: vec4<u32>,
    d: vec4<u32>,
}

// What of them belongs at this position of the window: the others are routed elsewhere, or dead.
fn routed(adjoints: Adjoints, position: u32) -> Rows {
    let here = vec4(position);
    return Rows(
        select(vec4(0.0), adjoints.values.a, adjoints.a == here),
        select(vec4(0.0), adjoints.values.b, adjoints.b == here),
        select(vec4(0.0), adjoints.values.c, adjoints.c == here),
        select(vec4(0.0), adjoints.values.d, adjoints.d == here),
    );
}

// Adds the four positions of a window, whose columns are those of the matrix: one after the other, because AMD's scalar
// registers do not suffice for the rows of all four.
fn add_window(sums: Tile, adjoints: Adjoints, columns: mat4x4<f32>) -> Tile {
    let upper = add_tile(add_tile(sums, routed(adjoints, 0u), columns[0]), routed(adjoints, 1u), columns[1]);
    return add_tile(add_tile(upper, routed(adjoints, 2u), columns[2]), routed(adjoints, 3u), columns[3]);
}

// A sum over windows for each row.
struct RowSums {
    rows: Rows,
}

fn add_live(sums: RowSums, adjoints: Adjoints) -> RowSums {
    let dead = vec4(DEAD);
    return RowSums(Rows(
        sums.rows.a + select(vec4(0.0), adjoints.values.a, adjoints.a < dead),
        sums.rows.b + select(vec4(0.0), adjoints.values.b, adjoints.b < dead),
        sums.rows.c + select(vec4(0.0), adjoints.values.c, adjoints.c < dead),
        sums.rows.d + select(vec4(0.0), adjoints.values.d, adjoints.d < dead),
    ));
}

fn row_sums(sums: RowSums) -> Rows {
    return sums.rows;
}
