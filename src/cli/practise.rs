//! `etude practise`: the practice window, or, where there is none, the same task headless.

use super::{CliError, WorldArgs, say};
use crate::headless::Headless;
use crate::operator::Operator;
use clap::{Args, Parser};

/// Options of `etude practise`.
#[derive(Args, Debug)]
pub(super) struct PractiseArgs {
    #[command(flatten)]
    world: WorldArgs,
    /// Seed of the first start.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Default for PractiseArgs {
    fn default() -> Self {
        #[derive(Parser)]
        struct Defaults {
            #[command(flatten)]
            practise: PractiseArgs,
        }
        Defaults::parse_from(["etude"]).practise
    }
}

/// Options of `etude screenshot`.
#[derive(Args, Debug)]
pub(super) struct ScreenshotArgs {}

pub(super) fn practise(args: &PractiseArgs, _verbose: u8) -> Result<(), CliError> {
    let mut headless = Headless::new(&args.world.options(Operator::Scripted)?)?;
    let report = headless.run(args.seed)?;
    say(format!("{}: score {:.3} after {:.1} s", headless.scene().title, report.score, report.seconds))
}

pub(super) fn screenshot(_: &ScreenshotArgs, _verbose: u8) -> Result<(), CliError> {
    Err(CliError::Window("not built".into()))
}
