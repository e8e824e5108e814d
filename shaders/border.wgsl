// border.wgsl: images[0] = x and images[k] = tx[k - 1], with a border of K/2 zeros around each image.
#import index
#import conv

@group(0) @binding(0) var<storage, read> x: array<f32>; // (N, IC, H, W)
@group(0) @binding(1) var<storage, read> tx: array<f32>; // (K, N, IC, H, W); x again in the first layer, not read
@group(0) @binding(2) var<storage, read_write> images: array<f32>; // (1 + K, N, IC, H + K - 1, W + K - 1)

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let len = layer.samples * layer.in_channels * bordered_len();
    let item = flat(id);
    if item >= len { return; }
    // Unsigned, so that "above" and "left of" are far past the end.
    let column = item % bordered_width() - layer.kernel / 2u;
    let y = item % bordered_len() / bordered_width() - layer.kernel / 2u;
    let image = item / bordered_len();
    var value = 0.0;
    if y < layer.height && column < layer.width {
        let at = (image * layer.height + y) * layer.width + column;
        if id.z == 0u {
            value = x[at];
        } else {
            let inputs = layer.samples * layer.in_channels * layer.height * layer.width;
            value = tx[(layer.first + id.z - 1u) * inputs + at];
        }
    }
    images[id.z * len + item] = value;
}
