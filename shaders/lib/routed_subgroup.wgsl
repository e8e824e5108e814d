// As routed.wgsl, for subgroups of eight: a lane compares the codes of its own two rows before it hands them on.
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
