// What is routed to a position of a window, for subgroups of eight: a lane compares the codes of its own two rows before it hands
// them on. `#row_adjoints NAME VALUES CODES` makes the function NAME that loads both from two bindings.
struct Adjoints {
    own: f32,
    more: f32,
    own_code: u32,
    more_code: u32,
}

// What of them belongs at this position of the window: the others are routed elsewhere, or dead.
fn routed(adjoints: Adjoints, position: u32) -> Rows {
    let own = select(0.0, adjoints.own, adjoints.own_code == position);
    return spread(own, select(0.0, adjoints.more, adjoints.more_code == position));
}

// Adds the four positions of a window, whose columns are those of the matrix, together.
fn add_window(sums: Tile, adjoints: Adjoints, columns: mat4x4<f32>) -> Tile {
    let positions =
        Quads(routed(adjoints, 0u), routed(adjoints, 1u), routed(adjoints, 2u), routed(adjoints, 3u));
    return add_quads(sums, positions, columns);
}

// A sum over windows for each row.
struct RowSums {
    own: f32,
    more: f32,
}

fn add_live(sums: RowSums, adjoints: Adjoints) -> RowSums {
    let own = select(0.0, adjoints.own, adjoints.own_code < DEAD);
    return RowSums(sums.own + own, sums.more + select(0.0, adjoints.more, adjoints.more_code < DEAD));
}

fn row_sums(sums: RowSums) -> Rows {
    return spread(sums.own, sums.more);
}
