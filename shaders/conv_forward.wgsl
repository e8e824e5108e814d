// conv_forward.wgsl: p = pool(relu(W x + b)), and which position of each 2x2 window won.
#import conv
#import outer
#import rows
#import tile
#import store_rows

@group(0) @binding(0) var<storage, read> theta: array<f32>; // (dim), for the bias
@group(0) @binding(1) var<storage, read> weights: array<Packed>; // (IC, K, K, OC16): OC padded to a multiple of 16
@group(0) @binding(2) var<storage, read> images: array<f32>; // (N, IC, H + K - 1, W + K - 1): x with a border
@group(0) @binding(3) var<storage, read_write> p: array<f32>; // (N, OC, PH, PW)
@group(0) @binding(4) var<storage, read_write> route: array<u32>; // (N, OC, PH, PW)

fn store_row(direction: u32, oc: u32, item: u32, sums: vec4<f32>) {
    if oc >= layer.out_channels { return; }
    let z = sums + theta[layer.bias + oc];
    var best = z.x;
    var code = 0u;
    // Strictly greater: ties go to the first position.
    if z.y > best { best = z.y; code = 1u; }
    if z.z > best { best = z.z; code = 2u; }
    if z.w > best { best = z.w; code = 3u; }
    let dead = best <= 0.0;
    let cells = (layer.height / 2u) * (layer.width / 2u);
    let at = (item / cells * layer.out_channels + oc) * cells + item % cells;
    p[at] = select(best, 0.0, dead);
    route[at] = select(code, DEAD, dead);
}

#rows weight_rows weights

// Rows are output channels, columns the four positions of the window of one pooled cell (n, py, px).
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
    let step = (layer.out_channels + ROWS - 1u) / ROWS * ROWS;
    let rows = row_offsets(lane, ROWS, 1u);
    var w = group.y * ROWS;
    var sums = Tile();
    for (var ic = 0u; ic < layer.in_channels; ic++) {
        for (var ky = 0u; ky < kernel(); ky++) {
            var at = corner + ic * bordered_len() + ky * width;
            var left = vec2(images[at], images[at + width]);
            for (var kx = 0u; kx < kernel(); kx++) {
                at += 1u;
                let right = vec2(images[at], images[at + width]);
                sums = add_tile(sums, weight_rows(w, rows), vec4(left.x, right.x, left.y, right.y));
                left = right;
                w += step;
            }
        }
    }
    if first < items { store_rows(0u, group.y * ROWS, item, sums); }
}
