//! Policies from the command line: rounds of correction, sentences, checkpoints judged while they are trained.

use super::{complaint, etude, json_lines, stdout, tree};
use etude::dataset::{Dataset, Source};
use etude::policy::curves::Curves;
use std::path::Path;

/// Runs `etude` with the words of `line`, in which `{}` stands for a folder.
fn run(line: &str, folder: &Path) -> String {
    let line = line.replace("{}", &folder.display().to_string());
    stdout(&etude(&line.split_whitespace().collect::<Vec<_>>()))
}

fn refuse(line: &str, folder: &Path) -> String {
    let line = line.replace("{}", &folder.display().to_string());
    complaint(&line.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn an_expert_corrects_a_policy_which_then_learns_from_both() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    run("generate --episodes 2 --every 3 --chunk 8 --size 32x32 --json --out {}/shown", folder);
    run("train --dataset {}/shown --steps 2 --batch 4 --out {}/first --json", folder);
    let dagger = "dagger --policy {}/first --episodes 9 --seed 40 --limit 1 --expert-share 0.3 --json";
    run(&format!("{dagger} --workers 1 --out {{}}/corrected"), folder);
    run(&format!("{dagger} --workers 2 --out {{}}/again"), folder);
    assert!(
        tree(&folder.join("corrected")) == tree(&folder.join("again")),
        "the number of workers changed the dataset"
    );

    let (shown, corrected) = (folder.join("shown"), folder.join("corrected"));
    let (shown, corrected) = (Dataset::open(&shown).unwrap(), Dataset::open(&corrected).unwrap());
    assert_eq!(corrected.info().features, shown.info().features);
    assert_eq!((corrected.episodes().len(), corrected.len()), (9, 90), "a row every third tick of a second");
    let sources = corrected.scalars("etude.source").unwrap();
    let by = |source: Source| sources.iter().filter(|code| **code == source as i64 as f64).count();
    assert!(by(Source::Policy) > 30 && by(Source::Expert) > 5, "{sources:?}");
    assert_eq!(by(Source::Policy) + by(Source::Expert), 90);
    // What was sent is the driver's, what is to be learnt the expert's: they differ where the policy drove.
    let (sent, wanted) = (corrected.rows("etude.sent").unwrap(), corrected.rows("action").unwrap());
    let far =
        |row: usize| (0..6).any(|joint| (sent.values[6 * row + joint] - wanted.values[6 * row + joint]).abs() > 1.0);
    let apart = (0..90).filter(|row| sources[*row] == Source::Policy as i64 as f64 && far(*row)).count();
    assert!(apart > 10, "{apart} rows in which the untrained policy did something else");
    drop((shown, corrected));

    run("dataset merge {}/shown {}/corrected --out {}/all", folder);
    let both = "train --dataset {}/shown --dataset {}/corrected --from {}/first/policy --steps 2 --batch 4 --json";
    let done = json_lines(&run(&format!("{both} --out {{}}/second"), folder)).pop().unwrap();
    let rows = Dataset::open(folder.join("all")).unwrap().len();
    assert_eq!(done["rows"], rows, "{done}");
    let config = |run: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(folder.join(run).join("policy/config.json")).unwrap()).unwrap()
    };
    assert_eq!(config("second")["network"], config("first")["network"], "the statistics go with the weights");
    // A resumed run finds both again.
    std::fs::remove_dir_all(folder.join("second/policy")).unwrap();
    let resumed = json_lines(&run("train --resume {}/second --json", folder)).pop().unwrap();
    assert_eq!((&resumed["rows"], &resumed["dataset"]), (&done["rows"], &done["dataset"]));

    for (line, words) in [
        ("dagger --policy {}/first --episodes 2 --seed 89999 --out {}/x", "89999"),
        ("dagger --policy {}/first --episodes 2 --expert-share 2 --out {}/x", "--expert-share"),
        ("dagger --policy {}/first --episodes 2 --task pick_place --out {}/x", "task: the policy learnt"),
        ("dagger --policy {}/shown --episodes 2 --out {}/x", "config.json"),
        ("dagger --policy {}/first --episodes 2 --out {}/shown", "did not make"),
        ("train --dataset {}/shown --from {}/shown --steps 1 --out {}/x", "config.json"),
        ("train --dataset {}/shown --from {}/first --policy small_large --steps 1 --out {}/y", "another one"),
        ("evaluate --policy {}/first --task sort_by_word --episodes 1", "never asks for that"),
        ("evaluate --policy {}/first --nudge 5 --episodes 1", "0.015"),
        ("evaluate --policy {}/first --ensemble much --episodes 1", "newest"),
    ] {
        let text = refuse(line, folder);
        assert!(text.contains(words), "{line}: {text}");
    }
}

#[test]
fn a_policy_reads_the_sentence_of_each_episode() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    run("generate --task sort_by_word --episodes 3 --every 5 --size 32x32 --json --out {}/shown", folder);
    assert!(Dataset::open(folder.join("shown")).unwrap().tasks().len() > 1);
    run("train --dataset {}/shown --steps 1 --batch 4 --out {}/run --json", folder);
    let lines = run("evaluate --policy {}/run --task sort_by_word --episodes 2 --time-limit 0.5 --json", folder);
    assert_eq!(json_lines(&lines)[2]["episodes"], 2);
}

#[test]
fn checkpoints_are_judged_while_they_are_trained_and_curves_tell() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    run("generate --episodes 1 --every 3 --size 32x32 --json --out {}/shown", folder);
    let train = "train --dataset {}/shown --steps 3 --batch 4 --eval-every 1 --eval-episodes 1 --eval-limit 0.5 --json";
    run(&format!("{train} --out {{}}/run"), folder);
    let mut curves = Curves::of(&folder.join("run"));
    curves.update().unwrap();
    assert_eq!(curves.series["success_rate"], [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]);
    assert_eq!(curves.series["loss_actions"].len(), 3);
    // Of equally good ones the last is chosen.
    let weights = |name: &str| std::fs::read(folder.join("run").join(name).join("model.safetensors")).unwrap();
    assert!(weights("policy") == weights("checkpoints/000003/pretrained_model"));
    run("curves {}/run --png {}/curves.png", folder);
    assert!(std::fs::metadata(folder.join("curves.png")).unwrap().len() > 2000);
    assert!(refuse("curves {}/shown", folder).contains("no curves"));
}
