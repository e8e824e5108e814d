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
