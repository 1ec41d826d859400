//! A session of recording as a state machine: what a person asks for and the time that passes become [`Order`]s for
//! whoever moves arm and dataset. It knows neither, so window and terminal share it and tests need neither.

use crate::dataset::Outcome;

/// What is to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Episodes the dataset shall have in the end.
    pub episodes: usize,
    /// Longest time to get used to the arm before the first episode, s; 0: none.
    pub warm_up_s: f64,
    /// Longest time of an episode, s; `None`: as long as the task allows.
    pub episode_s: Option<f64>,
    /// Longest time between episodes, s; `None`: the next one waits for the person.
    pub reset_s: Option<f64>,
    /// An episode begins with the first movement.
    pub starts_with_movement: bool,
    /// Time can stand still inside an episode, as it can in simulation only.
    pub can_pause_episodes: bool,
}

/// What a person can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start the episode; end it early.
    Go,
    /// Drop this episode, or the one just recorded, and record it again.
    Again,
    /// The task was done: ends the episode, or judges the one just recorded.
    Success,
    /// It was not.
    Failure,
    /// Pause or go on.
    Pause,
    /// Delete the episode just recorded.
    DeleteLast,
    /// Stop recording. An episode that is cut by it is offered for recovery the next time.
    Stop,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The person gets used to the arm; nothing is recorded.
    WarmUp,
    /// The next episode can start; things are put back where they belong.
    Ready,
    /// An episode is recorded.
    Recording,
    /// Its end is on its way.
    Ending,
    /// All episodes are there.
    Complete,
    /// It is over.
    Stopped(Why),
}

/// Why a session stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The person wanted it.
    Asked,
    /// The disk is nearly full.
    DiskFull,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Set up the next start; nothing is recorded.
    Prepare,
    /// Start the episode and record it.
    Begin,
    /// End it, with the person's verdict; without one the task's own counts.
    End(Option<Outcome>),
    /// Drop what was recorded of it.
    Cancel,
    /// Stop recording it and leave what there is for recovery.
    Leave,
    /// Remove the episode recorded last.
    RemoveLast,
    /// Give the episode recorded last this verdict.
    JudgeLast(Outcome),
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    plan: Plan,
    phase: Phase,
    /// Time in this phase, s, without pauses.
    elapsed_s: f64,
    paused: bool,
    /// Episodes of the dataset, with those being saved.
    have: usize,
    /// How many of them this session has recorded.
    own: usize,
    stop_after: Option<Why>,
}

impl Session {
    /// A session for a dataset that has `have` episodes; begin with [`Session::open`].
    pub fn new(plan: Plan, have: usize) -> Self {
        let phase = match () {
            () if have >= plan.episodes => Phase::Complete,
            () if plan.warm_up_s > 0.0 => Phase::WarmUp,
            () => Phase::Ready,
        };
        Self { plan, phase, elapsed_s: 0.0, paused: false, have, own: 0, stop_after: None }
    }

    /// The first order.
    pub fn open(&self) -> Vec<Order> {
        vec![Order::Prepare]
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What was planned.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether time stands still.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Episodes of the dataset, with those being saved.
    pub fn have(&self) -> usize {
        self.have
    }

    /// Number of the present or next episode, counted from 1.
    pub fn number(&self) -> usize {
        (self.have + 1).min(self.plan.episodes.max(1))
    }

    /// Time since the phase began, s.
    pub fn elapsed_s(&self) -> f64 {
        self.elapsed_s
    }

    /// Time until the phase ends by itself, s; `None`: it does not.
    pub fn left_s(&self) -> Option<f64> {
        let limit = match self.phase {
            Phase::WarmUp => Some(self.plan.warm_up_s),
            Phase::Ready => self.plan.reset_s,
            Phase::Recording => self.plan.episode_s,
            Phase::Ending | Phase::Complete | Phase::Stopped(_) => None,
        };
        limit.map(|limit| (limit - self.elapsed_s).max(0.0))
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.elapsed_s = 0.0;
        self.paused = false;
    }

    /// Carries out what a person asks for.
    ///
    /// # Errors
    /// Why it cannot be done now, to be shown.
    pub fn act(&mut self, action: Action) -> Result<Vec<Order>, &'static str> {
        match (action, self.phase) {
            (_, Phase::Stopped(_)) => Err("recording has stopped"),
            (Action::Stop, phase) => {
                self.enter(Phase::Stopped(Why::Asked));
                Ok(if matches!(phase, Phase::Recording | Phase::Ending) { vec![Order::Leave] } else { Vec::new() })
            }
            (Action::Pause, Phase::Recording) if !self.plan.can_pause_episodes => {
                Err("an episode of a real arm cannot pause; R records it again")
            }
            (Action::Pause, Phase::WarmUp | Phase::Ready | Phase::Recording) => {
                self.paused = !self.paused;
                Ok(Vec::new())
            }
            (Action::Go, Phase::WarmUp | Phase::Ready | Phase::Recording) if self.paused => {
                self.paused = false;
                Ok(Vec::new())
            }
            (Action::Go, Phase::WarmUp) => {
                self.enter(Phase::Ready);
                Ok(vec![Order::Prepare])
            }
            (Action::Go, Phase::Ready) => Ok(self.begin()),
            (Action::Go, Phase::Recording) => Ok(self.end(None)),
            (Action::Success, Phase::Recording) => Ok(self.end(Some(Outcome::Success))),
            (Action::Failure, Phase::Recording) => Ok(self.end(Some(Outcome::Failure))),
            (Action::Again, Phase::Recording) => {
                self.enter(Phase::Ready);
                Ok(vec![Order::Cancel, Order::Prepare])
            }
            (Action::Success | Action::Failure, Phase::WarmUp | Phase::Ready | Phase::Complete) => {
                self.own_last()?;
                let verdict = if action == Action::Success { Outcome::Success } else { Outcome::Failure };
                Ok(vec![Order::JudgeLast(verdict)])
            }
            (Action::Again | Action::DeleteLast, Phase::WarmUp | Phase::Ready | Phase::Complete) => {
                self.own_last()?;
                self.have -= 1;
                self.own -= 1;
                self.enter(Phase::Ready);
                Ok(vec![Order::RemoveLast, Order::Prepare])
            }
            (Action::DeleteLast, Phase::Recording) => Err("end this episode first, or R to drop and record it again"),
            (_, Phase::Ending) => Err("the episode is ending"),
            (Action::Pause | Action::Go, Phase::Complete) => Err("all episodes are recorded"),
        }
    }

    fn own_last(&self) -> Result<(), &'static str> {
        if self.own > 0 { Ok(()) } else { Err("this session has recorded no episode yet") }
    }

    fn begin(&mut self) -> Vec<Order> {
        self.enter(Phase::Recording);
        vec![Order::Begin]
    }

    fn end(&mut self, verdict: Option<Outcome>) -> Vec<Order> {
        self.enter(Phase::Ending);
        vec![Order::End(verdict)]
    }

    /// Lets `dt_s` pass.
    pub fn pass(&mut self, dt_s: f64) -> Vec<Order> {
        if self.paused || dt_s.is_nan() || dt_s <= 0.0 {
            return Vec::new();
        }
        self.elapsed_s += dt_s;
        if self.left_s().is_none_or(|left_s| left_s > 0.0) {
            return Vec::new();
        }
        match self.phase {
            Phase::WarmUp => {
                self.enter(Phase::Ready);
                vec![Order::Prepare]
            }
            Phase::Ready => self.begin(),
            Phase::Recording => self.end(None),
            Phase::Ending | Phase::Complete | Phase::Stopped(_) => Vec::new(),
        }
    }

    /// The person has moved the arm.
    pub fn moved(&mut self) -> Vec<Order> {
        if self.phase == Phase::Ready && self.plan.starts_with_movement && !self.paused {
            self.begin()
        } else {
            Vec::new()
        }
    }

    /// The episode is over, by an order or because the task was done or its time was up; `kept`: it is being saved.
    pub fn ended(&mut self, kept: bool) -> Vec<Order> {
        if !matches!(self.phase, Phase::Recording | Phase::Ending) {
            return Vec::new();
        }
        self.have += usize::from(kept);
        self.own += usize::from(kept);
        if let Some(why) = self.stop_after {
            self.enter(Phase::Stopped(why));
            return Vec::new();
        }
        let done = self.have >= self.plan.episodes;
        self.enter(if done { Phase::Complete } else { Phase::Ready });
        if done { Vec::new() } else { vec![Order::Prepare] }
    }

    /// An episode that was counted could not be saved.
    pub fn lost(&mut self) -> Vec<Order> {
        self.have = self.have.saturating_sub(1);
        self.own = self.own.saturating_sub(1);
        if self.phase == Phase::Complete {
            self.enter(Phase::Ready);
            return vec![Order::Prepare];
        }
        Vec::new()
    }

    /// The disk is nearly full: the present episode is ended and kept, and nothing more is begun.
    pub fn disk_full(&mut self) -> Vec<Order> {
        match self.phase {
            Phase::Recording => {
                self.stop_after = Some(Why::DiskFull);
                self.end(None)
            }
            Phase::Ending => {
                self.stop_after = Some(Why::DiskFull);
                Vec::new()
            }
            Phase::WarmUp | Phase::Ready => {
                self.enter(Phase::Stopped(Why::DiskFull));
                Vec::new()
            }
            Phase::Complete | Phase::Stopped(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan() -> Plan {
        Plan {
            episodes: 2,
            warm_up_s: 5.0,
            episode_s: Some(10.0),
            reset_s: Some(3.0),
            starts_with_movement: false,
            can_pause_episodes: true,
        }
    }

    #[test]
    fn times_are_upper_bounds_and_the_session_runs_by_itself() {
        let mut session = Session::new(plan(), 0);
        assert_eq!((session.open(), session.phase()), (vec![Order::Prepare], Phase::WarmUp));
        assert_eq!(session.pass(4.9), []);
        assert_eq!(session.pass(0.2), [Order::Prepare]);
        assert_eq!(session.pass(3.0), [Order::Begin]);
        assert_eq!((session.phase(), session.number(), session.left_s()), (Phase::Recording, 1, Some(10.0)));
        assert_eq!(session.pass(10.0), [Order::End(None)]);
        assert_eq!(session.ended(true), [Order::Prepare]);
        assert_eq!((session.phase(), session.number()), (Phase::Ready, 2));
        assert_eq!(session.act(Action::Go), Ok(vec![Order::Begin]));
        assert_eq!(session.act(Action::Go), Ok(vec![Order::End(None)]));
        assert_eq!(session.ended(true), []);
        assert_eq!((session.phase(), session.have()), (Phase::Complete, 2));
    }

    #[test]
    fn episodes_are_dropped_judged_and_deleted() {
        let mut session = Session::new(Plan { warm_up_s: 0.0, ..plan() }, 0);
        assert!(session.act(Action::DeleteLast).is_err() && session.act(Action::Success).is_err());
        session.act(Action::Go).unwrap();
        assert_eq!(session.act(Action::Again), Ok(vec![Order::Cancel, Order::Prepare]));
        session.act(Action::Go).unwrap();
        assert!(session.act(Action::DeleteLast).is_err(), "what is being recorded is not the last one");
        assert_eq!(session.act(Action::Failure), Ok(vec![Order::End(Some(Outcome::Failure))]));
        session.ended(true);
        assert_eq!(session.act(Action::Success), Ok(vec![Order::JudgeLast(Outcome::Success)]));
        assert_eq!(session.act(Action::DeleteLast), Ok(vec![Order::RemoveLast, Order::Prepare]));
        assert_eq!((session.have(), session.number()), (0, 1));
        session.act(Action::Go).unwrap();
        assert_eq!(session.ended(false), [Order::Prepare], "what came apart is not counted");
        assert_eq!(session.have(), 0);
    }

    #[test]
    fn a_movement_starts_an_episode_only_where_it_was_planned() {
        let mut session = Session::new(Plan { warm_up_s: 0.0, reset_s: None, ..plan() }, 0);
        assert_eq!((session.moved(), session.left_s()), (vec![], None));
        assert_eq!(session.pass(1e6), []);
        session.plan.starts_with_movement = true;
        session.act(Action::Pause).unwrap();
        assert_eq!(session.moved(), []);
        session.act(Action::Go).unwrap();
        assert_eq!(session.moved(), [Order::Begin]);
    }

    #[test]
    fn pauses_stop_the_clock_and_real_arms_cannot_pause_inside_an_episode() {
        let mut session = Session::new(plan(), 0);
        session.act(Action::Pause).unwrap();
        assert_eq!((session.pass(100.0), session.phase()), (vec![], Phase::WarmUp));
        session.act(Action::Go).unwrap();
        session.act(Action::Go).unwrap();
        session.act(Action::Go).unwrap();
        session.plan.can_pause_episodes = false;
        assert!(session.act(Action::Pause).unwrap_err().contains("real arm"));
        session.plan.can_pause_episodes = true;
        session.act(Action::Pause).unwrap();
        assert_eq!(session.pass(100.0), []);
    }

    #[test]
    fn stopping_leaves_a_cut_episode_and_a_full_disk_ends_it_in_order() {
        let mut session = Session::new(Plan { warm_up_s: 0.0, ..plan() }, 0);
        session.act(Action::Go).unwrap();
        let mut stopped = session.clone();
        assert_eq!(stopped.act(Action::Stop), Ok(vec![Order::Leave]));
        assert_eq!((stopped.phase(), stopped.act(Action::Go).is_err()), (Phase::Stopped(Why::Asked), true));
        assert_eq!(session.disk_full(), [Order::End(None)]);
        assert_eq!(session.ended(true), []);
        assert_eq!((session.phase(), session.have()), (Phase::Stopped(Why::DiskFull), 1));
    }

    #[test]
    fn a_dataset_that_has_enough_is_complete_and_a_lost_episode_is_recorded_again() {
        let mut session = Session::new(plan(), 5);
        assert_eq!((session.phase(), session.number()), (Phase::Complete, 2));
        assert!(session.act(Action::Go).is_err());
        let mut session = Session::new(Plan { warm_up_s: 0.0, episodes: 1, ..plan() }, 0);
        session.act(Action::Go).unwrap();
        session.ended(true);
        assert_eq!((session.lost(), session.phase(), session.have()), (vec![Order::Prepare], Phase::Ready, 0));
    }

    proptest! {
        /// Whatever a person presses: episodes begin and end in turn, and the count is that of the orders.
        #[test]
        fn orders_always_fit_together(steps in prop::collection::vec(0u8..12, 0..200)) {
            let mut session = Session::new(Plan { warm_up_s: 1.0, episodes: 4, ..plan() }, 1);
            let (mut open, mut kept) = (false, 1usize);
            for step in steps {
                let actions = [Action::Go, Action::Again, Action::Success, Action::Failure, Action::Pause,
                    Action::DeleteLast, Action::Stop];
                let orders = match step {
                    0..=6 => session.act(actions[usize::from(step)]).unwrap_or_default(),
                    7 => session.pass(2.0),
                    8 => session.moved(),
                    9 | 10 if open => { open = false; kept += usize::from(step == 9); session.ended(step == 9) }
                    _ => session.pass(0.1),
                };
                for order in orders {
                    match order {
                        Order::Begin => { prop_assert!(!open); open = true; }
                        Order::End(_) => prop_assert!(open),
                        Order::Cancel | Order::Leave => { prop_assert!(open); open = false; }
                        Order::RemoveLast => { prop_assert!(!open && kept > 1); kept -= 1; }
                        Order::JudgeLast(_) => prop_assert!(!open && kept > 1),
                        Order::Prepare => prop_assert!(!open),
                    }
                }
                prop_assert_eq!(session.have(), kept);
                prop_assert_eq!(open, matches!(session.phase(), Phase::Recording | Phase::Ending));
            }
        }
    }
}
