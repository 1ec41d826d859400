//! What happens when an attempt ends: it is scored in the book, its trace may become a ghost, and a banner says so.

use super::actions::Session;
use crate::episode::{EndReason, Episode, EpisodePhase, Outcome};
use crate::operator::Operator;
use crate::recording::desk::Desk;
use crate::rollout::PolicyDriver;
use crate::scores::{Attempt, Improved, ScoreBook};
use crate::trace::Trace;
use crate::world::{ActiveScene, EpisodeWorld};
use bevy::prelude::*;

/// The book of scores.
#[derive(Resource, Default)]
pub struct Book(pub ScoreBook);

/// How an attempt ended, in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Result {
    /// Episode number it belongs to.
    pub number: u64,
    /// Large words.
    pub title: String,
    /// Small words.
    pub detail: String,
    /// Whether it went well.
    pub good: bool,
}

/// The latest result.
#[derive(Resource, Clone, Debug, Default)]
pub struct LatestResult(pub Option<Result>);

/// Adds the keeping of attempts.
pub fn plugin(app: &mut App) {
    app.init_resource::<Book>().init_resource::<LatestResult>();
    app.add_systems(Update, conclude.in_set(super::UiSystems::Present).run_if(not(resource_exists::<Desk>)));
}

fn conclude(
    episode: Res<Episode>,
    operator: Res<Operator>,
    driver: Option<Res<PolicyDriver>>,
    session: Res<Session>,
    scene: Option<Res<ActiveScene>>,
    drawn: Res<EpisodeWorld>,
    trace: Res<Trace>,
    mut book: ResMut<Book>,
    mut latest: ResMut<LatestResult>,
) {
    let (EpisodePhase::Done(outcome), Some(scene)) = (&episode.phase, scene) else { return };
    if latest.0.as_ref().is_some_and(|result| result.number == episode.number) {
        return;
    }
    let mine = *operator == Operator::Human && !session.changed_hands && driver.is_none();
    // Attempts in worlds that differ cannot be compared.
    let counts = mine
        && drawn.0.is_none()
        && episode.score.hold_s.is_some()
        && outcome.seconds > 0.0
        && !matches!(outcome.reason, EndReason::Diverged(_));
    let mut improved = Improved::default();
    let mut first = false;
    if counts {
        let attempt = Attempt {
            seed: episode.seed,
            success: outcome.success,
            score: outcome.score.clamp(0.0, 1.0),
            seconds: outcome.seconds,
        };
        first = book.0.task(&scene.name).best.is_none_or(|best| !best.success);
        improved = book.0.add(&scene.name, attempt);
        keep_ghosts(&mut book.0, &scene.name, &trace, improved);
    }
    let (title, detail, good) = words(outcome, *operator, improved, first);
    latest.0 = Some(Result { number: episode.number, title, detail, good });
}

fn keep_ghosts(book: &mut ScoreBook, task: &str, trace: &Trace, improved: Improved) {
    let keys = [(improved.best, None), (improved.best_of_seed, Some(trace.seed))];
    for (_, key) in keys.into_iter().filter(|(better, _)| *better) {
        if let Some(file) = book.ghost_file(task, key)
            && let Err(fault) = trace.save(&file)
        {
            book.complaint = Some(fault.to_string());
        }
    }
}

fn words(outcome: &Outcome, operator: Operator, improved: Improved, first: bool) -> (String, String, bool) {
    let next = match operator {
        Operator::Human => "R again   ·   N next start",
        Operator::Scripted | Operator::Nobody | Operator::Replay | Operator::Outside | Operator::Policy => {
            "X your turn   ·   N next start   ·   R again"
        }
    };
    let who = match operator {
        Operator::Scripted => "The expert: done",
        Operator::Policy => "The policy: done",
        Operator::Human | Operator::Nobody | Operator::Replay | Operator::Outside => "Done",
    };
    let title = match &outcome.reason {
        EndReason::Success => {
            let praise = match (improved.best, first, improved.best_of_seed) {
                (true, true, _) => ", the first time!",
                (true, false, _) => ", new best!",
                (false, _, true) => ", best from this start",
                (false, _, false) => "",
            };
            format!("{who} in {:.1} s{praise}", outcome.seconds)
        }
        EndReason::TimeLimit => "Time is up".into(),
        EndReason::Stopped => "Ended".into(),
        EndReason::Diverged(_) => "The simulation came apart".into(),
    };
    let detail = match &outcome.reason {
        EndReason::Diverged(what) => format!("{what}   ·   {next}"),
        _ => format!("score {:.2}   ·   {next}", outcome.score),
    };
    (title, detail, outcome.success)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(reason: EndReason) -> Outcome {
        Outcome { success: reason == EndReason::Success, reason, score: 0.934, seconds: 7.43 }
    }

    #[test]
    fn results_are_told_in_words() {
        let best = Improved { best: true, best_of_seed: true };
        let (title, detail, good) = words(&outcome(EndReason::Success), Operator::Human, best, false);
        assert_eq!((title.as_str(), good), ("Done in 7.4 s, new best!", true));
        assert!(detail.contains("0.93") && detail.contains("R again"));
        let (title, _, good) = words(&outcome(EndReason::TimeLimit), Operator::Human, Improved::default(), false);
        assert_eq!((title.as_str(), good), ("Time is up", false));
        let reason = EndReason::Diverged("tee: 40 m/s".into());
        let (_, detail, _) = words(&outcome(reason), Operator::Scripted, Improved::default(), false);
        assert!(detail.contains("tee: 40 m/s"));
    }
}
