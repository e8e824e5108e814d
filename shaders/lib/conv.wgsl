// Shapes of a conv block: input (N, IC, H, W), kernel (OC, IC, K, K) with zero padding K/2, pooled output (N, OC, PH, PW).
struct Conv {
    samples: u32,
    directions: u32,
    in_channels: u32,
    out_channels: u32,
    height: u32,
    width: u32,
    kernel: u32,
    weight: u32, // first component of the weight in a parameter vector
    bias: u32,   // and of the bias
    pitch: u32,  // distance between two parameter vectors
    slice: u32,  // pooled rows (n, py) in one slice of a split sum
    base: u32,   // first item, or pair of slice and direction, of this dispatch: long work is cut into several
}
var<immediate> layer: Conv;

const DEAD: u32 = 4u;

// Channels that one invocation computes: the loads of the other operand are shared by all four.
const CHANNELS: u32 = 4u;

// Four consecutive channels; past the end they repeat the last one, whose value is then not stored.
fn channels(first: u32, count: u32) -> vec4<u32> {
    return min(first + vec4(0u, 1u, 2u, 3u), vec4(count - 1u));
}

// Whether the pixel lies on the image. Unsigned, so that "above" and "left of" are far past the end.
fn inside(y: u32, x: u32) -> bool {
    return y < layer.height && x < layer.width;
}
