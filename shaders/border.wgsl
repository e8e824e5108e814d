// border.wgsl: images[0] = x and images[k] = tx[k - 1], with a border of K/2 zeros around each image.
#import index
#import conv
#import quads

@group(0) @binding(0) var<storage, read> x: array<f32>; // (N, IC, H, W)
@group(0) @binding(1) var<storage, read> tx: array<f32>; // (K, N, IC, H, W); x again in the first layer, not read
@group(0) @binding(2) var<storage, read_write> images: array<f32>; // (1 + K, N, IC, H + K - 1, W + K - 1)

override in_quads: bool = false; // then images is (1 + K, N, H + K - 1, W + K - 1, Q, 4)

fn pixel(tangent: bool, at: u32) -> f32 {
    if tangent { return tx[at]; }
    return x[at];
}

// One invocation: `layer.slice` rows of a column of one image, or of a quad. Neighbours have neighbouring columns, and the
// divisions are done once for all rows.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let item = flat(id);
    let each = select(layer.in_channels, quads(), in_quads); // columns of a sample, with the same x
    let width = bordered_width();
    let count = layer.samples * each;
    let image = item / width % count;
    let begin = item / width / count * layer.slice;
    let end = min(begin + layer.slice, layer.height + kernel() - 1u);
    // Unsigned, so that "left of" and "above" are far past the end.
    let column = item % width - kernel() / 2u;
    let inside = column < layer.width;
    let channel = image % each * select(1u, 4u, in_quads && !few_channels);
    let plane = layer.height * layer.width;
    let tangents = select(0u, (layer.first + id.z - 1u) * layer.samples * layer.in_channels * plane, id.z > 0u);
    let first = tangents + (image / each * layer.in_channels + channel) * plane;
    let to = id.z * count + image / each * each;
    for (var row = begin; row < end; row++) {
        let y = row - kernel() / 2u;
        let at = first + y * layer.width;
        let pixel_to = row * width + item % width;
        if in_quads {
            for (var c = 0u; c < 4u; c++) {
                let x = column + select(0u, c, few_channels);
                let more = select(c, 0u, few_channels);
                var value = 0.0;
                if y < layer.height && x < layer.width && channel + more < layer.in_channels {
                    value = pixel(id.z > 0u, at + more * plane + x);
                }
                images[4u * (to * bordered_len() + pixel_to * each + image % each) + c] = value;
            }
        } else {
            var value = 0.0;
            if inside && y < layer.height { value = pixel(id.z > 0u, at + column); }
            images[(to + channel) * bordered_len() + pixel_to] = value;
        }
    }
}
