#import bevy_pbr::{
    forward_io::Vertex,
    mesh_functions,
    view_transformations::position_world_to_clip,
}

struct Matte {
    colour: vec4<f32>,
    // Direction to the sun, strength.
    sun: vec4<f32>,
    // Sky from above, from below, unused, height of the plane that shadows lie on (0: no shadow).
    sky: vec4<f32>,
}

@group(#{MATERIAL_BIND_GROUP}) @binding(0) var<uniform> matte: Matte;

struct Lit {
    @builtin(position) position: vec4<f32>,
    @location(0) colour: vec4<f32>,
}

@vertex
fn vertex(corner: Vertex) -> Lit {
    let world_from_local = mesh_functions::get_world_from_local(corner.instance_index);
    var place = mesh_functions::mesh_position_local_to_world(world_from_local, vec4<f32>(corner.position, 1.0)).xyz;
    var out: Lit;
    if matte.sky.w > 0.0 {
        let height = max(place.z, 0.0);
        place = vec3<f32>(place.xy - matte.sun.xy * (height / matte.sun.z), matte.sky.w);
        out.colour = matte.colour;
    } else {
        let normal = mesh_functions::mesh_normal_local_to_world(corner.normal, corner.instance_index);
        let sky = mix(matte.sky.y, matte.sky.x, 0.5 + 0.5 * normal.z);
        let light = sky + matte.sun.w * max(dot(normal, matte.sun.xyz), 0.0);
        out.colour = vec4<f32>(matte.colour.rgb * light, matte.colour.a);
    }
    out.position = position_world_to_clip(place);
    return out;
}

@fragment
fn fragment(in: Lit) -> @location(0) vec4<f32> {
    return in.colour;
}
