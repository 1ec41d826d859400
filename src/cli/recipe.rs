//! `etude recipe`: a result from nothing by one command. Data, training and evaluation are the verbs of the same names.

use super::evaluate::{cores, run as evaluate_with_bar, tell};
use super::generate::GenerateArgs;
use super::train::{self, TrainArgs, Trained};
use super::{CliError, say};
use crate::app::RunOptions;
use crate::evaluate::{EvaluateOptions, Evaluation, FIRST_SEED};
use crate::operator::Operator;
use crate::rollout::RolloutOptions;
use clap::{Args, Parser, ValueEnum};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Options of `etude recipe`.
#[derive(Args, Debug)]
pub(super) struct RecipeArgs {
    /// Which result.
    name: RecipeName,
    /// Folder for everything: dataset/, run/, policy/, report.json. Parts that are whole already are kept.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Episodes to generate instead of the recipe's.
    #[arg(long, value_name = "COUNT")]
    demonstrations: Option<u64>,
    /// Training steps instead of the recipe's.
    #[arg(long, value_name = "COUNT")]
    steps: Option<usize>,
    /// Episodes of the evaluation instead of the recipe's 500.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    episodes: Option<u64>,
    /// Seed of the first generated episode, and of the network.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..90_000))]
    seed: u64,
}

/// Results that are reproduced by one command.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum RecipeName {
    /// Move-T from two small cameras and the joints.
    #[value(name = "move_t")]
    MoveT,
    /// Pick and place from two small cameras and the joints.
    #[value(name = "pick_place")]
    PickPlace,
}

/// What a recipe does.
struct Recipe {
    task: &'static str,
    /// Options of `etude generate`.
    generate: &'static [&'static str],
    demonstrations: u64,
    preset: &'static str,
    steps: usize,
}

impl RecipeName {
    fn recipe(self) -> Recipe {
        const GENERATE: &[&str] = &[
            "--every",
            "3",
            "--chunk",
            "8",
            "--noise",
            "0,0.005,0.01,0.01,0.015",
            "--random-start",
            "0.35",
            "--cameras",
            "overview,wrist",
            "--size",
            "96x96",
        ];
        let task = match self {
            Self::MoveT => "move_t",
            Self::PickPlace => "pick_place",
        };
        Recipe { task, generate: GENERATE, demonstrations: 1800, preset: "small", steps: 5000 }
    }
}

/// `report.json`.
#[derive(Serialize)]
struct Report {
    recipe: String,
    evaluation: Evaluation,
    training: Trained,
    generate_s: f64,
    train_s: f64,
    evaluate_s: f64,
    total_s: f64,
    cores: usize,
    /// Load of the machine over the last minute when the recipe ended.
    load_average: Option<f64>,
    version: &'static str,
}

pub(super) fn recipe(args: &RecipeArgs) -> Result<(), CliError> {
    let recipe = args.name.recipe();
    let began = Instant::now();
    std::fs::create_dir_all(&args.out)?;
    let dataset = args.out.join("dataset");
    say(format!(
        "1 of 3  generate: {} demonstrations of {}",
        args.demonstrations.unwrap_or(recipe.demonstrations),
        recipe.task
    ))?;
    generate(&recipe, args, &dataset)?;
    let generate_s = began.elapsed().as_secs_f64();
    say(format!("        {generate_s:.0} s"))?;
    let trains = Instant::now();
    say(format!("2 of 3  train: policy \"{}\", {} steps", recipe.preset, args.steps.unwrap_or(recipe.steps)))?;
    let training = train_policy(&recipe, args, &dataset)?;
    let train_s = trains.elapsed().as_secs_f64();
    say(format!("        {train_s:.0} s"))?;
    let policy = args.out.join("policy");
    copy_folder(&training.policy, &policy)?;
    let episodes = args.episodes.unwrap_or(500);
    say(format!("3 of 3  evaluate: {episodes} unseen starts, from seed {FIRST_SEED} on"))?;
    let evaluates = Instant::now();
    let options = EvaluateOptions {
        world: RunOptions { scene: recipe.task.into(), operator: Operator::Policy, ..RunOptions::default() },
        policy,
        episodes,
        seed: FIRST_SEED,
        threads: cores(),
        rollout: RolloutOptions::default(),
        time_limit_s: None,
        instruction: None,
        gallery: Some(args.out.join("failures")),
    };
    let evaluation = evaluate_with_bar(&options, false)?;
    tell(&evaluation)?;
    let report = Report {
        recipe: recipe.task.into(),
        evaluation,
        training,
        generate_s,
        train_s,
        evaluate_s: evaluates.elapsed().as_secs_f64(),
        total_s: began.elapsed().as_secs_f64(),
        cores: cores(),
        load_average: load_average(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let text = serde_json::to_string_pretty(&report).unwrap_or_default();
    std::fs::write(args.out.join("report.json"), text)?;
    say(format!(
        "{} in {:.1} minutes on {} cores; policy in {}, figures in {}",
        recipe.task,
        report.total_s / 60.0,
        report.cores,
        args.out.join("policy").display(),
        args.out.join("report.json").display()
    ))
}

fn train_policy(recipe: &Recipe, args: &RecipeArgs, dataset: &Path) -> Result<Trained, CliError> {
    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        train: TrainArgs,
    }
    let run = args.out.join("run");
    let mut options = if has_checkpoints(&run) {
        Options::parse_from(["etude", "--resume", &run.to_string_lossy()]).train
    } else {
        let (dataset, run) = (dataset.to_string_lossy(), run.to_string_lossy());
        Options::parse_from(["etude", "--dataset", &dataset, "--out", &run, "--policy", recipe.preset]).train
    };
    options.steps = Some(args.steps.unwrap_or(recipe.steps));
    options.seed = Some(args.seed);
    options.save_every = Some(1000);
    let trained = train::run(&options)?;
    if trained.interrupted {
        return Err(CliError::Usage("interrupted; the same command goes on from here".into()));
    }
    Ok(trained)
}

/// Whether a run can be gone on with.
fn has_checkpoints(run: &Path) -> bool {
    std::fs::read_dir(run.join("checkpoints")).is_ok_and(|mut entries| entries.next().is_some())
}

fn generate(recipe: &Recipe, args: &RecipeArgs, dataset: &Path) -> Result<(), CliError> {
    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        generate: GenerateArgs,
    }
    let count = args.demonstrations.unwrap_or(recipe.demonstrations).to_string();
    let (seed, dataset) = (args.seed.to_string(), dataset.to_string_lossy());
    let head = ["etude", "--task", recipe.task, "--episodes", &count, "--seed", &seed, "--out", &dataset];
    let options = Options::parse_from(head.into_iter().chain(recipe.generate.iter().copied()));
    super::generate::generate(&options.generate)
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}
