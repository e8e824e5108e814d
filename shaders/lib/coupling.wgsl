// What two conv blocks' parameters have to do with each other: channels c between them, J = IC1 K1^2 + 1 components of the first
// block's channel, its weights and then its bias.
struct Coupling {
    channels: u32,
    out_channels: u32, // of the second block
    taps: u32,         // K^2 of the second block
    own: u32,          // J
    first_weight: u32, // first component of the first block's weight in a parameter vector
    first_bias: u32,   // and of its bias
    weight: u32,       // and of the second block's weight
    pitch: u32,        // distance between two parameter vectors
}
var<immediate> blocks: Coupling;

// Component j of the first block's channel, in a direction.
fn own_component(direction: u32, channel: u32, j: u32) -> u32 {
    let weight = blocks.first_weight + channel * (blocks.own - 1u) + j;
    return direction * blocks.pitch + select(weight, blocks.first_bias + channel, j + 1u == blocks.own);
}
