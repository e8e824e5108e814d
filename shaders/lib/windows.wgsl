// The 2x2 windows of input pixels that the kernels of a conv block's input adjoint make: an odd last row or column makes
// windows too, of which a part lies outside the image.
struct Window {
    at: u32,     // upper left pixel in an array (K, N, IC, H, W)
    right: bool, // whether there is a pixel to its right
    below: bool, // and below
}

fn windows_across() -> u32 {
    return (layer.width + 1u) / 2u;
}

fn windows_down() -> u32 {
    return (layer.height + 1u) / 2u;
}

fn window(direction: u32, ic: u32, item: u32) -> Window {
    let across = windows_across();
    let down = windows_down();
    let y = item / across % down * 2u;
    let x = item % across * 2u;
    let image = (direction * layer.samples + item / (across * down)) * layer.in_channels + ic;
    return Window((image * layer.height + y) * layer.width + x, x + 1u < layer.width, y + 1u < layer.height);
}
