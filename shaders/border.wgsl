// border.wgsl: images[0] = x and images[k] = tx[k - 1], with a border of K/2 zeros around each image.
#import index
#import conv

@group(0) @binding(0) var<storage, read> x: array<f32>; // (N, IC, H, W)
@group(0) @binding(1) var<storage, read> tx: array<f32>; // (K, N, IC, H, W); x again in the first layer, not read
@group(0) @binding(2) var<storage, read_write> images: array<f32>; // (1 + K, N, IC, H + K - 1, W + K - 1)

// One invocation: a column of one image. Neighbours have neighbouring columns, and the divisions are done once for all rows;
// a software adapter divides lane by lane.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let item = flat(id);
    let count = layer.samples * layer.in_channels;
    if item >= count * bordered_width() { return; }
    let image = item / bordered_width();
    let to = id.z * count * bordered_len() + image * bordered_len() + item % bordered_width();
    // Unsigned, so that "left of" and "above" are far past the end.
    let column = item % bordered_width() - layer.kernel / 2u;
    let inside = column < layer.width;
    let first = image * layer.height * layer.width + select(0u, column, inside);
    let tangents = (layer.first + max(id.z, 1u) - 1u) * count * layer.height * layer.width;
    for (var row = 0u; row < layer.height + layer.kernel - 1u; row++) {
        let y = row - layer.kernel / 2u;
        var value = 0.0;
        if inside && y < layer.height {
            let at = first + y * layer.width;
            if id.z == 0u {
                value = x[at];
            } else {
                value = tx[tangents + at];
            }
        }
        images[to + row * bordered_width()] = value;
    }
}
