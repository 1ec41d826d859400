//! `etude recipe`: a result from nothing by one command. A recipe is a file in configs/recipe/ that lists other commands of
//! this program; they run one after the other in one folder.

use super::evaluate::{self, cores, tell};
use super::train::{self, TrainArgs, Trained};
use super::{Cli, CliError, Verb, say};
use crate::config::{self, Problems, Validate};
use crate::evaluate::Evaluation;
use clap::{Args, Parser};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Stands for the folder of `--out` in the commands of a recipe.
const OUT: &str = "OUT";

/// Options of `etude recipe`.
#[derive(Args, Debug)]
pub(super) struct RecipeArgs {
    /// Which result: a name in configs/recipe/ (move_t, pick_place, ..) or a .ron file; "list" tells of all.
    #[arg(default_value = "list")]
    name: String,
    /// Folder for everything: datasets, runs, policy/, report.json. Steps that are done already are kept.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Only print the commands.
    #[arg(long)]
    show: bool,
    /// Episodes to generate instead of the recipe's.
    #[arg(long, value_name = "COUNT")]
    demonstrations: Option<u64>,
    /// Steps of each training instead of the recipe's.
    #[arg(long, value_name = "COUNT")]
    steps: Option<usize>,
    /// Episodes of the evaluation instead of the recipe's.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    episodes: Option<u64>,
    /// Added to the seeds of generated episodes, and the seed of the networks.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..40_000))]
    seed: u64,
}

impl RecipeArgs {
    /// What the options change in a command, for people.
    fn changes(&self, verb: &Verb) -> String {
        let changed = match verb {
            Verb::Generate(_) | Verb::Dagger(_) => self.demonstrations.map(|count| format!("{count} episodes")),
            Verb::Train(_) => self.steps.map(|count| format!("{count} steps")),
            Verb::Evaluate(_) => self.episodes.map(|count| format!("{count} episodes")),
            _ => None,
        };
        changed.map_or_else(String::new, |changed| format!("  (here: {changed})"))
    }
}

/// A file of configs/recipe/.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    /// What comes out, in a line.
    about: String,
    /// Success rate that counts as reached, 0 to 1.
    success: f64,
    /// Time that counts as reached on two cores, minutes.
    minutes: f64,
    /// Commands in their order, without `etude`; OUT stands for the folder. The last trained policy is the result, and the
    /// last evaluation its figures.
    commands: Vec<String>,
}

impl Validate for Recipe {
    fn validate(&self, problems: &mut Problems) {
        problems.range("success", self.success, 0.0, 1.0, "");
        problems.range("minutes", self.minutes, 0.1, 1e5, "min");
        problems.within("commands", |p| {
            for (index, command) in self.commands.iter().enumerate() {
                if let Err(problem) = parse(command, Path::new(OUT)) {
                    let lines: Vec<&str> = problem.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
                    p.report(&index.to_string(), lines.join(" "), "see `etude VERB --help`");
                }
            }
            let last = self.commands.last().and_then(|command| parse(command, Path::new(OUT)).ok());
            if !matches!(last, Some(Verb::Evaluate(_))) {
                p.report("", "the last command is no `evaluate`", "end the recipe with one");
            }
        });
    }
}

/// What a command of a recipe means.
fn parse(command: &str, out: &Path) -> Result<Verb, String> {
    let out = out.to_string_lossy();
    let words = command.split_whitespace().map(|word| word.replace(OUT, &out));
    let cli = Cli::try_parse_from(std::iter::once("etude".to_string()).chain(words)).map_err(|e| e.to_string())?;
    match cli.verb {
        Some(
            verb @ (Verb::Generate(_)
            | Verb::Dagger(_)
            | Verb::Record(_)
            | Verb::Dataset(_)
            | Verb::Train(_)
            | Verb::Evaluate(_)),
        ) => Ok(verb),
        _ => Err("only generate, dagger, record, dataset, train and evaluate are part of recipes".into()),
    }
}

/// `report.json`.
#[derive(Serialize)]
struct Report<'a> {
    recipe: &'a str,
    about: &'a str,
    /// Whether rate and time are what the recipe promises.
    reached: bool,
    evaluation: Evaluation,
    trainings: Vec<Trained>,
    /// Commands and how long each took, s.
    steps: &'a [Done],
    total_s: f64,
    cores: usize,
    /// Load of the machine over the last minute when the recipe began and when it ended.
    load_average: [Option<f64>; 2],
    version: &'static str,
}

/// A command that was carried out.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Done {
    command: String,
    seconds: f64,
    /// Whether it went on with what an earlier run had begun, whose time is not in `seconds`.
    resumed: bool,
}

pub(super) fn recipe(args: &RecipeArgs) -> Result<(), CliError> {
    if args.name == "list" {
        return list();
    }
    let recipe: Recipe = config::load_named("configs/recipe", &args.name).map_err(crate::app::AppError::from)?;
    if args.show {
        return recipe.commands.iter().try_for_each(|command| say(format!("etude {command}")));
    }
    let Some(out) = &args.out else {
        return Err(CliError::Usage(format!("recipe {}: give a folder with --out FOLDER", args.name)));
    };
    std::fs::create_dir_all(out)?;
    let load_before = load_average();
    let mut done = Diary::open(out, args);
    let (mut trainings, mut evaluation) = (Vec::new(), None);
    let steps = recipe.commands.len();
    for (index, command) in recipe.commands.iter().enumerate() {
        let verb = parse(command, out).map_err(CliError::Usage)?;
        let shown = command.replace(OUT, &out.to_string_lossy());
        say(format!("{} of {steps}  etude {shown}{}", index + 1, args.changes(&verb)))?;
        let (finished, begun) = (done.has(command), already_begun(&verb));
        let began = Instant::now();
        match verb {
            Verb::Train(train) => {
                let trained = train_policy(train, args)?;
                copy_folder(&trained.policy, &out.join("policy"))?;
                trainings.push(trained);
            }
            Verb::Evaluate(mut evaluate) => {
                evaluate.episodes = args.episodes.unwrap_or(evaluate.episodes);
                let judged = evaluate::judge(&evaluate)?;
                tell(&judged)?;
                evaluation = Some(judged);
            }
            _ if finished => {}
            Verb::Generate(mut generate) => {
                generate.episodes = args.demonstrations.unwrap_or(generate.episodes);
                generate.seed += args.seed;
                super::generate::generate(&generate)?;
            }
            Verb::Dagger(mut dagger) => {
                dagger.episodes = args.demonstrations.map_or(dagger.episodes, |count| count.min(dagger.episodes));
                dagger.seed += args.seed;
                super::dagger::dagger(&dagger)?;
            }
            Verb::Record(record) => super::record::record(&record, 0)?,
            Verb::Dataset(verb) => super::dataset::run(&verb)?,
            _ => {}
        }
        let seconds = done.write(command, began.elapsed().as_secs_f64(), begun)?;
        say(format!("        {seconds:.0} s"))?;
    }
    let Some(evaluation) = evaluation else { return Ok(()) };
    let total_s = done.steps.iter().map(|step| step.seconds).sum::<f64>();
    let reached = evaluation.success_rate >= recipe.success && total_s <= 60.0 * recipe.minutes;
    let rate = 100.0 * evaluation.success_rate;
    let report = Report {
        recipe: &args.name,
        about: &recipe.about,
        reached,
        evaluation,
        trainings,
        steps: &done.steps,
        total_s,
        cores: cores(),
        load_average: [load_before, load_average()],
        version: env!("CARGO_PKG_VERSION"),
    };
    std::fs::write(out.join("report.json"), serde_json::to_string_pretty(&report).unwrap_or_default())?;
    say(format!(
        "{}: {rate:.1} % in {:.1} minutes on {} cores ({} {:.0} % in {:.0} minutes); policy in {}, figures in {}",
        args.name,
        total_s / 60.0,
        report.cores,
        if reached { "promised:" } else { "missed:" },
        100.0 * recipe.success,
        recipe.minutes,
        out.join("policy").display(),
        out.join("report.json").display()
    ))
}

fn list() -> Result<(), CliError> {
    let home = config::home().map_err(crate::app::AppError::from)?;
    for name in config::names_in(&home.join("configs/recipe")) {
        let recipe: Recipe = config::load_named("configs/recipe", &name).map_err(crate::app::AppError::from)?;
        say(format!("{name:<18} {}", recipe.about))?;
    }
    say("begin one with `etude recipe NAME --out FOLDER`")
}

/// What was carried out in a folder: steps.json.
struct Diary {
    file: PathBuf,
    /// What the options change in the commands.
    changes: String,
    steps: Vec<Done>,
}

impl Diary {
    fn open(out: &Path, args: &RecipeArgs) -> Self {
        let file = out.join("steps.json");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let changes = format!("{:?} {:?} {}", args.demonstrations, args.steps, args.seed);
        let (kept, steps): (String, Vec<Done>) = serde_json::from_str(&text).unwrap_or_default();
        Self { file, steps: if kept == changes { steps } else { Vec::new() }, changes }
    }

    fn has(&self, command: &str) -> bool {
        self.steps.iter().any(|step| step.command == command)
    }

    /// Notes that a command is done and took `seconds`; what it took when it was really carried out.
    fn write(&mut self, command: &str, seconds: f64, resumed: bool) -> Result<f64, CliError> {
        let done = Done { command: command.into(), seconds, resumed };
        let all = match self.steps.iter_mut().find(|step| step.command == command) {
            // An evaluation is made anew each time; anything else was only read again.
            Some(step) if command.starts_with("evaluate") => {
                *step = done;
                seconds
            }
            Some(step) => step.seconds,
            None => {
                self.steps.push(done);
                seconds
            }
        };
        let text = serde_json::to_string_pretty(&(&self.changes, &self.steps)).unwrap_or_default();
        std::fs::write(&self.file, text)?;
        Ok(all)
    }
}

/// Whether an earlier run has left a part of this behind.
fn already_begun(verb: &Verb) -> bool {
    match verb {
        Verb::Train(train) => train.out.as_deref().is_some_and(has_checkpoints),
        Verb::Generate(generate) => generate.out.exists(),
        Verb::Record(record) => record.out.exists(),
        Verb::Dagger(dagger) => dagger.out.exists(),
        _ => false,
    }
}

fn train_policy(mut options: TrainArgs, args: &RecipeArgs) -> Result<Trained, CliError> {
    if let Some(run) = options.out.clone().filter(|run| has_checkpoints(run)) {
        options.resume = Some(run);
        (options.out, options.from) = (None, None);
    }
    options.steps = args.steps.or(options.steps);
    options.seed = Some(options.seed.unwrap_or(0) + args.seed);
    options.save_every = options.save_every.or(Some(1000));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_recipes_consist_of_commands() {
        let names = config::names_in(&config::home().unwrap().join("configs/recipe"));
        assert!(names.contains(&"move_t".to_string()));
        for name in &names {
            config::load_named::<Recipe>("configs/recipe", name).unwrap();
        }
    }

    #[test]
    fn a_wrong_command_is_named() {
        let text = r#"(about: "x", success: 0.9, minutes: 1.0, commands: ["generate --epsodes 3 --out OUT/a"])"#;
        let problem = config::parse::<Recipe>(text, Path::new("x.ron")).unwrap_err().to_string();
        assert!(problem.contains("--epsodes"), "{problem}");
        let text = r#"(about: "x", success: 0.9, minutes: 1.0, commands: ["ports"])"#;
        let problem = config::parse::<Recipe>(text, Path::new("x.ron")).unwrap_err().to_string();
        assert!(problem.contains("recipes"), "{problem}");
    }
}
