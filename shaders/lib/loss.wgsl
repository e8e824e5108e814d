// Shapes of the loss: logits (N, C).
struct Loss {
    samples: u32,
    classes: u32,
    scale: f32, // one over the size of the whole subset
}
var<immediate> loss: Loss;
