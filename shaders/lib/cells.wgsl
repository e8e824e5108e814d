// Adjoints of four pooled cells (n, py, px) and 64 output channels, un-pooled in the left panel: a quad is a cell, and its
// terms are the positions of the cell's window. `#cells NAME VALUES` makes
//     fn NAME(at: u32, cells: Cells, lane: u32)
// which loads them from `at` in VALUES (N, OC, PH, PW). Depends on the globals `layer` and `route`.
struct Cells {
    first: u32,
    end: u32, // past it, zeros
    row: u32, // the tile's first output channel
}

// The upper left pixel of each cell's window in the bordered images of the first input channel.
var<workgroup> corners: array<u32, 4>;

fn unpooled(value: f32, code: u32, exists: bool) -> vec4<f32> {
    let routed = vec4(code) == vec4(0u, 1u, 2u, 3u);
    return select(vec4(0.0), vec4(value), routed & vec4(exists));
}

fn stage_corners(cells: Cells, lane: u32) {
    if lane < QUADS {
        let pw = layer.width / 2u;
        let plane = layer.height / 2u * pw;
        let cell = min(cells.first + lane, cells.end - 1u);
        let image = cell / plane * layer.in_channels * bordered_len();
        corners[lane] = image + cell % plane / pw * 2u * bordered_width() + cell % pw * 2u;
    }
}

// Adds what the lane's channel has in the panel.
fn add_row(sum: f32, lane: u32) -> f32 {
    let pairs = left[lane] + left[64u + (lane ^ 2u)] + left[128u + (lane ^ 4u)] + left[192u + (lane ^ 6u)];
    return sum + dot(pairs, vec4(1.0));
}

// Adds the panel's products with the pixels at the lane's taps.
fn add_cells(sums: Tile, images_at: u32, reach: vec4<u32>, lane: u32) -> Tile {
    let at = images_at + reach;
    let width = bordered_width();
    var added = add_quad(sums, 0u, lane, window_pixels(at + corners[0], width));
    added = add_quad(added, 1u, lane, window_pixels(at + corners[1], width));
    added = add_quad(added, 2u, lane, window_pixels(at + corners[2], width));
    return add_quad(added, 3u, lane, window_pixels(at + corners[3], width));
}
