// What the pooled cells around a window of 2x2 input pixels hand back to it. Depends on the globals `layer`, `weights`, `route`
// and `dx`.
//
// A cell at an offset of (cy, cx) cells whose position (a, b) is routed reaches pixel (u, v) of the window through the tap
// (K/2 + u - a - 2 cy, K/2 + v - b - 2 cx), which may lie outside the kernel; there the staged taps have zeros.
const STAGED: u32 = 512u;

// (staged channels, taps down, a line of taps): four input channels each.
var<workgroup> staged: array<vec4<f32>, STAGED>;

struct Place {
    y: u32, // in windows, which are cells too but for an odd last row and column
    x: u32,
    plane: u32, // the first cell of the sample's first channel
}

struct Reached {
    at: u32,
    code: u32,
    tap: u32, // staged, that of the window's first pixel if the cell's first position were routed
    live: bool,
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

fn cells_reached() -> u32 {
    return (2u * reach() + 1u) * (2u * reach() + 1u);
}

fn taps_down() -> u32 {
    return 4u * reach() + 3u;
}

// Taps of the four positions of a window lie in different banks of the memory.
fn taps_line() -> u32 {
    return taps_down() + 3u * (reach() % 2u);
}

fn staged_channels() -> u32 {
    return STAGED / (taps_down() * taps_line());
}

fn clear_taps(lane: u32) {
    for (var i = lane; i < STAGED; i += 64u) { staged[i] = vec4(0.0); }
    workgroupBarrier();
}

// Loads the taps of some output channels from `begin` on, for a group of four input channels.
fn stage_taps(slot: u32, begin: u32, four: u32, lane: u32) {
    let count = kernel() * kernel();
    let fours = (layer.in_channels + 15u) / 16u * 4u;
    let channels = min(staged_channels(), layer.out_channels - begin);
    let zeros = 2u * reach() + 1u - kernel() / 2u;
    for (var i = lane; i < channels * count; i += 64u) {
        let channel = i / count;
        let down = channel * taps_down() + i % count / kernel() + zeros;
        staged[down * taps_line() + i % kernel() + zeros] =
            weights[((slot * layer.out_channels + begin) * count + i) * fours + four];
    }
    workgroupBarrier();
}

fn place_of(item: u32) -> Place {
    let across = windows_across();
    let down = windows_down();
    let sample = item / (across * down);
    let plane = sample * layer.out_channels * (layer.height / 2u) * (layer.width / 2u);
    return Place(item / across % down, item % across, plane);
}

// The cells that reach a window, row by row.
fn cell_reached(i: u32, oc: u32, place: Place) -> Reached {
    let ph = layer.height / 2u;
    let pw = layer.width / 2u;
    let cy = i / (2u * reach() + 1u);
    let cx = i % (2u * reach() + 1u);
    // Unsigned, so that "left of" and "above" are far past the end.
    let y = place.y + cy - reach();
    let x = place.x + cx - reach();
    let at = place.plane + (oc * ph + min(y, ph - 1u)) * pw + min(x, pw - 1u);
    let code = route[at];
    let down = 4u * reach() + 1u - 2u * cy;
    return Reached(at, code & 3u, down * taps_line() + 4u * reach() + 1u - 2u * cx, y < ph && x < pw && code < DEAD);
}

fn routed_taps(cell: Reached, channel: u32) -> Taps {
    let line = taps_line();
    let at = channel * taps_down() * line + cell.tap - cell.code / 2u * line - cell.code % 2u;
    return Taps(staged[at], staged[at + 1u], staged[at + line], staged[at + line + 1u]);
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
