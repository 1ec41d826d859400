//! The one table of keys for recording, for window and terminal alike.

use super::session::Action;
use bevy::prelude::KeyCode;

/// A key and what it does.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The key in the window, by its place; `None`: in the terminal only, where no key moves the arm.
    pub code: Option<KeyCode>,
    /// What a terminal sends for it.
    pub bytes: &'static [u8],
    /// What is printed on it.
    pub label: &'static str,
    /// What it does.
    pub action: Action,
}

/// All keys.
pub const KEYS: &[Key] = &[
    Key { code: Some(KeyCode::Enter), bytes: b"\r\n", label: "Enter", action: Action::Go },
    Key { code: Some(KeyCode::NumpadEnter), bytes: b"", label: "Enter", action: Action::Go },
    Key { code: Some(KeyCode::Space), bytes: b" ", label: "Space", action: Action::Go },
    Key { code: Some(KeyCode::KeyN), bytes: b"nN", label: "N", action: Action::Go },
    Key { code: Some(KeyCode::KeyR), bytes: b"rR", label: "R", action: Action::Again },
    Key { code: Some(KeyCode::KeyY), bytes: b"yY", label: "Y", action: Action::Success },
    Key { code: Some(KeyCode::KeyF), bytes: b"fF", label: "F", action: Action::Failure },
    Key { code: Some(KeyCode::KeyP), bytes: b"pP", label: "P", action: Action::Pause },
    Key { code: Some(KeyCode::Backspace), bytes: b"\x7f\x08", label: "Backspace", action: Action::DeleteLast },
    Key { code: Some(KeyCode::Escape), bytes: b"\x1b", label: "Esc", action: Action::Stop },
    Key { code: None, bytes: b"qQ", label: "Q", action: Action::Stop },
];

/// The action of a key of the window.
pub fn action_of(code: KeyCode) -> Option<Action> {
    KEYS.iter().find(|key| key.code == Some(code)).map(|key| key.action)
}

/// Label of the first key for an action.
pub fn label_of(action: Action) -> &'static str {
    KEYS.iter().find(|key| key.action == action).map_or("", |key| key.label)
}

/// What the bytes of a terminal ask for. An escape sequence counts only as one of the arrows right (go on) and left (again),
/// as LeRobot has them.
pub fn read(bytes: &[u8]) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == 0x1b
            && let Some((b'[' | b'O', sequence)) = after.split_first()
        {
            let end = sequence.iter().position(|byte| (0x40..=0x7e).contains(byte));
            match end.map(|end| &sequence[..=end]) {
                Some(b"C") => actions.push(Action::Go),
                Some(b"D") => actions.push(Action::Again),
                _ => {}
            }
            rest = end.map_or(&[], |end| &sequence[end + 1..]);
            continue;
        }
        actions.extend(KEYS.iter().find(|key| key.bytes.contains(&first)).map(|key| key.action));
    }
    actions
}

/// What each action is called.
pub const WORDS: [(Action, &str); 7] = [
    (Action::Go, "start, end"),
    (Action::Again, "again"),
    (Action::Success, "success"),
    (Action::Failure, "failure"),
    (Action::Pause, "pause"),
    (Action::DeleteLast, "delete last"),
    (Action::Stop, "stop"),
];

/// The keys in one line.
pub fn help() -> String {
    WORDS.map(|(action, words)| format!("{} {words}", label_of(action))).join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_actions_and_other_keys_nothing() {
        assert_eq!(read(b"\rx\x7f"), [Action::Go, Action::DeleteLast]);
        assert_eq!(read(b"\x1b"), [Action::Stop]);
        assert_eq!(read(b"\x1b[C\x1b[Dy"), [Action::Go, Action::Again, Action::Success]);
        assert_eq!(read(b"\x1b[A\x1b[3~\x1b[15;2~"), [], "other sequences do not stop the session");
        assert_eq!(read(b"\x1b["), []);
    }

    #[test]
    fn no_key_is_bound_twice() {
        for (index, key) in KEYS.iter().enumerate() {
            for other in &KEYS[index + 1..] {
                assert!(key.code.is_none() || key.code != other.code, "{key:?}");
                assert!(!key.bytes.iter().any(|byte| other.bytes.contains(byte)), "{key:?}");
            }
        }
        assert!(help().contains("Enter start, end"));
    }
}
