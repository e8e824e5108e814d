// rmsprop.wgsl: ms <- decay ms + (1 - decay) g^2, mom <- momentum mom + rate g / sqrt(ms + epsilon), theta <- theta - mom.
#import index

struct RmsProp {
    len: u32,
    rate: f32,
    decay: f32,
    fresh: f32, // 1 - decay, subtracted in f64
    momentum: f32,
    epsilon: f32,
}
var<immediate> step: RmsProp;

@group(0) @binding(0) var<storage, read> gradient: array<f32>; // (len)
@group(0) @binding(1) var<storage, read_write> mean_square: array<f32>; // (len)
@group(0) @binding(2) var<storage, read_write> momenta: array<f32>; // (len)
@group(0) @binding(3) var<storage, read_write> theta: array<f32>; // (len)

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = flat(id);
    if i >= step.len { return; }
    let g = gradient[i];
    let ms = fma(step.decay, mean_square[i], step.fresh * g * g);
    let mom = fma(step.momentum, momenta[i], step.rate * g / sqrt(ms + step.epsilon));
    mean_square[i] = ms;
    momenta[i] = mom;
    theta[i] -= mom;
}
