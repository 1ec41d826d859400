//! Control ticks of the whole application, headless, on one core: `cargo bench --bench ticks`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "helpers of tests may fail loudly")]

use divan::Bencher;
use divan::counter::ItemsCount;
use etude::app::RunOptions;
use etude::headless::Headless;
use etude::operator::Operator;

fn main() {
    divan::main();
}

fn world(scene: &str, operator: Operator) -> Headless {
    let mut headless = Headless::new(&RunOptions { scene: scene.into(), operator, ..RunOptions::default() })
        .expect("shipped files load");
    headless.start(0).expect("shipped scenes start");
    headless
}

/// Thirty ticks, one second of the simulation, with nobody moving the arm.
#[divan::bench(args = ["move_t", "pick_place", "free_play"])]
fn second_at_rest(bencher: Bencher, scene: &str) {
    let mut headless = world(scene, Operator::Nobody);
    bencher.counter(ItemsCount::new(30u32)).bench_local(|| (0..30).for_each(|_| headless.tick()));
}

/// A whole episode by the expert, from reset to success.
#[divan::bench(args = ["move_t", "pick_place"])]
fn episode_by_the_expert(bencher: Bencher, scene: &str) {
    let mut headless = world(scene, Operator::Scripted);
    let mut seed = 0;
    bencher.bench_local(|| {
        seed += 1;
        headless.run(seed).expect("shipped scenes start").ticks
    });
}

/// Setting up an episode: drawing the start, inverse kinematics, a new physics world, one tick.
#[divan::bench(args = ["move_t", "pick_place"])]
fn reset(bencher: Bencher, scene: &str) {
    let mut headless = world(scene, Operator::Scripted);
    let mut seed = 0;
    bencher.bench_local(|| {
        seed += 1;
        headless.start(seed).expect("shipped scenes start");
    });
}
