// conv_tangent.wgsl: tp = (W tx + tW x + tb)[route], zero where dead.
#import conv
#import outer
#import rows
#import tile
#import store_rows

@group(0) @binding(0) var<storage, read> vectors: array<f32>; // (K, pitch), for the bias
@group(0) @binding(1) var<storage, read> weights: array<Packed>; // (1 + K, IC, K, K, OC16): W and then tW, OC padded
@group(0) @binding(2) var<storage, read> images: array<f32>; // (1 + K, N, IC, H + K - 1, W + K - 1): x, then tx, bordered
@group(0) @binding(3) var<storage, read> route: array<u32>; // (N, OC, PH, PW)
@group(0) @binding(4) var<storage, read_write> tp: array<f32>; // (K, N, OC, PH, PW)

override one_product: bool = false;

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
    let vector = (1u + group.z) * layer.in_channels * layer.kernel * layer.kernel * step;
    var w = group.y * ROWS;
    var sums = Tile();
    for (var ic = 0u; ic < layer.in_channels; ic++) {
        for (var ky = 0u; ky < layer.kernel; ky++) {
            var at = corner + ic * bordered_len() + ky * width;
            var left = vec2(images[at], images[at + width]);
            var tleft = vec2(0.0);
            if !one_product { tleft = vec2(images[tangents + at], images[tangents + at + width]); }
            for (var kx = 0u; kx < layer.kernel; kx++) {
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
