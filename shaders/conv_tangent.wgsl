// conv_tangent.wgsl: tp = (W tx + tW x + tb)[route], zero where dead.
#import conv
#workgroup
#import quads
#end
#subgroup
#import outer
#import rows
#import tile
#import store_rows
#end

@group(0) @binding(0) var<storage, read> vectors: array<f32>; // (K, pitch), for the bias
#workgroup
@group(0) @binding(1) var<storage, read> weights: array<vec4<f32>>; // (1 + K, Q, K, steps, OC16): W and then tW, in quads
@group(0) @binding(2) var<storage, read> images: array<vec4<f32>>; // (1 + K, N, H + K - 1, W + K - 1, Q): x, then tx
#end
#subgroup
@group(0) @binding(1) var<storage, read> weights: array<Packed>; // (1 + K, IC, K, K, OC16): W and then tW, OC padded
@group(0) @binding(2) var<storage, read> images: array<f32>; // (1 + K, N, IC, H + K - 1, W + K - 1): x, then tx, bordered
#end
@group(0) @binding(3) var<storage, read> route: array<u32>; // (N, OC, PH, PW)
@group(0) @binding(4) var<storage, read_write> tp: array<f32>; // (K, N, OC, PH, PW)

override one_product: bool = false;

#workgroup
override four_directions: bool = false; // of a lane; otherwise it has one

// Eight windows of a workgroup: a few rows of a quad of each of their pixels.
const WINDOWS: u32 = 8u;
const STAGED: u32 = 384u;
var<workgroup> staged: array<vec4<f32>, STAGED>;
// Upper left pixel of each window in x.
var<workgroup> corners: array<u32, WINDOWS>;

struct Stage {
    quad: u32,
    first: u32,  // row of taps, and of pixels
    taps: u32,   // rows of taps; there is one more row of pixels
    weight: u32, // the first that meets them, in W
    a: vec4<u32>, // staged pixels that four windows were routed to
    b: vec4<u32>,
}

// Four windows each, in one direction.
struct Pair {
    a: vec4<f32>,
    b: vec4<f32>,
}

// In up to four directions.
struct Sums {
    x: Pair,
    y: Pair,
    z: Pair,
    w: Pair,
}

// Pixels of a staged row; the four positions of a window lie in different banks of the memory.
fn line() -> u32 {
    return kernel() + 1u + select(0u, 2u, (kernel() + 1u) % 8u == 0u);
}

// Between the weights of two steps.
fn weights_apart() -> u32 {
    return (layer.out_channels + 15u) / 16u * 16u;
}

// Rows of taps that are staged at a time.
fn staged_taps() -> u32 {
    return min(kernel(), STAGED / (WINDOWS * line()) - 1u);
}

fn stage_corners(first: u32, items: u32, lane: u32) {
    if lane < WINDOWS {
        let ph = layer.height / 2u;
        let pw = layer.width / 2u;
        let item = min(first + lane, items - 1u);
        corners[lane] = item / (ph * pw) * bordered_len() + item / pw % ph * 2u * bordered_width() + item % pw * 2u;
    }
    workgroupBarrier();
}

// Pixels of x, in slot 0, or of a direction's tx.
fn stage_pixels(slot: u32, stage: Stage, lane: u32) {
    let across = kernel() + 1u;
    let rows = stage.taps + 1u;
    let image = slot * layer.samples * bordered_len();
    for (var i = lane; i < WINDOWS * rows * across; i += 64u) {
        let row = i / across;
        let pixel = corners[row / rows] + (stage.first + row % rows) * bordered_width() + i % across;
        staged[row * line() + i % across] = images[(image + pixel) * quads() + stage.quad];
    }
    workgroupBarrier();
}

// What a step's weights meet in four windows: a row for each of a quad.
fn quads_at(at: vec4<u32>, step: u32) -> mat4x4<f32> {
    let pixel = tap_of(step) + at;
    return transpose(mat4x4<f32>(staged[pixel.x], staged[pixel.y], staged[pixel.z], staged[pixel.w]));
}

fn add_quad(sums: vec4<f32>, weight: vec4<f32>, pixels: mat4x4<f32>, step: u32) -> vec4<f32> {
    let count = select(4u, kernel() - tap_of(step), few_channels);
    var sum = fma(vec4(weight.x), pixels[0], sums);
    if count > 1u { sum = fma(vec4(weight.y), pixels[1], sum); }
    if count > 2u { sum = fma(vec4(weight.z), pixels[2], sum); }
    if count > 3u { sum = fma(vec4(weight.w), pixels[3], sum); }
    return sum;
}

fn add_step(sums: Pair, weight: vec4<f32>, a: mat4x4<f32>, b: mat4x4<f32>, step: u32) -> Pair {
    return Pair(add_quad(sums.a, weight, a, step), add_quad(sums.b, weight, b, step));
}

// Weights of the lane's directions.
fn tangent_weights(at: vec4<u32>) -> mat4x4<f32> {
    let first = weights[at.x];
    if !four_directions { return mat4x4<f32>(first, first, first, first); }
    return mat4x4<f32>(first, weights[at.y], weights[at.z], weights[at.w]);
}

// Adds W's products with the images of a direction.
fn add_images(sums: Pair, slot: u32, stage: Stage, lane: u32) -> Pair {
    var added = sums;
    stage_pixels(slot, stage, lane);
    for (var ky = 0u; ky < stage.taps; ky++) {
        for (var step = 0u; step < steps_across(); step++) {
            let weight = weights[(ky * steps_across() + step) * weights_apart() + stage.weight];
            let a = quads_at(ky * line() + stage.a, step);
            added = add_step(added, weight, a, quads_at(ky * line() + stage.b, step), step);
        }
    }
    workgroupBarrier();
    return added;
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

fn store_pair(item: u32, items: u32, direction: u32, oc: u32, at_a: vec4<u32>, at_b: vec4<u32>, sums: Pair) {
    store_windows(item, items, direction, oc, at_a, sums.a);
    store_windows(item + 4u, items, direction, oc, at_b, sums.b);
}

// A lane has an output channel and the workgroup's eight windows. It needs the pixels at one position of each window, where the
// channel was routed: lanes whose channels went the same way load the same pixel, and one load brings four products.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let items = layer.samples * (layer.height / 2u) * (layer.width / 2u);
    let item = layer.base + group.x * WINDOWS;
    let oc = group.y * 64u + lane;
    let together = select(1u, 4u, four_directions);
    let direction = group.z * together;
    let slots = 1u + min(direction + vec4(0u, 1u, 2u, 3u), vec4(layer.directions - 1u));
    let own = min(oc, weights_apart() - 1u);
    let vector = quads() * kernel() * steps_across() * weights_apart();
    let at_a = outputs_at(item, items, oc);
    let at_b = outputs_at(item + 4u, items, oc);
    // The routed pixel of each window, in its own first row of pixels.
    let code_a = vec4(route[at_a.x], route[at_a.y], route[at_a.z], route[at_a.w]) & vec4(3u);
    let code_b = vec4(route[at_b.x], route[at_b.y], route[at_b.z], route[at_b.w]) & vec4(3u);
    let routed_a = code_a / 2u * line() + code_a % 2u;
    let routed_b = code_b / 2u * line() + code_b % 2u;
    var sums = Sums();
    stage_corners(item, items, lane);
    for (var quad = 0u; quad < quads(); quad++) {
        for (var first = 0u; first < kernel(); first += staged_taps()) {
            let taps = min(staged_taps(), kernel() - first);
            let each = (taps + 1u) * line();
            let a = routed_a + vec4(0u, 1u, 2u, 3u) * each;
            let b = routed_b + vec4(4u, 5u, 6u, 7u) * each;
            let w = (quad * kernel() + first) * steps_across() * weights_apart() + own;
            let stage = Stage(quad, first, taps, w, a, b);
            stage_pixels(0u, stage, lane);
            for (var ky = 0u; ky < taps; ky++) {
                for (var step = 0u; step < steps_across(); step++) {
                    let tw = tangent_weights((ky * steps_across() + step) * weights_apart() + slots * vector + w);
                    let pixels_a = quads_at(ky * line() + a, step);
                    let pixels_b = quads_at(ky * line() + b, step);
                    sums.x = add_step(sums.x, tw[0], pixels_a, pixels_b, step);
                    if four_directions {
                        sums.y = add_step(sums.y, tw[1], pixels_a, pixels_b, step);
                        sums.z = add_step(sums.z, tw[2], pixels_a, pixels_b, step);
                        sums.w = add_step(sums.w, tw[3], pixels_a, pixels_b, step);
                    }
                }
            }
            workgroupBarrier();
            if one_product { continue; }
            sums.x = add_images(sums.x, slots.x, stage, lane);
            if four_directions && direction + 1u < layer.directions { sums.y = add_images(sums.y, slots.y, stage, lane); }
            if four_directions && direction + 2u < layer.directions { sums.z = add_images(sums.z, slots.z, stage, lane); }
            if four_directions && direction + 3u < layer.directions { sums.w = add_images(sums.w, slots.w, stage, lane); }
        }
    }
    store_pair(item, items, direction, oc, at_a, at_b, sums.x);
    if four_directions {
        store_pair(item, items, direction + 1u, oc, at_a, at_b, sums.y);
        store_pair(item, items, direction + 2u, oc, at_a, at_b, sums.z);
        store_pair(item, items, direction + 3u, oc, at_a, at_b, sums.w);
    }
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
