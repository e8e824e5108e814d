// Un-pooling on the fly: an adjoint is nonzero at the routed position of its window only. A row or column of positions is
// split into its window and its bit of the route code; outside the image the bit is one that no code has.
const NOWHERE: u32 = 8u;

fn row_bit(y: u32) -> u32 {
    return select(NOWHERE, y % 2u * 2u, y / 2u < layer.height / 2u);
}

fn column_bit(x: u32) -> u32 {
    return select(NOWHERE, x % 2u, x / 2u < layer.width / 2u);
}

// First cell of the window's row.
fn row_cell(y: u32) -> u32 {
    return min(y / 2u, layer.height / 2u - 1u) * (layer.width / 2u);
}

fn column_cell(x: u32) -> u32 {
    return min(x / 2u, layer.width / 2u - 1u);
}
