// Shapes of a dense layer: input (N, I), weight (O, I), output (N, O).
struct Dense {
    samples: u32,
    inputs: u32,
    outputs: u32,
    relu: u32,
    weight: u32, // first component of the weight in a parameter vector
    bias: u32,   // and of the bias
    pitch: u32,  // distance between two parameter vectors
    begin: u32,  // the range of the summed index in this dispatch; later ranges add to what the first one stored
    end: u32,
    base: u32,   // first row of tiles of this dispatch: long work is cut into several
}
var<immediate> layer: Dense;

// A workgroup of 8x8 invocations computes 32x32 entries of a matrix, an invocation 4x4 of them: consecutive rows, so that
// invocations without rows can stop, and columns eight apart, so that neighbours load neighbours. No workgroup memory:
// four loads from each side feed sixteen multiply-adds.
const TILE: u32 = 32u;

fn tile_rows(group: vec3<u32>, lane: u32) -> vec4<u32> {
    return (layer.base + group.y) * TILE + lane / 8u * 4u + vec4(0u, 1u, 2u, 3u);
}

fn tile_columns(group: vec3<u32>, lane: u32) -> vec4<u32> {
    return group.x * TILE + lane % 8u + vec4(0u, 8u, 16u, 24u);
}

// Rows or columns past the end load the last one; what they compute is not stored.
fn clamped(index: vec4<u32>, count: u32) -> vec4<u32> {
    return min(index, vec4(count - 1u));
}
