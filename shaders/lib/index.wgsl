// One invocation per item: 64 to a workgroup, and more than 65535 workgroups continue in the next row of the grid.
const ROW: u32 = 65535u * 64u;

fn flat(id: vec3<u32>) -> u32 {
    return id.x + id.y * ROW;
}

// Four items for each invocation instead, 64 apart so that neighbours load neighbours.
fn flat4(group: vec3<u32>, lane: u32) -> vec4<u32> {
    return (group.x + group.y * 65535u) * 256u + lane + vec4(0u, 64u, 128u, 192u);
}
