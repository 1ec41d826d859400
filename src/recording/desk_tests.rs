//! The desk in worlds that tick as fast as they can.

use super::*;
use crate::app::RunOptions;
use crate::arm::DVec3;
use crate::dataset::{Dataset, schema::extra};
use crate::headless::Headless;
use crate::record::{self, CameraWish, Keep, RecordOptions};
use crate::recording::session::Plan;
use crate::replay::{Recording, replay};
use crate::teleop::TeleopInput;
use std::path::Path;

/// A desk at a world that ticks as fast as it can.
fn sit_down(root: &Path, operator: Operator, plan: Plan) -> Headless {
    let options = RunOptions { operator, ..RunOptions::default() };
    let mut headless = Headless::new(&options).unwrap();
    let world = headless.app.world_mut();
    let cameras = [CameraWish { name: "wrist".into(), size: Some((48, 48)) }];
    let note = record::note(&options, &["test".to_string()]);
    let record_options = RecordOptions { keep: Keep::All, task: Some("Move it".into()), note };
    let recorder = record::open(world, root, &cameras, record_options).unwrap();
    world.insert_resource(recorder);
    let options = DeskOptions {
        root: root.into(),
        operator,
        seed: 5,
        reserve_bytes: 0,
        is_real: false,
        tags: Vec::new(),
        task: "Move it".into(),
    };
    set_up(world, Desk::new(Session::new(plan, 0), options));
    headless
}

fn plan(episodes: usize) -> Plan {
    Plan {
        episodes,
        warm_up_s: 0.0,
        episode_s: None,
        reset_s: None,
        starts_with_movement: true,
        can_pause_episodes: true,
    }
}

fn phase(headless: &Headless) -> Phase {
    headless.app.world().resource::<Desk>().session.phase()
}

fn ticks(headless: &mut Headless, count: usize) {
    for _ in 0..count {
        run(headless.app.world_mut(), 1.0 / 30.0);
        headless.tick();
    }
}

fn until(headless: &mut Headless, wanted: Phase) {
    for _ in 0..2000 {
        if phase(headless) == wanted {
            return;
        }
        ticks(headless, 1);
    }
    panic!("it never was {wanted:?} but {:?}", phase(headless));
}

fn outcomes(root: &Path) -> Vec<f64> {
    let dataset = Dataset::open(root).unwrap();
    let codes = dataset.scalars(extra::OUTCOME).unwrap();
    dataset.episodes().iter().map(|episode| codes[episode.from]).collect()
}

#[test]
fn a_persons_episode_begins_with_the_first_movement_and_replays_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let mut headless = sit_down(dir.path(), Operator::Human, plan(3));
    ticks(&mut headless, 20);
    assert_eq!(phase(&headless), Phase::Ready, "without a movement nothing begins");
    let input = |headless: &mut Headless, translate| {
        headless.app.insert_resource(TeleopInput { speed: 1.0, translate, ..TeleopInput::default() });
    };
    input(&mut headless, DVec3::X);
    until(&mut headless, Phase::Recording);
    ticks(&mut headless, 12);
    act(headless.app.world_mut(), Action::Again);
    input(&mut headless, DVec3::ZERO);
    ticks(&mut headless, 5);
    assert_eq!(phase(&headless), Phase::Ready);
    input(&mut headless, DVec3::NEG_Y);
    until(&mut headless, Phase::Recording);
    ticks(&mut headless, 40);
    input(&mut headless, DVec3::ZERO);
    act(headless.app.world_mut(), Action::Success);
    until(&mut headless, Phase::Ready);
    // A second one, which is ended without a verdict and then deleted; a third one.
    for _ in 0..2 {
        act(headless.app.world_mut(), Action::Go);
        ticks(&mut headless, 10);
        act(headless.app.world_mut(), Action::Go);
        until(&mut headless, Phase::Ready);
        if headless.app.world().resource::<Desk>().session.have() == 2 {
            act(headless.app.world_mut(), Action::DeleteLast);
        }
    }
    finish(headless.app.world_mut());
    drop(headless);
    assert_eq!(outcomes(dir.path()), [1.0], "the person's word counts");
    let dataset = Dataset::open(dir.path()).unwrap();
    assert_eq!(dataset.tasks(), ["Move it"]);
    assert_eq!(dataset.info().note(0).unwrap()["physics"], "fast");
    let recording = Recording::read(&dataset, 0).unwrap();
    assert!(recording.is_whole && recording.seed == Some(5) && recording.states.len() > 40);
    let options = RunOptions { operator: Operator::Replay, ..RunOptions::default() };
    let report = replay(&mut Headless::new(&options).unwrap(), &recording, None, || false).unwrap();
    assert!(report.identical, "{report:?}");
    let mut asked = 0;
    let stops = || {
        asked += 1;
        asked > 20
    };
    let report = replay(&mut Headless::new(&options).unwrap(), &recording, None, stops).unwrap();
    assert!(report.stopped && report.rows == 20, "{report:?}");
}

#[test]
fn slowness_is_told_once_in_the_order_of_what_it_costs() {
    let plan = plan(1);
    let options = DeskOptions {
        root: ".".into(),
        operator: Operator::Human,
        seed: 0,
        reserve_bytes: 0,
        is_real: true,
        tags: Vec::new(),
        task: "t".into(),
    };
    let mut desk = Desk::new(Session::new(plan, 0), options);
    let told = |desk: &mut Desk, waiting, lost, late| {
        desk.queue = Load { waiting, capacity: 8, lost };
        (desk.rows, desk.late) = (100, late);
        desk.tell_of_slowness();
        std::iter::from_fn(|| desk.next_news()).map(|news| format!("{news:?}")).collect::<String>()
    };
    assert_eq!(told(&mut desk, 4, 0, 5), "");
    assert!(told(&mut desk, 5, 0, 5).contains("fewer key frames"));
    assert_eq!(told(&mut desk, 5, 0, 5), "");
    assert!(told(&mut desk, 2, 1, 5).contains("pictures are lost"), "also when the queue is shorter again");
    assert_eq!(told(&mut desk, 8, 9, 5), "");
    assert!(told(&mut desk, 0, 9, 6).contains("6 of 100 ticks came late"));
    assert_eq!(told(&mut desk, 0, 9, 7), "");
}

#[test]
fn the_expert_works_only_while_it_is_recorded_and_a_full_disk_ends_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan { starts_with_movement: false, reset_s: Some(0.2), episode_s: Some(2.0), ..plan(9) };
    let mut headless = sit_down(dir.path(), Operator::Scripted, plan);
    ticks(&mut headless, 3);
    assert_eq!(*headless.app.world().resource::<Operator>(), Operator::Nobody);
    until(&mut headless, Phase::Recording);
    until(&mut headless, Phase::Ready);
    until(&mut headless, Phase::Recording);
    ticks(&mut headless, 10);
    headless.app.world_mut().resource_mut::<Desk>().options.reserve_bytes = u64::MAX;
    until(&mut headless, Phase::Stopped(crate::recording::session::Why::DiskFull));
    finish(headless.app.world_mut());
    let told: Vec<News> = std::iter::from_fn(|| headless.app.world_mut().resource_mut::<Desk>().next_news()).collect();
    assert!(told.iter().any(|news| matches!(news, News::Line(line) if line.contains("nearly full"))), "{told:?}");
    drop(headless);
    assert_eq!(outcomes(dir.path()), [0.0, 0.0], "what was being recorded is kept");
    let dataset = Dataset::open(dir.path()).unwrap();
    assert_eq!(dataset.episodes()[0].length, 60, "two seconds");
    assert_eq!(record::seeds(&dataset).unwrap(), [Some(5), Some(6)]);
}
