// Shapes of a conv block: input (N, IC, H, W), kernel (OC, IC, K, K) with zero padding K/2, pooled output (N, OC, PH, PW).
struct Conv {
    samples: u32,
    directions: u32, // of this dispatch
    in_channels: u32,
    out_channels: u32,
    height: u32,
    width: u32,
    kernel: u32,
    weight: u32, // first component of the weight in a parameter vector
    bias: u32,   // and of the bias
    pitch: u32,  // distance between two parameter vectors
    slice: u32,  // pooled rows (n, py) in one slice of a split sum
    base: u32,   // first item, workgroup, or pair of slice and group of directions of this dispatch: long work is cut into several
    first: u32,  // first direction of this dispatch: what is packed for a dispatch holds no more than fit a buffer
}
var<immediate> layer: Conv;

const DEAD: u32 = 4u;

// The layer's, where the host has it compiled in, so that loops over taps are unrolled; zero where not.
override kernel_size: u32 = 0u;

fn kernel() -> u32 {
    return select(layer.kernel, kernel_size, kernel_size > 0u);
}

// Images with a border of K/2 zeros, as `border.wgsl` makes them: the kernels need not ask where the image ends.
fn bordered_width() -> u32 {
    return layer.width + kernel() - 1u;
}

fn bordered_len() -> u32 {
    return (layer.height + kernel() - 1u) * bordered_width();
}
