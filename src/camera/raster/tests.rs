//! Known geometry gives known pixels; the same scene gives the same bits however it is drawn.

use super::*;
use bevy::math::{Quat, Vec2, Vec3, Vec3 as V};

const RED: Vec3 = Vec3::new(0.6, 0.02, 0.02);
const BLUE: Vec3 = Vec3::new(0.02, 0.05, 0.6);

fn cube(scene: &mut RasterScene, size: f32, at: Vec3, colour: Vec3) {
    let mesh = scene.add_mesh(RasterMesh::cuboid(Vec3::splat(size)).unwrap());
    scene.instances.push(Instance::new(mesh, Pose::from_translation(at), colour));
}

/// A table with a moving arm of two boxes, a static post and an outline.
fn busy_scene(tick: usize) -> RasterScene {
    let mut scene = RasterScene::new();
    scene.table = Some(TableTop::default());
    cube(&mut scene, 0.05, V::new(0.1, -0.1, 0.025), BLUE);
    scene.instances[0].is_static = true;
    let angle = tick as f32 * 0.05;
    let beam = scene.add_mesh(RasterMesh::cuboid(V::new(0.2, 0.03, 0.03)).unwrap());
    let pose = Pose::new(Quat::from_rotation_z(angle), V::new(0.0, -0.2, 0.09));
    scene.instances.push(Instance::new(beam, pose, V::splat(0.8)));
    cube(&mut scene, 0.03, V::new(0.02 * angle.sin(), -0.25, 0.015), RED);
    let points_m = [(-0.05, -0.25), (0.05, -0.25), (0.05, -0.15)].map(|(x, y)| Vec2::new(x, y)).to_vec();
    let colour = V::new(0.9, 0.6, 0.05);
    scene.outlines.push(Outline { points_m, width_m: 0.005, offset_m: 0.001, colour, fill: 0.1 });
    scene
}

fn overview(width: usize, height: usize) -> CameraModel {
    CameraModel::look_at(width, height, 0.7, V::new(0.05, -0.6, 0.5), V::new(0.0, -0.2, 0.0)).unwrap()
}

fn picture(scene: &RasterScene, camera: &CameraModel) -> Vec<u8> {
    let mut renderer = Renderer::new();
    renderer.begin_tick(scene).unwrap();
    let mut rgb = vec![0; camera.rgb_bytes()];
    renderer.draw(0, camera, &mut rgb).unwrap();
    rgb
}

fn pixel(rgb: &[u8], camera: &CameraModel, x: usize, y: usize) -> [i32; 3] {
    let at = (y * camera.width + x) * 3;
    [0, 1, 2].map(|k| i32::from(rgb[at + k]))
}

/// A camera one metre in front of the origin, level, looking along +y; x is to the right.
fn level(size: usize, fov: f32) -> CameraModel {
    CameraModel::look_at(size, size, fov, V::new(0.0, -1.0, 0.0), V::ZERO).unwrap()
}

/// Nothing but what the instances show, in even light from the front.
fn black_backdrop(scene: &mut RasterScene) {
    scene.light = Light { to_sun: V::new(0.0, -1.0, 0.2), sky: V::ZERO, bounce: V::ZERO, ..Light::default() };
    scene.backdrop = Backdrop { horizon: V::ZERO, zenith: V::ZERO, floor: V::ZERO, ..Backdrop::default() };
}

/// Red-covered area in pixels and its centre, from the share of the full red of the face.
fn red_area(rgb: &[u8], camera: &CameraModel) -> (f64, f64, f64) {
    let light = |b: u8| f64::from(linear_from_srgb8([b, 0, 0])[0]);
    let full = rgb.iter().step_by(3).map(|&b| light(b)).fold(0.0, f64::max);
    let (mut area, mut cx, mut cy) = (0.0, 0.0, 0.0);
    for y in 0..camera.height {
        for x in 0..camera.width {
            let share = light(rgb[(y * camera.width + x) * 3]) / full;
            area += share;
            cx += share * (x as f64 + 0.5);
            cy += share * (y as f64 + 0.5);
        }
    }
    (area, cx / area, cy / area)
}

#[test]
fn silhouette_of_a_cube_has_the_right_area_and_centre() {
    for (x, z) in [(0.0f32, 0.0f32), (0.1, 0.0), (-0.13, 0.07)] {
        let mut scene = RasterScene::new();
        black_backdrop(&mut scene);
        // A thin plate facing the camera, so that only one face is seen.
        let mesh = scene.add_mesh(RasterMesh::cuboid(V::new(0.2, 0.0001, 0.2)).unwrap());
        let mut plate = Instance::new(mesh, Pose::from_translation(V::new(x, 0.0, z)), RED);
        plate.gloss = 0.0;
        scene.instances.push(plate);
        let camera = level(96, 0.6);
        let (area, cx, cy) = red_area(&picture(&scene, &camera), &camera);
        let f = f64::from(camera.focal_px());
        let side = 0.2 * f;
        assert!((area / (side * side) - 1.0).abs() < 0.012, "{area} against {}", side * side);
        assert!((cx - (48.0 + f * f64::from(x))).abs() < 0.15, "{cx}");
        assert!((cy - (48.0 - f * f64::from(z))).abs() < 0.15, "{cy}");
    }
}

#[test]
fn a_sub_pixel_move_of_the_camera_moves_the_picture_by_as_much() {
    let mut scene = RasterScene::new();
    black_backdrop(&mut scene);
    let mesh = scene.add_mesh(RasterMesh::cuboid(V::new(0.23, 0.0001, 0.17)).unwrap());
    scene.instances.push(Instance { gloss: 0.0, ..Instance::new(mesh, Pose::IDENTITY, RED) });
    let camera = level(64, 0.6);
    let mut moved = camera;
    let step = 0.4 / camera.focal_px();
    moved.world_from_camera.translation += V::new(step, 0.0, -step);
    let (_, x0, y0) = red_area(&picture(&scene, &camera), &camera);
    let (_, x1, y1) = red_area(&picture(&scene, &moved), &moved);
    assert!((x0 - x1 - 0.4).abs() < 0.1 && (y0 - y1 - 0.4).abs() < 0.1, "{x0} {x1} {y0} {y1}");
}

#[test]
fn projected_points_lie_where_they_are_drawn() {
    let mut scene = RasterScene::new();
    black_backdrop(&mut scene);
    let at = V::new(0.07, -0.11, 0.05);
    cube(&mut scene, 0.012, at, RED);
    let camera = overview(200, 120);
    let rgb = picture(&scene, &camera);
    let (x, y, depth) = camera.project(at).unwrap();
    let [r, g, _] = pixel(&rgb, &camera, x as usize, y as usize);
    assert!(r > 60 && g < r / 2 && depth > 0.5);
    assert!(camera.project(V::new(0.0, -5.0, 0.5)).is_none());
}

#[test]
fn the_nearer_cube_hides_the_farther_in_any_order() {
    for reverse in [false, true] {
        let mut scene = RasterScene::new();
        cube(&mut scene, 0.1, V::new(0.0, 0.0, 0.0), BLUE);
        cube(&mut scene, 0.1, V::new(0.0, -0.3, 0.0), RED);
        if reverse {
            scene.instances.reverse();
        }
        let camera = level(64, 0.6);
        let [r, _, b] = pixel(&picture(&scene, &camera), &camera, 32, 32);
        assert!(r > 2 * b, "{r} {b}");
    }
}

#[test]
fn a_shadow_falls_where_the_sun_is_hidden_and_only_there() {
    let mut scene = RasterScene::new();
    scene.table = Some(TableTop { pattern: TablePattern::Plain, ..TableTop::default() });
    scene.light.to_sun = V::new(1.0, 0.0, 1.0);
    let camera = CameraModel::look_at(160, 160, 0.9, V::new(0.0, -0.171, 0.6), V::new(0.0, -0.17, 0.0)).unwrap();
    let look = |scene: &RasterScene, p: Vec3| {
        let (x, y, _) = camera.project(p).unwrap();
        pixel(&picture(scene, &camera), &camera, x as usize, y as usize)[1]
    };
    let open = look(&scene, V::new(-0.08, -0.17, 0.0));
    cube(&mut scene, 0.04, V::new(0.0, -0.17, 0.08), RED);
    // Sun from +x at 45 degrees: the cube at height 0.08 shades the table at x = -0.08, one side wide.
    let shade = look(&scene, V::new(-0.08, -0.17, 0.0));
    assert!(shade < open * 8 / 10, "{shade} {open}");
    for beside in [V::new(-0.12, -0.17, 0.0), V::new(0.08, -0.17, 0.0), V::new(-0.08, -0.21, 0.0)] {
        let beside = look(&scene, beside);
        assert!((beside - open).abs() < 12, "{beside} {open}");
    }
    // The lit top of the cube does not shade itself.
    let (x, y, _) = camera.project(V::new(0.0, -0.17, 0.1)).unwrap();
    let top = pixel(&picture(&scene, &camera), &camera, x as usize, y as usize)[0];
    scene.instances[0].world_from_mesh.rotation = Quat::from_rotation_z(0.3);
    let turned = pixel(&picture(&scene, &camera), &camera, x as usize, y as usize)[0];
    assert!((top - turned).abs() <= 2 && top > 150, "{top} {turned}");
}

#[test]
fn the_outline_lies_where_its_points_are() {
    let scene = busy_scene(0);
    let camera = overview(320, 240);
    let rgb = picture(&scene, &camera);
    let yellow = |p: Vec3| {
        let (x, y, _) = camera.project(p).unwrap();
        let [r, g, b] = pixel(&rgb, &camera, x as usize, y as usize);
        r > 2 * b && g > 3 * b / 2
    };
    assert!(yellow(V::new(0.0, -0.251, 0.0)) || yellow(V::new(0.03, -0.251, 0.0)));
    assert!(!yellow(V::new(0.03, -0.21, 0.0)) && !yellow(V::new(0.03, -0.27, 0.0)));
}

#[test]
fn edges_are_smoothed() {
    let mut scene = RasterScene::new();
    black_backdrop(&mut scene);
    cube(&mut scene, 0.3, V::ZERO, V::ONE);
    scene.instances[0].world_from_mesh.rotation = Quat::from_rotation_y(0.2);
    let camera = level(64, 0.6);
    let rgb = picture(&scene, &camera);
    let mut shades: Vec<u8> = rgb.iter().step_by(3).copied().collect();
    shades.sort_unstable();
    shades.dedup();
    assert!(shades.len() >= 5, "{shades:?}");
}

#[test]
fn the_same_scene_gives_the_same_bits_whatever_was_drawn_before() {
    let (scene, camera) = (busy_scene(3), overview(96, 96));
    let first = picture(&scene, &camera);
    let mut renderer = Renderer::new();
    let mut rgb = vec![0; camera.rgb_bytes()];
    for tick in [9, 3, 3, 4, 3] {
        renderer.begin_tick(&busy_scene(tick)).unwrap();
        let other = level(40, 1.0);
        let mut small = vec![0; other.rgb_bytes()];
        renderer.draw(tick % 2, &other, &mut small).unwrap();
        renderer.draw(0, &camera, &mut rgb).unwrap();
        assert_eq!(rgb == first, tick == 3, "tick {tick}");
    }
}

#[test]
fn reusing_unchanged_parts_gives_the_same_bits() {
    let camera = overview(160, 120);
    let mut lit = LitScene::new();
    let (mut with, mut without) = (CameraView::new(), CameraView::new());
    without.set_reuse(false);
    let (mut a, mut b) = (vec![0; camera.rgb_bytes()], vec![0; camera.rgb_bytes()]);
    for tick in 0..40 {
        let mut scene = busy_scene(tick);
        if tick >= 20 {
            scene.instances[0].world_from_mesh.translation.x = -0.1;
        }
        if tick >= 30 {
            scene.light.to_sun.x = 0.5;
        }
        lit.update(&scene).unwrap();
        with.draw(&lit, &camera, &mut a).unwrap();
        without.draw(&lit, &camera, &mut b).unwrap();
        assert!(a == b, "tick {tick}");
        if tick == 25 || tick == 35 {
            assert!(a == picture(&scene, &camera), "against a fresh renderer at tick {tick}");
        }
    }
}

#[test]
fn static_or_not_is_only_a_hint() {
    let camera = overview(96, 72);
    let mut scene = busy_scene(5);
    let first = picture(&scene, &camera);
    scene.instances[0].is_static = false;
    assert!(first == picture(&scene, &camera));
}

#[test]
fn a_small_picture_has_the_known_bits() {
    // Fixed inputs without library functions; the sum is the same on every machine. After a wanted change of the look, put
    // the new number here.
    let mut scene = RasterScene::new();
    scene.table = Some(TableTop::default());
    cube(&mut scene, 0.06, V::new(0.02, -0.2, 0.03), RED);
    scene.instances[0].world_from_mesh.rotation = Quat::from_xyzw(0.0, 0.0, 0.25, 0.97);
    let camera = overview(48, 36);
    let sum = picture(&scene, &camera).iter().fold(0u32, |h, &b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    assert_eq!(sum, 1_361_273_006);
}

#[test]
fn things_behind_and_around_the_camera_do_no_harm() {
    let mut scene = busy_scene(0);
    cube(&mut scene, 0.2, V::new(0.0, -2.0, 0.5), RED);
    // The camera stands inside this one and right on the face of the next.
    cube(&mut scene, 0.3, V::new(0.05, -0.6, 0.5), BLUE);
    cube(&mut scene, 0.1, V::new(0.05, -0.55, 0.5), RED);
    let camera = overview(64, 64);
    assert_ne!(picture(&scene, &camera), picture(&busy_scene(0), &camera));
    let mut camera = camera;
    camera.world_from_camera.translation = V::new(0.0, -0.2, -0.3);
    picture(&scene, &camera);
    camera.vertical_fov_rad = 2.8;
    picture(&scene, &camera);
}

#[test]
fn a_large_face_cut_by_the_near_plane_fills_the_picture() {
    let mut scene = RasterScene::new();
    black_backdrop(&mut scene);
    // A floor under the camera that reaches far behind it.
    let mesh = scene.add_mesh(RasterMesh::cuboid(V::new(40.0, 40.0, 0.01)).unwrap());
    scene.instances.push(Instance::new(mesh, Pose::from_translation(V::new(0.0, 0.0, -0.1)), V::ONE));
    let camera = level(64, 1.2);
    let rgb = picture(&scene, &camera);
    for x in 0..64 {
        assert!(pixel(&rgb, &camera, x, 63)[0] > 100 && pixel(&rgb, &camera, x, 40)[0] > 100, "{x}");
        assert_eq!(pixel(&rgb, &camera, x, 20), [0; 3]);
    }
}

#[test]
fn a_scale_of_zero_draws_nothing() {
    let mut scene = busy_scene(0);
    let camera = overview(64, 64);
    cube(&mut scene, 0.2, V::new(0.0, -0.2, 0.1), RED);
    let last = scene.instances.len() - 1;
    scene.instances[last].scale = Vec3::ZERO;
    assert!(picture(&scene, &camera) == picture(&busy_scene(0), &camera));
}

#[test]
fn bad_input_is_an_error_and_the_next_good_tick_is_drawn() {
    let mut renderer = Renderer::new();
    let camera = overview(32, 32);
    let mut rgb = vec![0; camera.rgb_bytes()];
    assert_eq!(renderer.draw(0, &camera, &mut rgb), Err(RasterError::NoTick));
    let mut scene = busy_scene(0);
    scene.instances[1].world_from_mesh.translation.x = f32::NAN;
    let error = renderer.begin_tick(&scene).unwrap_err();
    assert!(error.to_string().contains("pose of instance 1"), "{error}");
    let mut scene = busy_scene(0);
    scene.instances[1].mesh = 77;
    assert!(matches!(renderer.begin_tick(&scene), Err(RasterError::MeshIndex { instance: 1, mesh: 77, .. })));
    let mut scene = busy_scene(0);
    scene.instances[0].world_from_mesh.rotation = Quat::from_xyzw(0.0, 0.0, 0.0, 0.0);
    assert!(renderer.begin_tick(&scene).is_err());
    let mut scene = busy_scene(0);
    scene.light.to_sun = V::new(1.0, 0.0, -0.2);
    assert!(renderer.begin_tick(&scene).is_err());
    let mut scene = busy_scene(0);
    scene.outlines[0].points_m.truncate(2);
    assert!(renderer.begin_tick(&scene).is_err());

    renderer.begin_tick(&busy_scene(0)).unwrap();
    let wrong = RasterError::BufferSize { given: 5, needed: 32 * 32 * 3, width: 32, height: 32 };
    assert_eq!(renderer.draw(0, &camera, &mut [0; 5]), Err(wrong));
    for change in [
        |c: &mut CameraModel| c.vertical_fov_rad = f32::NAN,
        |c: &mut CameraModel| c.width = 0,
        |c: &mut CameraModel| c.world_from_camera.translation.z = f32::INFINITY,
        |c: &mut CameraModel| c.distortion = Some(LensDistortion { k1: f32::NAN, k2: 0.0 }),
        |c: &mut CameraModel| {
            c.vertical_fov_rad = 2.0;
            c.distortion = Some(LensDistortion { k1: -0.9, k2: 0.0 });
        },
    ] {
        let mut bad = camera;
        change(&mut bad);
        assert!(renderer.draw(0, &bad, &mut rgb).is_err());
    }
    renderer.draw(0, &camera, &mut rgb).unwrap();
    assert_eq!(rgb, picture(&busy_scene(0), &camera));
}

#[test]
fn lens_distortion_moves_points_as_the_model_says() {
    let mut scene = RasterScene::new();
    black_backdrop(&mut scene);
    let plate = scene.add_mesh(RasterMesh::cuboid(V::new(0.03, 0.0001, 0.03)).unwrap());
    scene.instances.push(Instance::new(plate, Pose::from_translation(V::new(0.22, 0.0, 0.15)), RED));
    let mut camera = level(200, 0.6);
    camera.distortion = Some(LensDistortion { k1: -0.4, k2: 0.1 });
    let (_, x, y) = red_area(&picture(&scene, &camera), &camera);
    let f = f64::from(camera.focal_px());
    let (px, py, _) = camera.project(V::new(0.22, 0.0, 0.15)).unwrap();
    let (u, v) = ((f64::from(px) - 100.0) / f, (f64::from(py) - 100.0) / f);
    let r2 = u * u + v * v;
    let bend = 1.0 - 0.4 * r2 + 0.1 * r2 * r2;
    assert!((x - (100.0 + u * bend * f)).abs() < 0.6 && (y - (100.0 + v * bend * f)).abs() < 0.6, "{x} {y}");
    assert!((x - f64::from(px)).abs() > 1.5, "the lens should matter here");
    // A lens without distortion is no lens.
    camera.distortion = Some(LensDistortion::default());
    let straight = CameraModel { distortion: None, ..camera };
    let (a, b) = (picture(&scene, &camera), picture(&scene, &straight));
    assert!(a.iter().zip(&b).all(|(a, b)| a.abs_diff(*b) <= 2));
}

#[test]
fn threads_draw_the_same_pictures() {
    let mut lit = LitScene::new();
    lit.update(&busy_scene(2)).unwrap();
    let cameras = [overview(96, 96), level(64, 0.9)];
    let pictures: Vec<Vec<u8>> = std::thread::scope(|s| {
        let lit = &lit;
        let threads = cameras.each_ref().map(|camera| {
            s.spawn(move || {
                let mut rgb = vec![0; camera.rgb_bytes()];
                CameraView::new().draw(lit, camera, &mut rgb).unwrap();
                rgb
            })
        });
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for (camera, rgb) in cameras.iter().zip(pictures) {
        assert!(rgb == picture(&busy_scene(2), camera));
    }
}
