// What store_rows hands on: an input channel of a window, in the kernel's `dx`.
fn store_row(direction: u32, ic: u32, item: u32, sums: vec4<f32>) {
    if ic >= layer.in_channels { return; }
    let window = window(direction, ic, item);
    let below = window.at + layer.width;
    dx[window.at] = sums.x;
    if window.right { dx[window.at + 1u] = sums.y; }
    if window.below { dx[below] = sums.z; }
    if window.right && window.below { dx[below + 1u] = sums.w; }
}
