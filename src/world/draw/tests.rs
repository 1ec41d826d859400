use super::*;
use crate::app::{Loaded, RunOptions};
use crate::config::load_named;
use crate::world::sample_start;
use proptest::prelude::*;
use std::sync::OnceLock;

fn loaded(scene: &str) -> Loaded {
    Loaded::new(&RunOptions { scene: scene.into(), ..RunOptions::default() }).unwrap()
}

/// Loading takes longer than drawing.
fn move_t() -> &'static (Loaded, Randomise) {
    static KEPT: OnceLock<(Loaded, Randomise)> = OnceLock::new();
    KEPT.get_or_init(|| (loaded("move_t"), load_named("configs/randomise", "standard").unwrap()))
}

fn draw((loaded, ranges): &(Loaded, Randomise), seed: u64, look: u32) -> DrawnWorld {
    let start = sample_start(&loaded.scene.scene, &loaded.model, seed).unwrap();
    let (scene, model) = (&loaded.scene.scene, &loaded.model);
    draw_world(ranges, &DrawFor { scene, model, ticks_per_turn: 4096, start: &start, seed, look })
}

fn inside(value: f32, (low, high): (f64, f64)) -> bool {
    (low as f32..=high as f32).contains(&value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is drawn lies inside its range, and the scene that follows from it is one that a file could hold.
    #[test]
    fn ranges_are_respected(seed in 0u64..1 << 53, look in 0u32..9) {
        let (loaded, ranges) = move_t();
        let world = draw(move_t(), seed, look);
        let light = world.light.unwrap();
        let range = ranges.light.unwrap();
        prop_assert!(inside(light.sun, range.sun) && inside(light.sky, range.sky));
        for (camera, range) in world.camera.iter().flatten().zip(std::iter::repeat(ranges.camera.unwrap())) {
            let (s, t) = (camera.shift_m, camera.turn_deg);
            prop_assert!([s.0, s.1, s.2].iter().all(|v| v.abs() <= range.position_m as f32));
            prop_assert!([t.0, t.1, t.2].iter().all(|v| v.abs() <= range.rotation_deg as f32));
            prop_assert!(inside(camera.fov, (1.0 - range.fov, 1.0 + range.fov)));
        }
        let sensor = ranges.sensor.unwrap();
        for drawn in world.sensor.iter().flatten() {
            prop_assert!(inside(drawn.exposure, sensor.exposure) && inside(drawn.noise, sensor.noise));
            prop_assert!(inside(drawn.blur_px, sensor.blur_px));
        }
        prop_assert!(world.lens.iter().flatten().all(|lens| inside(lens.k1, ranges.lens.unwrap().k1)));
        let friction = world.friction.unwrap();
        prop_assert!(inside(friction.arm, (0.5, 1.5)) && inside(friction.table, (0.5, 1.5)));
        prop_assert!(world.mass.iter().flatten().all(|factor| inside(*factor, (0.7, 1.4))));
        prop_assert!(world.servo.iter().flatten().all(|factor| inside(*factor, (0.8, 1.2))));
        prop_assert!(world.latency.unwrap() <= 2 && inside(world.backlash.unwrap(), (0.0, 0.9)));
        prop_assert!(world.zeros.iter().flatten().all(|ticks| ticks.abs() <= 11));
        prop_assert!(world.start.iter().flatten().all(|offset| offset.abs() <= 6.0));
        let things = world.distractors.clone().unwrap();
        prop_assert!(things.len() <= 3);
        for thing in &things {
            prop_assert!(inside(thing.size_m.2, (0.006, 0.030)));
        }
        let scene = world.apply(&loaded.scene.scene);
        let text = ron::ser::to_string(&scene).unwrap();
        let back: Result<Scene, _> = crate::config::parse(&text, std::path::Path::new("drawn.ron"));
        prop_assert!(back.is_ok(), "{:?}", back.err().map(|error| error.to_string()));
    }

    /// What is written with an episode gives back the same world, to the bit.
    #[test]
    fn worlds_survive_json(seed in 0u64..1 << 53, look in 0u32..4) {
        let world = draw(move_t(), seed, look);
        let text = world.to_json();
        prop_assert_eq!(DrawnWorld::from_json(&text).unwrap(), world);
        prop_assert!(text.len() < 4000, "{} bytes", text.len());
    }
}

#[test]
fn a_group_draws_the_same_whatever_else_is_on() {
    let (loaded, ranges) = move_t();
    for seed in [0, 7, 12345] {
        let whole = serde_json::to_value(draw(move_t(), seed, 1)).unwrap();
        for group in Group::ALL {
            let alone = ranges.only(&[group], &Randomise::default());
            let alone = draw(&(loaded.clone(), alone), seed, 1);
            let alone = serde_json::to_value(alone).unwrap();
            assert_eq!(alone[group.name()], whole[group.name()], "{} of seed {seed}", group.name());
            assert!(!alone[group.name()].is_null());
        }
    }
}

#[test]
fn looks_differ_in_looks_alone() {
    let (first, second) = (draw(move_t(), 5, 0), draw(move_t(), 5, 1));
    let (a, b) = (serde_json::to_value(&first).unwrap(), serde_json::to_value(&second).unwrap());
    for group in Group::ALL {
        assert_eq!(a[group.name()] != b[group.name()], group.is_look(), "{}", group.name());
    }
    assert_eq!(first.with_looks_of(&second), second);
}

#[test]
fn distractors_leave_object_goal_and_the_way_free() {
    let (loaded, _) = move_t();
    let goal = (0.0, -0.215);
    let mut seen = 0;
    for seed in 0..200 {
        let world = draw(move_t(), seed, 0);
        let start = sample_start(&loaded.scene.scene, &loaded.model, seed).unwrap();
        let at = start.props[0].translation;
        for thing in world.distractors.iter().flatten() {
            let place = (f64::from(thing.at_m.0), f64::from(thing.at_m.1));
            assert!(from_way(place, (f64::from(at.x), f64::from(at.y)), goal) > 0.1, "seed {seed}: {thing:?}");
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} distractors in 200 worlds");
}

#[test]
fn colours_go_to_hsv_and_back() {
    for colour in [(0.83, 0.12, 0.11), (0.96, 0.75, 0.08), (0.13, 0.32, 0.78), (0.5, 0.5, 0.5), (0.3, 0.66, 0.33)] {
        let (hue, saturation, value) = to_hsv(colour);
        let back = from_hsv(hue, saturation, value);
        let off = (back.0 - colour.0).abs().max((back.1 - colour.1).abs()).max((back.2 - colour.2).abs());
        assert!(off < 2e-4, "{colour:?} {back:?}");
    }
}
