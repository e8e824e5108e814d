// conv_tangent.wgsl: tp = (W tx + tW x + tb)[route], zero where dead.
#import conv
#subgroup
#import outer
#import rows
#import tile
#import store_rows
#end

@group(0) @binding(0) var<storage, read> vectors: array<f32>; // (K, pitch), for the bias
#workgroup
@group(0) @binding(1) var<storage, read> weights: array<f32>; // (1 + K, IC, K, K, OC16): W and then tW, OC padded
#end
#subgroup
@group(0) @binding(1) var<storage, read> weights: array<Packed>; // (1 + K, IC, K, K, OC16): W and then tW, OC padded
#end
@group(0) @binding(2) var<storage, read> images: array<f32>; // (1 + K, N, IC, H + K - 1, W + K - 1): x, then tx, bordered
@group(0) @binding(3) var<storage, read> route: array<u32>; // (N, OC, PH, PW)
@group(0) @binding(4) var<storage, read_write> tp: array<f32>; // (K, N, OC, PH, PW)

override one_product: bool = false;

#workgroup
override four_directions: bool = false; // of a lane; otherwise it has one

// Eight windows of a workgroup: a few rows of their pixels in one input channel, in x and in tx of the lane's directions.
const WINDOWS: u32 = 8u;
const STAGED: u32 = 384u;
var<workgroup> staged: array<f32, STAGED>;
var<workgroup> staged_tangents: array<vec4<f32>, STAGED>;
// Upper left pixel of each window in the first input channel's image.
var<workgroup> corners: array<u32, WINDOWS>;

// Four windows each, a column for each window: up to four directions.
struct Sums {
    a: mat4x4<f32>,
    b: mat4x4<f32>,
}

// Pixels of a staged row; the four positions of a window lie in different banks of the memory.
fn line() -> u32 {
    return kernel() + 1u + select(0u, 2u, (kernel() + 1u) % 8u == 0u);
}

// Rows of taps that are staged at a time: they meet one more row of pixels.
fn staged_taps() -> u32 {
    return min(kernel(), STAGED / (WINDOWS * line()) - 1u);
}

fn stage_corners(first: u32, items: u32, lane: u32) {
    if lane < WINDOWS {
        let ph = layer.height / 2u;
        let pw = layer.width / 2u;
        let item = min(first + lane, items - 1u);
        let image = item / (ph * pw) * layer.in_channels * bordered_len();
        corners[lane] = image + item / pw % ph * 2u * bordered_width() + item % pw * 2u;
    }
    workgroupBarrier();
}

// Pixels at an offset from the windows' corners; `tangents` says where the images of the directions begin.
fn stage_pixels(offset: u32, rows: u32, tangents: vec4<u32>, lane: u32) {
    let across = kernel() + 1u;
    for (var i = lane; i < WINDOWS * rows * across; i += 64u) {
        let row = i / across;
        let at = corners[row / rows] + offset + row % rows * bordered_width() + i % across;
        let to = row * line() + i % across;
        staged[to] = images[at];
        if one_product { continue; }
        if four_directions {
            let pixels = at + tangents;
            staged_tangents[to] = vec4(images[pixels.x], images[pixels.y], images[pixels.z], images[pixels.w]);
        } else {
            staged_tangents[to].x = images[at + tangents.x];
        }
    }
    workgroupBarrier();
}

fn add_pixel(sum: vec4<f32>, w: f32, tw: vec4<f32>, at: u32) -> vec4<f32> {
    if !four_directions {
        let own = fma(tw.x, staged[at], sum.x);
        if one_product { return vec4(own, sum.yzw); }
        return vec4(fma(w, staged_tangents[at].x, own), sum.yzw);
    }
    let own = fma(tw, vec4(staged[at]), sum);
    if one_product { return own; }
    return fma(vec4(w), staged_tangents[at], own);
}

fn add_pixels(sums: mat4x4<f32>, w: f32, tw: vec4<f32>, at: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        add_pixel(sums[0], w, tw, at.x),
        add_pixel(sums[1], w, tw, at.y),
        add_pixel(sums[2], w, tw, at.z),
        add_pixel(sums[3], w, tw, at.w),
    );
}

// Where the output channel has a window, or the last one, in (N, OC, PH, PW).
fn output_at(item: u32, items: u32, oc: u32) -> u32 {
    let cells = (layer.height / 2u) * (layer.width / 2u);
    let last = min(item, items - 1u);
    return (last / cells * layer.out_channels + min(oc, layer.out_channels - 1u)) * cells + last % cells;
}

fn outputs_at(item: u32, items: u32, oc: u32) -> vec4<u32> {
    let next = output_at(item + 1u, items, oc);
    return vec4(output_at(item, items, oc), next, output_at(item + 2u, items, oc), output_at(item + 3u, items, oc));
}

fn store_window(item: u32, items: u32, direction: u32, oc: u32, at: u32, sum: f32) {
    if item >= items || direction >= layer.directions || oc >= layer.out_channels { return; }
    let outputs = layer.samples * layer.out_channels * (layer.height / 2u) * (layer.width / 2u);
    let value = sum + vectors[(layer.first + direction) * layer.pitch + layer.bias + oc];
    tp[(layer.first + direction) * outputs + at] = select(value, 0.0, route[at] >= DEAD);
}

fn store_windows(item: u32, items: u32, direction: u32, oc: u32, at: vec4<u32>, sums: vec4<f32>) {
    store_window(item, items, direction, oc, at.x, sums.x);
    store_window(item + 1u, items, direction, oc, at.y, sums.y);
    store_window(item + 2u, items, direction, oc, at.z, sums.z);
    store_window(item + 3u, items, direction, oc, at.w, sums.w);
}

fn store_directions(item: u32, items: u32, direction: u32, oc: u32, at: vec4<u32>, sums: mat4x4<f32>) {
    let directions = transpose(sums);
    store_windows(item, items, direction, oc, at, directions[0]);
    if four_directions {
        store_windows(item, items, direction + 1u, oc, at, directions[1]);
        store_windows(item, items, direction + 2u, oc, at, directions[2]);
        store_windows(item, items, direction + 3u, oc, at, directions[3]);
    }
}

// A lane has an output channel and the workgroup's eight windows. It needs the pixels at one position of each window, where the
// channel was routed: lanes whose channels went the same way load the same pixel.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let items = layer.samples * (layer.height / 2u) * (layer.width / 2u);
    let item = layer.base + group.x * WINDOWS;
    let oc = group.y * 64u + lane;
    let together = select(1u, 4u, four_directions);
    let direction = group.z * together;
    let directions = 1u + min(direction + vec4(0u, 1u, 2u, 3u), vec4(layer.directions - 1u));
    let step = (layer.out_channels + 15u) / 16u * 16u;
    let vector = layer.in_channels * kernel() * kernel() * step;
    let tangents = directions * layer.samples * layer.in_channels * bordered_len();
    let at_a = outputs_at(item, items, oc);
    let at_b = outputs_at(item + 4u, items, oc);
    // The routed pixel of each window, in its own first row of pixels.
    let code_a = vec4(route[at_a.x], route[at_a.y], route[at_a.z], route[at_a.w]) & vec4(3u);
    let code_b = vec4(route[at_b.x], route[at_b.y], route[at_b.z], route[at_b.w]) & vec4(3u);
    let routed_a = code_a / 2u * line() + code_a % 2u;
    let routed_b = code_b / 2u * line() + code_b % 2u;
    var sums = Sums();
    stage_corners(item, items, lane);
    for (var ic = 0u; ic < layer.in_channels; ic++) {
        for (var begin = 0u; begin < kernel(); begin += staged_taps()) {
            let taps = min(staged_taps(), kernel() - begin);
            stage_pixels(ic * bordered_len() + begin * bordered_width(), taps + 1u, tangents, lane);
            let each = (taps + 1u) * line();
            let window_a = routed_a + vec4(0u, 1u, 2u, 3u) * each;
            let window_b = routed_b + vec4(4u, 5u, 6u, 7u) * each;
            var w = (ic * kernel() + begin) * kernel() * step + min(oc, step - 1u);
            for (var ky = 0u; ky < taps; ky++) {
                for (var kx = 0u; kx < kernel(); kx++) {
                    let tap = ky * line() + kx;
                    let weight = weights[w];
                    var tw = vec4(weights[w + directions.x * vector]);
                    if four_directions {
                        tw = vec4(
                            tw.x,
                            weights[w + directions.y * vector],
                            weights[w + directions.z * vector],
                            weights[w + directions.w * vector],
                        );
                    }
                    sums.a = add_pixels(sums.a, weight, tw, window_a + tap);
                    sums.b = add_pixels(sums.b, weight, tw, window_b + tap);
                    w += step;
                }
            }
            workgroupBarrier();
        }
    }
    store_directions(item, items, direction, oc, at_a, sums.a);
    store_directions(item + 4u, items, direction, oc, at_b, sums.b);
}
#end

#subgroup
fn store_row(direction: u32, oc: u32, item: u32, sums: vec4<f32>) {
    if oc >= layer.out_channels { return; }
    let cells = (layer.height / 2u) * (layer.width / 2u);
    let at = (item / cells * layer.out_channels + oc) * cells + item % cells;
    let code = route[at];
    let upper = select(sums.x, sums.y, code == 1u);
    let lower = select(sums.z, sums.w, code == 3u);
    let value = select(upper, lower, code >= 2u) + vectors[direction * layer.pitch + layer.bias + oc];
    tp[direction * layer.samples * layer.out_channels * cells + at] = select(value, 0.0, code >= DEAD);
}

#rows weight_rows weights

// Rows are output channels, columns the four positions of the window of one pooled cell (n, py, px). Three of the four are
// thrown away, which is still the cheapest: two loads give each position sixteen channels of both products, where the routed
// positions of sixteen channels are up to sixteen different places.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let ph = layer.height / 2u;
    let pw = layer.width / 2u;
    let first = layer.base + group.x * 64u + lane;
    let items = layer.samples * ph * pw;
    if past_end(first, lane, items) { return; }
    let item = min(first, items - 1u);
    let width = bordered_width();
    let corner = item / (ph * pw) * layer.in_channels * bordered_len() + item / pw % ph * 2u * width + item % pw * 2u;
    let tangents = (1u + group.z) * layer.samples * layer.in_channels * bordered_len();
    let step = (layer.out_channels + ROWS - 1u) / ROWS * ROWS;
    let rows = row_offsets(lane, ROWS, 1u);
    let vector = (1u + group.z) * layer.in_channels * kernel() * kernel() * step;
    var w = group.y * ROWS;
    var sums = Tile();
    for (var ic = 0u; ic < layer.in_channels; ic++) {
        for (var ky = 0u; ky < kernel(); ky++) {
            var at = corner + ic * bordered_len() + ky * width;
            var left = vec2(images[at], images[at + width]);
            var tleft = vec2(0.0);
            if !one_product { tleft = vec2(images[tangents + at], images[tangents + at + width]); }
            for (var kx = 0u; kx < kernel(); kx++) {
                at += 1u;
                let right = vec2(images[at], images[at + width]);
                let window = vec4(left.x, right.x, left.y, right.y);
                left = right;
                let tw = weight_rows(vector + w, rows);
                if one_product {
                    sums = add_tile(sums, tw, window);
                } else {
                    let tright = vec2(images[tangents + at], images[tangents + at + width]);
                    let twindow = vec4(tleft.x, tright.x, tleft.y, tright.y);
                    sums = add_pair(sums, tw, window, weight_rows(w, rows), twindow);
                    tleft = tright;
                }
                w += step;
            }
        }
    }
    if first < items { store_rows(layer.first + group.z, group.y * ROWS, item, sums); }
}
#end
