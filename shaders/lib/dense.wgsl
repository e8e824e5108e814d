// Shapes of a dense layer: input (N, I), weight (O, I), output (N, O).
struct Dense {
    samples: u32,
    inputs: u32,
    outputs: u32,
    relu: u32,
    weight: u32, // first component of the weight in a parameter vector
    bias: u32,   // and of the bias
    pitch: u32,  // distance between two parameter vectors
    begin: u32,  // the range of samples that a sum over them takes
    end: u32,
    base: u32,   // first row of tiles of this dispatch: long work is cut into several
    first: u32,  // first direction of this dispatch: what is packed for a dispatch holds no more than fit a buffer
    directions: u32, // and how many
    slice: u32,  // length of one slice of a split sum; z is the pair of slice and direction
    slices: u32,
    accumulate: u32, // whether sums are added to what is stored: those over a later range are
}
var<immediate> layer: Dense;
