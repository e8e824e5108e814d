// What the pooled cells around a window of 2x2 input pixels hand back to it. Depends on the globals `layer`, `weights`, `route`,
// `dp`, `tdp` and `dx`.
//
// A cell at an offset of (cy, cx) cells whose position (a, b) is routed reaches pixel (u, v) of the window through the tap
// (K/2 + u - a - 2 cy, K/2 + v - b - 2 cx), which may lie outside the kernel; there the staged taps have zeros.
//
// A workgroup's 64 windows lie one after the other in rows of windows, of at most 64: wider images have several pieces across. It
// stages the cells of those rows, and of the rows and columns around them that reach them, for some output channels at a time.

// By the host, which knows what fits: output channels at a time, cells of one, and the lengths of the arrays.
override staged_channels: u32 = 1u;
override staged_cells: u32 = 1u;
override all_taps: u32 = 1u;
override all_cells: u32 = 1u;
override all_adjoints: u32 = 1u;

// (staged channels, taps down, a line of taps): four input channels each.
var<workgroup> taps: array<vec4<f32>, all_taps>;
// (staged channels, rows, cells across), and then zeros: the staged tap of a window's first pixel, from that of the last cell; the
// adjoint, or its tangents in the lane's directions, a direction after the other.
var<workgroup> offsets: array<u32, all_cells>;
var<workgroup> adjoints: array<f32, all_adjoints>;
// Where each lies in the first output channel, or NOWHERE.
var<workgroup> sources: array<u32, staged_cells>;
const NOWHERE: u32 = 0xffffffffu;

// A window.
struct Place {
    item: u32,   // of those that store_row takes
    inside: bool, // a row of 64 may end past the image
    y: u32,
    cell: u32,   // the first staged cell that reaches it
}

// Taps of the four pixels of a window.
struct Taps {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

// Cells to each side of a window's own.
fn reach() -> u32 {
    return (kernel() / 2u + 1u) / 2u;
}

// Cells of a row that reach a window.
fn reached() -> u32 {
    return 2u * reach() + 1u;
}

fn taps_down() -> u32 {
    return 4u * reach() + 3u;
}

// Taps of the four positions of a window lie in different banks of the memory.
fn taps_line() -> u32 {
    return taps_down() + 3u * (reach() % 2u);
}

// Of an output channel.
fn staged_taps() -> u32 {
    return taps_down() * taps_line();
}

// Windows of a row, or of a piece of one.
fn piece() -> u32 {
    return min(windows_across(), 64u);
}

fn pieces() -> u32 {
    return (windows_across() + 63u) / 64u;
}

// Cells of a staged row.
fn cells_across() -> u32 {
    return piece() + 2u * reach();
}

fn place_of(first: u32, lane: u32) -> Place {
    let row = (first + lane) / piece();
    let x = (first + lane) % piece();
    let column = row % pieces() * 64u + x;
    let down = row / pieces();
    // In more than one piece the workgroup has one.
    let staged_row = select(0u, row - first / piece(), pieces() == 1u);
    let inside = column < windows_across() && down < layer.samples * windows_down();
    return Place(down * windows_across() + column, inside, down % windows_down(), staged_row * cells_across() + x);
}

// What does not change from channel to channel: zeros between the taps, and where the cells lie.
fn prepare(first: u32, lane: u32) {
    for (var i = lane; i < all_taps; i += 64u) { taps[i] = vec4(0.0); }
    let ph = layer.height / 2u;
    let pw = layer.width / 2u;
    for (var i = lane; i < staged_cells; i += 64u) {
        // Unsigned, so that "left of" and "above" are far past the end.
        let row = first / piece() + (i / cells_across() - reach()) * pieces();
        let x = row % pieces() * 64u + i % cells_across() - reach();
        let y = row / pieces() % windows_down();
        let sample = row / pieces() / windows_down();
        let live = i < staged_cells - reached() && sample < layer.samples && y < ph && x < pw;
        sources[i] = select(NOWHERE, (sample * layer.out_channels * ph + y) * pw + x, live);
    }
    workgroupBarrier();
}

// Loads the taps of the output channels from `begin` on, for a group of four input channels.
fn stage_taps(slot: u32, begin: u32, four: u32, lane: u32) {
    let count = kernel() * kernel();
    let fours = (layer.in_channels + 15u) / 16u * 4u;
    let channels = min(staged_channels, layer.out_channels - begin);
    let zeros = 2u * reach() + 1u - kernel() / 2u;
    for (var i = lane; i < channels * count; i += 64u) {
        let down = i % count / kernel() + zeros;
        taps[i / count * staged_taps() + down * taps_line() + i % kernel() + zeros] =
            weights[((slot * layer.out_channels + begin) * count + i) * fours + four];
    }
}

// And the cells, whose adjoints are `dp`, or `tdp` from the directions on.
fn stage_cells(tangents: bool, directions: vec4<u32>, begin: u32, lane: u32) {
    let cells = (layer.height / 2u) * (layer.width / 2u);
    let channels = min(staged_channels, layer.out_channels - begin);
    for (var i = lane; i < staged_cells; i += 64u) {
        let source = sources[i];
        for (var channel = 0u; channel < channels; channel++) {
            let at = source + (begin + channel) * cells;
            var code = DEAD;
            if source != NOWHERE { code = route[at]; }
            let live = code < DEAD;
            let to = channel * staged_cells + i;
            let position = select(0u, code / 2u * taps_line() + code % 2u, live);
            offsets[to] = channel * staged_taps() + taps_line() + 1u - position;
            var own = vec4(0.0);
            if live { own = adjoints_at(tangents, directions + at, at); }
            store_adjoints(to, tangents, own);
        }
    }
    workgroupBarrier();
}

// The first staged cell of a row that reaches the window, or zeros if the row is outside the image.
fn row_reached(cy: u32, place: Place) -> u32 {
    let inside = place.y + cy - reach() < windows_down();
    return select(staged_cells - reached(), place.cell + cy * cells_across(), inside);
}

fn taps_reached(cell: u32, cy: u32, cx: u32) -> Taps {
    let line = taps_line();
    // From the last cell, whose taps are the first.
    let at = (4u * reach() - 2u * cy) * line + 4u * reach() - 2u * cx + offsets[cell];
    return Taps(taps[at], taps[at + 1u], taps[at + line], taps[at + line + 1u]);
}

fn add_taps(sums: mat4x4<f32>, taps: Taps, adjoint: f32) -> mat4x4<f32> {
    return mat4x4<f32>(
        fma(taps.a, vec4(adjoint), sums[0]),
        fma(taps.b, vec4(adjoint), sums[1]),
        fma(taps.c, vec4(adjoint), sums[2]),
        fma(taps.d, vec4(adjoint), sums[3]),
    );
}

// Stores four input channels from `ic` on, whose columns are the pixels of a window.
fn store_channels(direction: u32, ic: u32, item: u32, sums: mat4x4<f32>) {
    if direction >= layer.directions { return; }
    let channels = transpose(sums);
    store_row(layer.first + direction, ic, item, channels[0]);
    store_row(layer.first + direction, ic + 1u, item, channels[1]);
    store_row(layer.first + direction, ic + 2u, item, channels[2]);
    store_row(layer.first + direction, ic + 3u, item, channels[3]);
}
