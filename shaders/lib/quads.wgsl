// Bordered images in quads, (1 + K, N, H + K - 1, W + K - 1, Q): four input channels of a pixel, padded with zeros, or with few
// channels the pixel and its three right neighbours in one of them. A step of a sum over taps takes a quad: a tap of four channels,
// or four taps of a row, of whose last quad there may be less.
override few_channels: bool = false;

// Quads of a pixel.
fn quads() -> u32 {
    return select((layer.in_channels + 3u) / 4u, layer.in_channels, few_channels);
}

// Of a row of taps.
fn steps_across() -> u32 {
    return select(kernel(), (kernel() + 3u) / 4u, few_channels);
}

// The first tap of a step.
fn tap_of(step: u32) -> u32 {
    return step * select(1u, 4u, few_channels);
}
