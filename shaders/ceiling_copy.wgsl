// ceiling_copy.wgsl: to = source, sixteen bytes an invocation: what the adapter's memory can move at most.
#import index

struct Copy {
    quads: u32,
}
var<immediate> copy: Copy;

@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>; // (quads)
@group(0) @binding(1) var<storage, read_write> to: array<vec4<f32>>; // (quads)

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = flat(id);
    if i >= copy.quads { return; }
    to[i] = source[i];
}
