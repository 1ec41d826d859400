//! `etude bench policy`: how long the shipped networks take to answer and to learn.

use super::bench::load_average;
use super::{CliError, progress_bar, say};
use crate::config::load_named;
use crate::policy::act::ActConfig;
use crate::policy::preset::{NetworkPreset, Preset};
use crate::policy::speed::{self, Spread};
use clap::Args;
use serde::Serialize;
use std::time::Duration;

/// PyTorch 2's median times for the yardstick on two cores of an AMD EPYC with AVX-512, f32, two threads, ms: an answer, a
/// training step of 8 rows, one of 64. Measured beside burn's own in a trial before this program was written.
const PYTORCH_MS: [f64; 3] = [2.8, 44.0, 278.0];

/// Options of `etude bench policy`.
#[derive(Args, Debug)]
pub(super) struct BenchPolicyArgs {
    /// Time for each case, s.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Serialize)]
struct Figures {
    /// Load of the machine over the last minute when the benchmark began, if the system tells it.
    load_average: Option<f64>,
    /// Threads of training steps; answers have one.
    threads: usize,
    cases: Vec<Case>,
}

#[derive(Serialize)]
struct Case {
    case: &'static str,
    #[serde(flatten)]
    spread: Spread,
    /// What PyTorch took for the same on two cores of another machine, ms.
    pytorch_ms: Option<f64>,
}

type Run = Box<dyn Fn(Duration) -> Result<Spread, CliError> + Send + Sync>;

pub(super) fn bench_policy(args: &BenchPolicyArgs) -> Result<(), CliError> {
    if !(0.01..=600.0).contains(&args.seconds) {
        return Err(CliError::Usage(format!("--seconds {}: give a number from 0.01 to 600", args.seconds)));
    }
    let (load_average, time) = (load_average(), Duration::from_secs_f64(args.seconds));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let cases = cases()?;
    let bar = if args.json { indicatif::ProgressBar::hidden() } else { progress_bar(cases.len() as u64, "cases") };
    let mut done = Vec::new();
    for (case, answers, run, pytorch_ms) in cases {
        bar.set_message(case);
        let threads = if answers { 1 } else { threads };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let spread =
            pool.map_err(|error| CliError::Usage(format!("{threads} threads: {error}")))?.install(|| run(time))?;
        done.push(Case { case, spread, pytorch_ms });
        bar.inc(1);
    }
    bar.finish_and_clear();
    let figures = Figures { load_average, threads, cases: done };
    if args.json {
        return say(super::to_json(&figures));
    }
    say(format!("policies, answers on one core, training steps (optimiser included) on {threads}"))?;
    for Case { case, spread, pytorch_ms } in &figures.cases {
        let processor = spread.processor_ms.map_or(String::new(), |ms| format!("{ms:>9.1} ms of processor"));
        let pytorch = pytorch_ms.map_or(String::new(), |ms| format!("   PyTorch elsewhere {ms:.1} ms"));
        say(format!(
            "  {case:<40} {:>8.2} ms (least {:>8.2}) {processor}{pytorch}",
            spread.median_ms, spread.least_ms
        ))?;
    }
    if let Some(load) = figures.load_average {
        say(format!("  {:<40} {load:>8.2}", "load of the machine before"))?;
    }
    Ok(())
}

/// Name, whether it is an answer, how it is measured, PyTorch's time.
fn cases() -> Result<Vec<(&'static str, bool, Run, Option<f64>)>, CliError> {
    let preset = |name: &str| -> Result<Preset, CliError> {
        Ok(load_named("configs/policy", name).map_err(crate::app::AppError::from)?)
    };
    let small = |name: &'static str| match preset(name)? {
        Preset { network: NetworkPreset::Small(size), chunk, training, .. } => Ok((size, chunk, training.batch)),
        _ => Err(CliError::Usage(format!("configs/policy/{name}.ron: no small network; restore it from a copy"))),
    };
    let act = match preset("act_small")? {
        Preset { network: NetworkPreset::Act(config), chunk, execute, training, .. } => {
            (ActConfig { chunk_size: chunk, n_action_steps: execute, ..config }, training.batch)
        }
        _ => return Err(CliError::Usage("configs/policy/act_small.ron: no ACT; restore it from a copy".into())),
    };
    let unfit = |problem| CliError::Usage(format!("configs/policy/act_small.ron: network.{problem}"));
    let [answer_ms, step_8_ms, step_64_ms] = PYTORCH_MS;
    let mut cases: Vec<(&'static str, bool, Run, Option<f64>)> = vec![
        ("yardstick answers", true, Box::new(|time| Ok(speed::yardstick_answer(time))), Some(answer_ms)),
        ("yardstick learns, batch 8", false, Box::new(|time| Ok(speed::yardstick_step(8, time))), Some(step_8_ms)),
        ("yardstick learns, batch 64", false, Box::new(|time| Ok(speed::yardstick_step(64, time))), Some(step_64_ms)),
    ];
    for (answers, learns, name) in
        [("small answers", "small learns", "small"), ("small_large answers", "small_large learns", "small_large")]
    {
        let (size, chunk, rows) = small(name)?;
        let same = size.clone();
        cases.push((answers, true, Box::new(move |time| Ok(speed::small_answer(&same, chunk, time))), None));
        cases.push((learns, false, Box::new(move |time| Ok(speed::small_step(&size, chunk, false, rows, time))), None));
    }
    let (config, rows) = act;
    let same = config.clone();
    cases.push(("act_small answers", true, Box::new(move |time| speed::act_answer(&same, time).map_err(unfit)), None));
    cases.push((
        "act_small learns",
        false,
        Box::new(move |time| speed::act_step(&config, rows, time).map_err(unfit)),
        None,
    ));
    Ok(cases)
}
