//! Every shipped file loads, and what is wrong in a file is refused with file, line and remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "helpers of tests may fail loudly")]

use etude::app::{Loaded, RunOptions};
use etude::arm::{TriMesh, check, load_urdf};
use etude::config::{self, ArmConfig, PhysicsConfig, Randomise, Scene, ServoProfile, Validate, names_in};
use etude::world::sample_start;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn load_all<T: DeserializeOwned + Validate>(folder: &str) -> Vec<String> {
    let names = names_in(&home().join(folder));
    for name in &names {
        config::load::<T>(&home().join(folder).join(format!("{name}.ron"))).unwrap_or_else(|error| panic!("{error}"));
    }
    names
}

#[test]
fn every_shipped_configuration_loads() {
    assert!(load_all::<Scene>("scenes").len() >= 3);
    assert!(!load_all::<ArmConfig>("configs/arm").is_empty());
    assert!(load_all::<ServoProfile>("configs/servo").len() >= 3);
    assert!(load_all::<PhysicsConfig>("configs/physics").len() >= 2);
    assert!(!load_all::<Randomise>("configs/randomise").is_empty());
}

#[test]
fn every_shipped_scene_starts_from_a_thousand_seeds() {
    for scene in names_in(&home().join("scenes")) {
        let loaded = Loaded::new(&RunOptions { scene: scene.clone(), ..RunOptions::default() }).unwrap();
        for seed in 0..1000 {
            let start = sample_start(&loaded.scene.scene, &loaded.model, seed).unwrap();
            assert!(start.q_rad.iter().all(|q| q.is_finite()), "{scene} {seed}");
        }
    }
}

#[test]
fn the_shipped_arm_has_no_warnings_and_few_triangles() {
    let model = load_urdf(&home().join("urdf/so100.urdf")).unwrap();
    let report = check(&model);
    assert_eq!(report.warnings, Vec::<String>::new());
    assert!((3000..=6000).contains(&report.visual_triangles), "{} triangles", report.visual_triangles);
    assert!((report.moving_mass_kg - 0.609).abs() < 0.001);
    for entry in std::fs::read_dir(home().join("assets/so100")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "stl") {
            TriMesh::load(&path, etude::arm::DVec3::ONE).unwrap();
        }
    }
}

/// The complaint about `scenes/move_t.ron` with `from` replaced by `to`.
fn complaint_about_scene(from: &str, to: &str) -> String {
    let text = std::fs::read_to_string(home().join("scenes/move_t.ron")).unwrap();
    assert!(text.contains(from), "the scene does not hold {from}");
    let changed = text.replacen(from, to, 1);
    match config::parse::<Scene>(&changed, Path::new("my_scene.ron")) {
        Ok(_) => panic!("{to} was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn wrong_scenes_are_refused_with_file_line_and_remedy() {
    let cases = [
        ("mass_kg: 0.050", "mass_g: 50.0", &["my_scene.ron:17", "mass_g", "mass_kg"][..]),
        ("mass_kg: 0.050", "mass_kg: -0.05", &["my_scene.ron:17", "props.tee.mass_kg", "0.0005 to 5 kg"]),
        ("mass_kg: 0.050", "mass_kg: NaN", &["my_scene.ron:17", "mass_kg", "NaN", "out of range"]),
        ("mass_kg: 0.050", "mass_kg: 1e999", &["my_scene.ron:17"]),
        ("stroke_m: 0.025, height_m: 0.020)),", "stroke_m: 25.0, height_m: 0.020)),", &["stroke_m", "0.1 m"]),
        ("y_m: (-0.295, -0.135)", "y_m: (-0.135, -0.295)", &["props.tee.start.y_m", "runs backwards", "smaller"]),
        ("block: \"tee\"", "block: \"cube\"", &["my_scene.ron:6", "task.block", "no prop \"cube\"", "name one"]),
        ("coverage: 0.90", "coverage: 90.0", &["task.coverage", "0.1 to 1"]),
        ("time_limit_s: 60.0", "time_limit_s: inf", &["my_scene.ron:11", "time_limit_s"]),
        ("colour: (0.83, 0.12, 0.11)", "colour: (212, 30, 28)", &["props.tee.colour", "0 to 1"]),
        ("title: \"Move-T\",", "", &["title"]),
        ("MoveT(", "MoveTee(", &["my_scene.ron:5", "MoveTee", "MoveT"]),
        ("yaw_deg: (-60.0, 60.0)", "yaw_deg: (-1047.0, 1047.0)", &["yaw_deg", "360 degrees"]),
    ];
    for (from, to, expected) in cases {
        let complaint = complaint_about_scene(from, to);
        for part in expected {
            assert!(complaint.contains(part), "{to}: \"{complaint}\" does not say \"{part}\"");
        }
    }
}

#[test]
fn impossible_starts_are_told() {
    let text = std::fs::read_to_string(home().join("scenes/move_t.ron")).unwrap();
    let text = text.replace("reach_m: (0.085, 0.30)", "reach_m: (0.299, 0.30)");
    let scene: Scene = config::parse(&text, Path::new("far.ron")).unwrap();
    let model = load_urdf(&home().join("urdf/so100.urdf")).unwrap();
    let complaint = sample_start(&scene, &model, 1).unwrap_err().to_string();
    assert!(complaint.contains("props.tee.start") && complaint.contains("widen"), "{complaint}");
}

#[test]
fn rates_must_divide() {
    let complaint = Loaded::new(&RunOptions { control_hz: 50, ..RunOptions::default() }).unwrap_err().to_string();
    assert!(complaint.contains("120 Hz") && complaint.contains("50 Hz") && complaint.contains("100"), "{complaint}");
}

#[test]
fn unknown_names_are_answered_with_the_known_ones() {
    let complaint = Loaded::new(&RunOptions { scene: "move_tee".into(), ..RunOptions::default() }).unwrap_err();
    let complaint = complaint.to_string();
    assert!(
        complaint.contains("move_tee.ron") && complaint.contains("free_play, move_t, move_t_anywhere, pick_place"),
        "{complaint}"
    );
}

/// An arm of three links with a mesh in a package path, an OBJ, a fixed joint, and joints in reverse order, as the official
/// SO-101 file has them.
const OTHER_ARM: &str = r#"<?xml version="1.0"?>
<robot name="other">
  <material name="grey"><color rgba="0.5 0.5 0.5 1"/></material>
  <link name="base"><visual><geometry><mesh filename="package://other/part.obj" scale="0.001 0.001 0.001"/></geometry>
    <material name="grey"/></visual></link>
  <link name="frame"><inertial><mass value="1e-9"/><inertia ixx="0" ixy="0" ixz="0" iyy="0" iyz="0" izz="0"/></inertial></link>
  <link name="upper"><inertial><origin xyz="0 0 0.05"/><mass value="0.1"/>
    <inertia ixx="1e-4" ixy="0" ixz="0" iyy="1e-4" iyz="0" izz="5e-5"/></inertial>
    <collision><geometry><cylinder radius="0.01" length="0.1"/></geometry></collision></link>
  <link name="lower"><inertial><mass value="0.1"/><inertia ixx="9e-4" ixy="0" ixz="0" iyy="1e-4" iyz="0" izz="1e-4"/></inertial></link>
  <joint name="elbow" type="revolute"><parent link="upper"/><child link="lower"/><origin xyz="0 0 0.1"/><axis xyz="0 2 0"/>
    <limit lower="-1" upper="1.5" effort="2" velocity="3"/></joint>
  <joint name="mount" type="fixed"><parent link="base"/><child link="frame"/><axis xyz="0 0 0"/></joint>
  <joint name="shoulder" type="revolute"><parent link="base"/><child link="upper"/><origin xyz="0 0 0.1" rpy="0 0 1.5707963"/>
    <axis xyz="0 1 0"/><limit lower="-2" upper="2" effort="2" velocity="3"/></joint>
</robot>"#;

fn other_arm(change: impl FnOnce(String) -> String) -> Result<etude::arm::ArmModel, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.urdf");
    std::fs::write(
        folder.path().join("part.obj"),
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n",
    )
    .unwrap();
    std::fs::write(&file, change(OTHER_ARM.to_string())).unwrap();
    load_urdf(&file).map_err(|error| error.to_string())
}

#[test]
fn other_urdfs_load_and_their_oddities_are_told() {
    let model = other_arm(|text| text).unwrap();
    let joints: Vec<&str> = model.joints.iter().map(|joint| joint.name.as_str()).collect();
    assert_eq!(joints, ["shoulder", "elbow"], "base first, whatever the order in the file");
    assert!((model.joints[1].axis.length() - 1.0).abs() < 1e-12);
    let tip = model.link_pose(&[0.5, 0.0], model.link_index("lower").unwrap()).translation;
    // Turned about z by a quarter, then bent: 0.1 m up, 0.1 m along the bent upper arm.
    assert!((tip.y - 0.1 * 0.5f64.sin()).abs() < 1e-6 && (tip.z - 0.1 - 0.1 * 0.5f64.cos()).abs() < 1e-6, "{tip}");
    let warnings = check(&model).warnings.join("\n");
    assert!(warnings.contains("link \"lower\"") && warnings.contains("triangle inequality"), "{warnings}");
}

#[test]
fn wrong_urdfs_are_refused_with_file_element_and_remedy() {
    let cases: [(&str, &str, &[&str]); 12] = [
        ("package://other/part.obj", "gone.stl", &["other.urdf", "link \"base\" <visual>", "gone.stl", "not found"]),
        ("package://other/part.obj", "other.urdf", &["neither STL nor OBJ", "convert"]),
        ("<mass value=\"0.1\"/>", "<mass value=\"-1\"/>", &["link \"upper\"", "mass", "positive"]),
        ("<mass value=\"0.1\"/>", "<mass value=\"NaN\"/>", &["link \"upper\"", "NaN"]),
        ("lower=\"-1\" upper=\"1.5\"", "lower=\"1\" upper=\"-1\"", &["joint \"elbow\"", "lower < upper"]),
        ("lower=\"-1\" upper=\"1.5\"", "lower=\"-90\" upper=\"90\"", &["joint \"elbow\"", "two turns", "radians"]),
        ("<axis xyz=\"0 2 0\"/>", "<axis xyz=\"0 0 0\"/>", &["joint \"elbow\"", "axis", "unit vector"]),
        ("<child link=\"lower\"/>", "<child link=\"forearm\"/>", &["joint \"elbow\"", "\"forearm\"", "does not exist"]),
        ("radius=\"0.01\"", "radius=\"0\"", &["link \"upper\" <collision>", "radius", "positive"]),
        ("joint name=\"elbow\"", "joint name=\"shoulder\"", &["joint \"shoulder\"", "twice"]),
        (
            "type=\"revolute\"><parent link=\"upper\"",
            "type=\"floating\"><parent link=\"upper\"",
            &["elbow", "floating"],
        ),
        ("</robot>", "", &["other.urdf", "not a valid URDF"]),
    ];
    for (from, to, expected) in cases {
        let complaint = other_arm(|text| {
            assert!(text.contains(from));
            text.replacen(from, to, 1)
        })
        .unwrap_err();
        for part in expected {
            assert!(complaint.contains(part), "{to}: \"{complaint}\" does not say \"{part}\"");
        }
    }
    let complaint = load_urdf(Path::new("/nowhere/arm.urdf")).unwrap_err().to_string();
    assert!(complaint.contains("/nowhere/arm.urdf") && complaint.contains("cannot be read"), "{complaint}");
}
