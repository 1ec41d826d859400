//! Checks on an episode's numbers.

use super::check::{CheckOptions, Finding, Kind, Severity};
use super::row::Outcome;

/// The numbers of an episode, row after row.
#[derive(Debug, Clone, Default)]
pub(crate) struct EpisodeRows {
    pub(crate) episode: usize,
    pub(crate) fps: u32,
    /// Joint names; may be empty.
    pub(crate) names: Vec<String>,
    /// Joints.
    pub(crate) width: usize,
    pub(crate) state: Vec<f32>,
    /// Empty when actions are of another width.
    pub(crate) action: Vec<f32>,
    /// Empty when lateness was not recorded.
    pub(crate) late_s: Vec<f32>,
    pub(crate) outcome: Outcome,
}

impl EpisodeRows {
    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.state.len() / self.width.max(1)
    }

    fn name(&self, joint: usize) -> String {
        self.names.get(joint).cloned().unwrap_or_else(|| format!("joint {joint}"))
    }

    /// Change of a joint's position from the row before; 0 in the first row.
    fn step(&self, row: usize, joint: usize) -> f32 {
        match row {
            0 => 0.0,
            _ => self.state[row * self.width + joint] - self.state[(row - 1) * self.width + joint],
        }
    }

    /// Largest change of any joint from the row before.
    pub(crate) fn motion(&self, row: usize) -> f32 {
        (0..self.width).map(|joint| self.step(row, joint).abs()).fold(0.0, f32::max)
    }

    /// Numbers by which episodes are compared with each other.
    pub(crate) fn summary(&self) -> Vec<(String, f32)> {
        let way: f32 = (0..self.len()).map(|row| self.motion(row)).sum();
        let mut summary = vec![("length in seconds".into(), self.len() as f32 / self.fps as f32), ("way".into(), way)];
        let start = self.state.iter().take(self.width).enumerate();
        summary.extend(start.map(|(joint, &x)| (format!("start of {}", self.name(joint)), x)));
        summary
    }
}

/// Runs of rows for which `is` holds, first and last of each.
pub(crate) fn runs(rows: usize, is: impl Fn(usize) -> bool) -> Vec<[usize; 2]> {
    let mut runs: Vec<[usize; 2]> = Vec::new();
    for row in (0..rows).filter(|&row| is(row)) {
        match runs.last_mut() {
            Some(last) if last[1] + 1 == row => last[1] = row,
            _ => runs.push([row, row]),
        }
    }
    runs
}

/// Rows in all runs together.
pub(crate) fn covered(runs: &[[usize; 2]]) -> usize {
    runs.iter().map(|r| r[1] - r[0] + 1).sum()
}

/// All findings that need no pictures.
pub(crate) fn row_findings(rows: &EpisodeRows, options: &CheckOptions) -> Vec<Finding> {
    let mut findings = Vec::new();
    if rows.len() < 2 || rows.width == 0 {
        return findings;
    }
    for joint in 0..rows.width {
        findings.extend(jump(rows, joint, options));
        findings.extend(jerk(rows, joint, options));
        findings.extend(clipping(rows, joint, options));
    }
    findings.extend(idle(rows, options));
    findings.extend(late(rows));
    findings
}

fn jump(rows: &EpisodeRows, joint: usize, options: &CheckOptions) -> Option<Finding> {
    let limit = options.max_speed / rows.fps as f32;
    let frames = runs(rows.len(), |row| rows.step(row, joint).abs() > limit);
    let largest = (0..rows.len()).map(|row| rows.step(row, joint).abs()).fold(0.0, f32::max);
    (!frames.is_empty()).then(|| Finding {
        kind: Kind::Jump,
        severity: Severity::Bad,
        subject: rows.name(joint),
        frames,
        message: format!("jumps by up to {largest:.1} in one row, more than the joint can move"),
        advice: "Look for lost packets or a wrong calibration; delete the episode".into(),
    })
}

/// Direction reversals beyond sensor noise; a smooth reach has a handful, a trembling one many.
fn jerk(rows: &EpisodeRows, joint: usize, options: &CheckOptions) -> Option<Finding> {
    let noise = options.rest * 0.3;
    let reverses = |row: usize| {
        row >= 2 && {
            let (a, b) = (rows.step(row - 1, joint), rows.step(row, joint));
            a * b < 0.0 && a.abs() > noise && b.abs() > noise
        }
    };
    let frames = runs(rows.len(), reverses);
    let share = covered(&frames) as f32 / rows.len() as f32;
    (share > 0.15).then(|| Finding {
        kind: Kind::Jerk,
        severity: Severity::Warning,
        subject: rows.name(joint),
        frames,
        message: format!("trembles: its direction reverses in {:.0} % of the rows", share * 100.0),
        advice: "Move more calmly, or lower the leader's gain; check the joint for play".into(),
    })
}

fn clipping(rows: &EpisodeRows, joint: usize, options: &CheckOptions) -> Option<Finding> {
    let &[low, high] = options.limits.as_ref()?.get(joint)?;
    let margin = (high - low).abs() * 1e-3;
    let target = |row: usize| rows.action.get(row * rows.width + joint).copied();
    let at_limit = |row: usize| target(row).is_some_and(|x| x <= low + margin || x >= high - margin);
    // Passing through a limit is no fault; staying there loses what the operator wanted.
    let mut frames = runs(rows.len(), at_limit);
    frames.retain(|r| r[1] - r[0] + 1 >= (rows.fps as usize / 3).max(2));
    let count = covered(&frames);
    (count > 0).then(|| Finding {
        kind: Kind::Clipping,
        severity: Severity::Warning,
        subject: rows.name(joint),
        frames,
        message: format!("the target stays at the joint's limit for {count} rows"),
        advice: "Keep away from the limit, or check the calibration".into(),
    })
}

fn idle(rows: &EpisodeRows, options: &CheckOptions) -> Vec<Finding> {
    let near = |a: usize, b: usize| {
        let pair = |list: &[f32], joint: usize| {
            let at = |row: usize| list.get(row * rows.width + joint).copied().unwrap_or(0.0);
            (at(a) - at(b)).abs() <= options.rest
        };
        (0..rows.width).all(|joint| pair(&rows.state, joint) && pair(&rows.action, joint))
    };
    let last = rows.len() - 1;
    let head = (1..=last).take_while(|&row| near(row, 0)).count();
    let tail = (0..last).rev().take_while(|&row| near(row, last)).count();
    let seconds = |count: usize| count as f64 / f64::from(rows.fps);
    let finding = |kind, frames: [usize; 2], count: usize, place: &str| Finding {
        kind,
        severity: Severity::Note,
        subject: "motion".into(),
        frames: vec![frames],
        message: format!("nothing moves for {:.1} s at the {place}", seconds(count)),
        advice: "Trim it: a policy learns to wait".into(),
    };
    let mut findings = Vec::new();
    if seconds(head) > options.idle_s {
        findings.push(finding(Kind::IdleHead, [0, head], head, "beginning"));
    }
    // An episode in which nothing moves at all is reported once.
    if seconds(tail) > options.idle_s && head < last {
        findings.push(finding(Kind::IdleTail, [last - tail, last], tail, "end"));
    }
    findings
}

fn late(rows: &EpisodeRows) -> Option<Finding> {
    let period = 1.0 / rows.fps as f32;
    let frames = runs(rows.late_s.len(), |row| rows.late_s[row] > period * 0.5);
    let count = covered(&frames);
    let worst = rows.late_s.iter().copied().fold(0.0, f32::max);
    let ticks = if count == 1 { "tick" } else { "ticks" };
    (count > 0).then(|| Finding {
        kind: Kind::Late,
        severity: if count * 20 > rows.len() { Severity::Bad } else { Severity::Warning },
        subject: "clock".into(),
        frames,
        message: format!("{count} {ticks} came more than half a row late, the worst by {:.0} ms", worst * 1e3),
        advice: "Close other programs, or use fewer or smaller cameras".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rests for `rest` rows at both ends and moves evenly between.
    fn calm(rows: usize, rest: usize) -> EpisodeRows {
        let position = |row: usize| (row.clamp(rest, rows - rest) - rest) as f32 * 2.0;
        let state: Vec<f32> = (0..rows).flat_map(|row| [position(row), 5.0]).collect();
        EpisodeRows { fps: 30, width: 2, action: state.clone(), state, late_s: vec![0.0; rows], ..Default::default() }
    }

    fn kinds(rows: &EpisodeRows, options: &CheckOptions) -> Vec<Kind> {
        row_findings(rows, options).iter().map(|f| f.kind).collect()
    }

    #[test]
    fn a_calm_episode_has_no_findings() {
        assert_eq!(kinds(&calm(90, 10), &CheckOptions::default()), []);
    }

    #[test]
    fn each_fault_is_found_in_its_rows() {
        let options = CheckOptions { limits: Some(vec![[-10.0, 1000.0], [0.0, 5.0]]), ..CheckOptions::default() };
        let found = |rows: &EpisodeRows, kind| {
            row_findings(rows, &options).into_iter().find(|f| f.kind == kind).map(|f| f.frames)
        };
        let mut jump = calm(90, 10);
        (40..90).for_each(|row| jump.state[row * 2] += 60.0);
        assert_eq!(found(&jump, Kind::Jump), Some(vec![[40, 40]]));
        let mut tremble = calm(90, 10);
        (0..90).for_each(|row| tremble.state[row * 2 + 1] += (row % 2) as f32 * 3.0);
        assert_eq!(found(&tremble, Kind::Jerk), Some(vec![[2, 89]]));
        assert_eq!(found(&calm(200, 50), Kind::IdleHead), Some(vec![[0, 50]]));
        assert_eq!(found(&calm(200, 50), Kind::IdleTail), Some(vec![[150, 199]]));
        assert_eq!(found(&calm(90, 10), Kind::Clipping), Some(vec![[0, 89]]));
        let mut late = calm(90, 10);
        late.late_s[7] = 0.03;
        assert_eq!(found(&late, Kind::Late), Some(vec![[7, 7]]));
    }
}
