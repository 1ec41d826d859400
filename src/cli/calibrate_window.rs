//! `etude calibrate --window`: the guided calibration with a picture of what to do.

use super::calibrate::{reason, save};
use super::{CliError, say};
use crate::app::{Loaded, RunOptions};
use crate::bus::calibration_file::Role;
use crate::bus::calibration_guide::{Guide, Step, View};
use crate::ui::calibration::{CalibrationShow, Order, Shown};
use crate::ui::camera_rig::Orbit;
use crate::window::stage::{StageArm, StageOptions, perform};
use bevy::math::Vec3;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Pause between two readings of all joints.
const READ_EVERY: Duration = Duration::from_millis(10);
/// Distance between the live arm and the wanted one, m.
const APART_M: f32 = 0.36;

/// Leads through the calibration `guide` in a window, and saves it as the terminal does.
pub(super) fn calibrate(
    guide: Guide,
    port: &str,
    file: &Path,
    role: Role,
    id: &str,
    verbose: u8,
) -> Result<(), CliError> {
    let loaded = Loaded::new(&RunOptions { scene: "free_play".into(), ..RunOptions::default() })?;
    let limits: Vec<(f64, f64)> = loaded.model.joints.iter().map(|joint| (joint.lower, joint.upper)).collect();
    let (orders, received) = channel();
    let shown = Arc::new(Mutex::new(Shown { view: guide.view(), problem: None }));
    let ended = Arc::new(AtomicBool::new(false));
    let (theirs, over) = (shown.clone(), ended.clone());
    let worker =
        std::thread::Builder::new().name("calibration".into()).spawn(move || lead(guide, &received, &theirs, &over))?;
    let options = StageOptions {
        title: format!("Etude: calibrating {port} as \"{id}\""),
        arms: vec![
            StageArm { place_m: (-0.5 * APART_M, 0.0), wanted: false, words: "your arm" },
            StageArm { place_m: (0.5 * APART_M, 0.0), wanted: true, words: "as it should be" },
        ],
        props: false,
        view: Orbit { target: Vec3::new(-0.19, -0.05, 0.17), yaw: 0.22, pitch: 0.36, distance: 1.5 },
        verbose,
    };
    let show = CalibrationShow::new(shown, orders, limits, id);
    let opened = perform(&loaded, &options, Box::new(show));
    ended.store(true, Ordering::SeqCst);
    let result = worker.join();
    opened.map_err(|fault| {
        CliError::Window(format!("{fault}; the same command without --window does it in the terminal"))
    })?;
    match result {
        Ok((guide, Some(registers))) => save(&guide, port, file, role, id, registers),
        Ok((_, None)) => {
            say("nothing was saved; the file is as it was")?;
            Ok(())
        }
        Err(_) => Err(CliError::Window("the calibration broke off; nothing was saved".into())),
    }
}

/// Talks to the arm beside the window until it is kept or the window is closed; how many registers were written.
fn lead(mut guide: Guide, orders: &Receiver<Order>, shown: &Mutex<Shown>, ended: &AtomicBool) -> (Guide, Option<u32>) {
    let mut registers = None;
    let publish = |view: View, problem: Option<Option<String>>| {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.view = view;
        if let Some(problem) = problem {
            shown.problem = problem;
        }
    };
    while !ended.load(Ordering::SeqCst) {
        let polled = guide.poll();
        let done = match orders.try_recv() {
            Ok(Order::Proceed) if guide.step() == Step::Review => {
                Some(guide.keep().map(|count| registers = Some(count)))
            }
            Ok(Order::Proceed) => Some(guide.proceed()),
            Ok(Order::Redo(joint)) => Some(guide.redo(&joint)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => break,
        };
        let said = |error: crate::bus::error::BusError| Some(reason(&error.to_string()).to_owned());
        let problem = match (polled, done) {
            (Err(error), _) => Some(said(error)),
            (Ok(()), Some(done)) => Some(done.err().and_then(said)),
            (Ok(()), None) => None,
        };
        publish(guide.view(), problem);
        std::thread::sleep(READ_EVERY);
    }
    (guide, registers)
}
