//! The one table of keys: input is read from it and the help is printed from it.

use super::actions::Action;
use super::camera_rig::View;
use crate::control::StopKey;
use bevy::prelude::KeyCode;

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Use {
    /// Something that happens once per press.
    Do(Action),
    /// Motion for as long as it is held.
    Hold(Motion),
}

/// Motion of the arm while a key is held. Directions are those of the person in front of the screen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Motion {
    /// Hand velocity: right, away, up.
    Hand(f64, f64, f64),
    /// Turn of the hand seen from above, positive counter-clockwise.
    Turn(f64),
    /// Tilt of the fingers, positive outwards.
    Tilt(f64),
    /// Jaws, positive opens.
    Jaws(f64),
    /// One joint, by its place in the arm.
    Joint(usize),
    /// Everything slower.
    Fine,
    /// Single joints turn backwards.
    Backwards,
}

/// A key and its use.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The key, by its place on an American keyboard.
    pub key: KeyCode,
    /// What is printed on it.
    pub label: &'static str,
    /// What it does.
    pub does: Use,
    /// Group and words for the help; bindings with the same words share a line.
    pub help: (Group, &'static str),
}

/// Groups of the help, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Moving the hand.
    Hand,
    /// Moving single joints.
    Joints,
    /// The attempt.
    Attempt,
    /// Time.
    Time,
    /// What is seen.
    Sight,
}

impl Group {
    /// All groups.
    pub const ALL: [Self; 5] = [Self::Hand, Self::Joints, Self::Attempt, Self::Time, Self::Sight];

    /// Heading in the help.
    pub fn title(self) -> &'static str {
        match self {
            Self::Hand => "Move the hand",
            Self::Joints => "Single joints",
            Self::Attempt => "Attempt",
            Self::Time => "Time",
            Self::Sight => "View",
        }
    }
}

const fn hold(key: KeyCode, label: &'static str, motion: Motion, group: Group, words: &'static str) -> Binding {
    Binding { key, label, does: Use::Hold(motion), help: (group, words) }
}

const fn act(key: KeyCode, label: &'static str, action: Action, group: Group, words: &'static str) -> Binding {
    Binding { key, label, does: Use::Do(action), help: (group, words) }
}

/// All keys.
pub const BINDINGS: &[Binding] = &[
    hold(KeyCode::KeyW, "W", Motion::Hand(0.0, 1.0, 0.0), Group::Hand, "away, left, closer, right"),
    hold(KeyCode::KeyA, "A", Motion::Hand(-1.0, 0.0, 0.0), Group::Hand, "away, left, closer, right"),
    hold(KeyCode::KeyS, "S", Motion::Hand(0.0, -1.0, 0.0), Group::Hand, "away, left, closer, right"),
    hold(KeyCode::KeyD, "D", Motion::Hand(1.0, 0.0, 0.0), Group::Hand, "away, left, closer, right"),
    hold(KeyCode::ArrowUp, "Up", Motion::Hand(0.0, 1.0, 0.0), Group::Hand, "the same"),
    hold(KeyCode::ArrowLeft, "Left", Motion::Hand(-1.0, 0.0, 0.0), Group::Hand, "the same"),
    hold(KeyCode::ArrowDown, "Down", Motion::Hand(0.0, -1.0, 0.0), Group::Hand, "the same"),
    hold(KeyCode::ArrowRight, "Right", Motion::Hand(1.0, 0.0, 0.0), Group::Hand, "the same"),
    hold(KeyCode::KeyQ, "Q", Motion::Hand(0.0, 0.0, -1.0), Group::Hand, "down, up"),
    hold(KeyCode::KeyE, "E", Motion::Hand(0.0, 0.0, 1.0), Group::Hand, "down, up"),
    hold(KeyCode::KeyJ, "J", Motion::Turn(1.0), Group::Hand, "turn the hand"),
    hold(KeyCode::KeyL, "L", Motion::Turn(-1.0), Group::Hand, "turn the hand"),
    hold(KeyCode::KeyI, "I", Motion::Tilt(1.0), Group::Hand, "tilt it out, in"),
    hold(KeyCode::KeyK, "K", Motion::Tilt(-1.0), Group::Hand, "tilt it out, in"),
    hold(KeyCode::KeyU, "U", Motion::Jaws(-1.0), Group::Hand, "close, open the jaws"),
    hold(KeyCode::KeyO, "O", Motion::Jaws(1.0), Group::Hand, "close, open the jaws"),
    hold(KeyCode::ShiftLeft, "Shift", Motion::Fine, Group::Hand, "slow and fine"),
    hold(KeyCode::ShiftRight, "Shift", Motion::Fine, Group::Hand, "slow and fine"),
    act(KeyCode::Tab, StopKey::LABEL, Action::EmergencyStop, Group::Hand, "stop the arm at once, go on"),
    hold(KeyCode::Digit1, "1", Motion::Joint(0), Group::Joints, "turn one joint"),
    hold(KeyCode::Digit2, "2", Motion::Joint(1), Group::Joints, "turn one joint"),
    hold(KeyCode::Digit3, "3", Motion::Joint(2), Group::Joints, "turn one joint"),
    hold(KeyCode::Digit4, "4", Motion::Joint(3), Group::Joints, "turn one joint"),
    hold(KeyCode::Digit5, "5", Motion::Joint(4), Group::Joints, "turn one joint"),
    hold(KeyCode::Digit6, "6", Motion::Joint(5), Group::Joints, "turn one joint"),
    hold(KeyCode::AltLeft, "Alt", Motion::Backwards, Group::Joints, "held: backwards"),
    act(KeyCode::KeyR, "R", Action::Restart, Group::Attempt, "again, same start"),
    act(KeyCode::KeyN, "N", Action::NextSeed, Group::Attempt, "next start"),
    act(KeyCode::KeyB, "B", Action::PreviousSeed, Group::Attempt, "start before"),
    act(KeyCode::F2, "F2", Action::NextTask, Group::Attempt, "next task"),
    act(KeyCode::KeyX, "X", Action::WatchOrTakeOver, Group::Attempt, "watch the expert, take over"),
    act(KeyCode::KeyG, "G", Action::NextGhost, Group::Attempt, "ghost to race"),
    act(KeyCode::Backspace, "Backspace", Action::Stop, Group::Attempt, "end the attempt"),
    act(KeyCode::KeyP, "P", Action::Pause, Group::Time, "pause"),
    act(KeyCode::Period, ".", Action::Step, Group::Time, "one tick"),
    act(KeyCode::Comma, ",", Action::SlowMotion, Group::Time, "slow motion"),
    act(KeyCode::F5, "F5", Action::Show(View::Front), Group::Sight, "front, side, top, wrist"),
    act(KeyCode::F6, "F6", Action::Show(View::Side), Group::Sight, "front, side, top, wrist"),
    act(KeyCode::F7, "F7", Action::Show(View::Top), Group::Sight, "front, side, top, wrist"),
    act(KeyCode::F8, "F8", Action::Show(View::Wrist), Group::Sight, "front, side, top, wrist"),
    act(KeyCode::KeyC, "C", Action::Cameras, Group::Sight, "what the cameras see"),
    act(KeyCode::F9, "F9", Action::Panels, Group::Sight, "hide the panels"),
    act(KeyCode::F12, "F12", Action::Screenshot, Group::Sight, "screenshot"),
    act(KeyCode::KeyH, "H", Action::Help, Group::Sight, "this help"),
    act(KeyCode::F1, "F1", Action::Help, Group::Sight, "this help"),
    act(KeyCode::Escape, "Esc", Action::Quit, Group::Sight, "close help, quit"),
];

/// What the mouse does, for the help.
pub const MOUSE: &[(&str, &str)] = &[
    ("left, on the ring", "drag the hand"),
    ("  + right, middle", "close, open the jaws"),
    ("  + wheel", "lower, lift"),
    ("left or right", "look around"),
    ("middle", "move the view"),
    ("wheel", "zoom"),
];

/// Lines of the help of one group: labels and words.
pub fn help_lines(group: Group) -> Vec<(String, &'static str)> {
    let mut lines: Vec<(String, &'static str)> = Vec::new();
    for binding in BINDINGS.iter().filter(|binding| binding.help.0 == group) {
        match lines.iter_mut().find(|(_, words)| *words == binding.help.1) {
            Some((labels, _)) if labels.ends_with(binding.label) => {}
            Some((labels, _)) => {
                labels.push(' ');
                labels.push_str(binding.label);
            }
            None => lines.push((binding.label.to_string(), binding.help.1)),
        }
    }
    lines
}

/// Label of the key of an action, for buttons.
pub fn label_of(action: Action) -> Option<&'static str> {
    BINDINGS.iter().find(|binding| binding.does == Use::Do(action)).map(|binding| binding.label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_bound_twice() {
        for (index, binding) in BINDINGS.iter().enumerate() {
            let again = BINDINGS[index + 1..].iter().find(|other| other.key == binding.key);
            assert!(again.is_none(), "{:?}", binding.key);
        }
    }

    #[test]
    fn every_binding_is_in_the_help() {
        let lines: Vec<(String, &str)> = Group::ALL.iter().flat_map(|group| help_lines(*group)).collect();
        for binding in BINDINGS {
            let found = lines.iter().any(|(labels, words)| {
                *words == binding.help.1 && labels.split(' ').any(|label| label == binding.label)
            });
            assert!(found, "{:?}", binding.key);
        }
    }

    #[test]
    fn every_direction_can_be_reached() {
        let held: Vec<Motion> =
            BINDINGS.iter().filter_map(|b| if let Use::Hold(m) = b.does { Some(m) } else { None }).collect();
        for wanted in [Motion::Turn(-1.0), Motion::Tilt(1.0), Motion::Jaws(1.0), Motion::Hand(0.0, 0.0, -1.0)] {
            assert!(held.contains(&wanted), "{wanted:?}");
        }
        assert_eq!(label_of(Action::Restart), Some("R"));
    }
}
