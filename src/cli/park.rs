//! `etude park`: slowly to the rest pose, then limp.

use super::arm::{ArmArgs, model_settings, notices, open_arm};
#[cfg(unix)]
use super::terminal::{self, ArmKeys, Terminal};
use super::{CliError, say};
use crate::bus::driver::BusDriver;
use crate::bus::state::Mode;
use clap::Args;
use std::time::{Duration, Instant};

/// Options of `etude park`.
#[derive(Args, Debug)]
pub(super) struct ParkArgs {
    #[command(flatten)]
    arm: ArmArgs,
}

/// How long connecting and switching the torque on may take.
const PATIENCE: Duration = Duration::from_secs(4);

pub(super) fn park(args: &ParkArgs) -> Result<(), CliError> {
    let calibration = args.arm.calibration()?;
    drop(open_arm(&args.arm.port)?);
    let settings = model_settings()?;
    let park_rad: Vec<f64> = settings.joints.iter().map(|joint| joint.park_rad).collect();
    let driver = BusDriver::start(&args.arm.port, None, settings, &calibration)?;
    // Ctrl-C parks as well: it must not drop the arm halfway.
    #[cfg(unix)]
    driver.stop_on_signals()?;
    driver.enable()?;
    let start = Instant::now();
    let mut cycle = 0;
    loop {
        let state = driver.wait_newer(cycle, Duration::from_millis(200)).unwrap_or_default();
        cycle = state.cycle.max(cycle);
        if state.joints.iter().all(|joint| joint.torque_on) && !state.joints.is_empty() {
            break;
        }
        if start.elapsed() > PATIENCE {
            let why = notices(&driver.state());
            let why = if why.is_empty() { "its torque does not come on".into() } else { why.join("; ") };
            return Err(CliError::Usage(format!("{}: {why}; `etude doctor` says more", args.arm.port)));
        }
    }
    #[cfg(unix)]
    {
        let mut terminal = Terminal::open()?;
        terminal::park(&driver, &mut terminal, &mut ArmKeys::default());
    }
    let last = driver.stop();
    let far = last.joints.iter().zip(&park_rad).any(|(joint, park)| (joint.position_rad - park).abs() > 0.2);
    if last.mode != Mode::Limp || last.joints.iter().any(|joint| joint.torque_on) {
        let why = notices(&last).join("; ");
        return Err(CliError::Usage(format!("{}: the torque is still on; {why}", args.arm.port)));
    }
    say(if far {
        "the torque is off, but something kept the arm from its rest pose"
    } else {
        "parked; the torque is off"
    })
}
