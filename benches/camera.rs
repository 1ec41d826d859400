//! Simulated cameras: ticks per second with two cameras (one at rest above the table, one on the gripper) while the arm
//! moves every tick. Targets on one core: 96x96 at least 800 ticks/s, 224x224 at least 250, 640x480 at least 60.
//!
//! `cargo bench --bench camera`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "helpers of tests may fail loudly")]

use bevy::math::{Quat, Vec2, Vec3};
use etude::camera::raster::{
    CameraModel, Instance, Outline, Pose, RasterMesh, RasterScene, Renderer, SensorModel, TableTop,
};
use std::f32::consts::{FRAC_PI_2, PI};
use std::path::Path;

fn main() {
    divan::main();
}

/// The T of the Move-T task: 100 x 100 mm, strokes of 25 mm, in metres.
const T: [[f32; 2]; 8] = [
    [-0.05, 0.025],
    [-0.0125, 0.025],
    [-0.0125, -0.05],
    [0.0125, -0.05],
    [0.0125, 0.025],
    [0.05, 0.025],
    [0.05, 0.05],
    [-0.05, 0.05],
];

/// A scene with the shipped arm on the table, and which instance belongs to which link.
struct MoveT {
    scene: RasterScene,
    parts: Vec<(usize, usize)>,
}

impl MoveT {
    fn new() -> Self {
        let mut scene = RasterScene::new();
        scene.table = Some(TableTop::default());
        let mut parts = Vec::new();
        let links = ["base", "shoulder", "upper_arm", "lower_arm", "wrist", "gripper", "jaw"];
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/so100");
        for (link, name) in links.into_iter().enumerate() {
            for (file, colour) in
                [(format!("{name}.stl"), Vec3::splat(0.8)), (format!("servo_{name}.stl"), Vec3::splat(0.02))]
            {
                let Some(triangles) = read_stl(&folder.join(file)) else { continue };
                let Ok(mesh) = RasterMesh::from_triangles(&triangles, 0.61) else { continue };
                let mesh = scene.add_mesh(mesh);
                let mut part = Instance::new(mesh, Pose::IDENTITY, colour);
                part.is_static = link == 0;
                scene.instances.push(part);
                parts.push((scene.instances.len() - 1, link));
            }
        }
        assert!(scene.triangle_count() > 2000, "the arm's meshes are missing from assets/so100");
        if let Ok(mesh) = RasterMesh::prism(&T, 0.02) {
            let mesh = scene.add_mesh(mesh);
            let pose = Pose::new(Quat::from_rotation_z(0.5), Vec3::new(0.06, -0.2, 0.01));
            scene.instances.push(Instance::new(mesh, pose, Vec3::new(0.6, 0.03, 0.02)));
        }
        scene.outlines.push(Outline {
            points_m: T.iter().map(|p| Vec2::new(p[0], p[1] - 0.215)).collect(),
            width_m: 0.005,
            offset_m: 0.001,
            colour: Vec3::new(0.95, 0.57, 0.02),
            fill: 0.1,
        });
        MoveT { scene, parts }
    }

    /// Moves the arm to where it is at a tick; gives the camera on the gripper.
    fn step(&mut self, tick: u32, width: usize, height: usize) -> CameraModel {
        let a = tick as f32 * 0.02;
        let q = [0.25 * a.sin(), 0.1 + 0.15 * (a * 0.7).sin(), 0.1, 1.25, 0.1 * a.cos(), 0.3];
        // Joint origins and axes of the SO-100 in its mid-range zero (the same numbers as urdf/so100.urdf).
        let joints = [
            ([0.0, -0.0452, 0.0165], Quat::from_rotation_x(FRAC_PI_2), -Vec3::Y),
            ([0.0, 0.1025, 0.0306], Quat::IDENTITY, Vec3::X),
            ([0.0, 0.11257, 0.028], Quat::IDENTITY, Vec3::X),
            ([0.0, 0.0052, 0.1349], Quat::from_rotation_x(-FRAC_PI_2), Vec3::X),
            ([0.0, -0.0601, 0.0], Quat::from_rotation_y(FRAC_PI_2), Vec3::Y),
            ([-0.0202, -0.0244, 0.0], Quat::from_rotation_y(PI), Vec3::Z),
        ];
        let mut links = [Pose::IDENTITY; 7];
        for (i, (origin, zero, axis)) in joints.into_iter().enumerate() {
            links[i + 1] =
                links[i].then(&Pose::new(zero * Quat::from_axis_angle(axis, q[i]), Vec3::from_array(origin)));
        }
        for &(instance, link) in &self.parts {
            self.scene.instances[instance].world_from_mesh = links[link];
        }
        let on_gripper = Pose::look_at(Vec3::new(-0.012, 0.0, 0.065), Vec3::new(-0.012, -0.115, 0.008), Vec3::Z);
        let world_from_camera = links[5].then(&on_gripper.unwrap_or(Pose::IDENTITY));
        CameraModel { width, height, vertical_fov_rad: 1.15, distortion: None, world_from_camera }
    }
}

/// Triangles of a binary STL file.
fn read_stl(path: &Path) -> Option<Vec<[Vec3; 3]>> {
    let bytes = std::fs::read(path).ok()?;
    let number = |at: usize| bytes.get(at..at + 4).map_or(0.0, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let corner = |at: usize| Vec3::new(number(at), number(at + 4), number(at + 8));
    let count = bytes.len().saturating_sub(84) / 50;
    Some((0..count).map(|i| [96, 108, 120].map(|from| corner(i * 50 + from))).collect())
}

/// Shadow map and two cameras, the arm in a new pose each time.
#[divan::bench(args = [(96, 96), (224, 224), (640, 480)])]
fn tick_with_two_cameras(bencher: divan::Bencher, (width, height): (usize, usize)) {
    let mut task = MoveT::new();
    let mut renderer = Renderer::new();
    let above =
        CameraModel::look_at(width, height, 0.60, Vec3::new(0.0, -0.46, 0.50), Vec3::new(0.0, -0.205, 0.0)).ok();
    let mut rgb = vec![0; width * height * 3];
    let mut tick = 0;
    bencher.bench_local(|| {
        tick += 1;
        let wrist = task.step(tick, width, height);
        let drawn = renderer.begin_tick(&task.scene).is_ok()
            && above.is_some_and(|above| renderer.draw(0, &above, &mut rgb).is_ok())
            && renderer.draw(1, &wrist, &mut rgb).is_ok();
        assert!(drawn);
    });
}

/// The shadow map alone.
#[divan::bench]
fn shadow_map(bencher: divan::Bencher) {
    let mut task = MoveT::new();
    let mut renderer = Renderer::new();
    let mut tick = 0;
    bencher.bench_local(|| {
        tick += 1;
        task.step(tick, 1, 1);
        assert!(renderer.begin_tick(&task.scene).is_ok());
    });
}

/// Exposure, white balance and noise on a 640 x 480 picture.
#[divan::bench]
fn sensor_640x480(bencher: divan::Bencher) {
    let model = SensorModel { exposure: 1.1, white_balance: [1.0, 0.98, 1.05], noise_sigma: 2.0, seed: 1 };
    let mut rgb = vec![120; 640 * 480 * 3];
    let mut tick = 0;
    bencher.bench_local(|| {
        tick += 1;
        assert!(model.apply(tick, &mut rgb).is_ok());
    });
}
