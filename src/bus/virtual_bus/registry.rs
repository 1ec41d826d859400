//! Which emulated arms run on this computer, so that `etude ports` finds them as it finds real ones: each leaves a note in
//! the user's folder for running programs.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A running emulated arm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningArm {
    /// Its port, or the link to it.
    pub port: String,
    /// Process that emulates it.
    pub process: u32,
    /// What it is, in words.
    pub what: String,
}

/// The note of a running arm; it goes with this.
#[derive(Debug)]
pub struct Registration(PathBuf);

impl Drop for Registration {
    fn drop(&mut self) {
        // One that stays is found out by its process, which is gone.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The folder of the notes: in `XDG_RUNTIME_DIR`, where there is none in the folder for temporary files.
pub fn folder() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir());
    let folder = runtime.unwrap_or_else(|| {
        let user = std::env::var("USER").unwrap_or_else(|_| "user".to_owned());
        std::env::temp_dir().join(format!("etude-{}", user.replace(['/', '.'], "_")))
    });
    folder.join("etude-virtual-arms")
}

/// Note that this process emulates an arm at `port`. Without a place for the note there is none; the arm works all the same.
pub fn register(folder: &Path, port: &Path, what: &str) -> Option<Registration> {
    let port = std::path::absolute(port).unwrap_or_else(|_| port.to_owned());
    let process = std::process::id();
    let arm = RunningArm { port: port.to_string_lossy().into_owned(), process, what: what.to_owned() };
    std::fs::create_dir_all(folder).ok()?;
    let note = folder.join(format!("{process}.ron"));
    std::fs::write(&note, ron::ser::to_string(&arm).ok()?).ok()?;
    Some(Registration(note))
}

/// The emulated arms that run now, in the order of their ports. Notes of arms that were killed are cleared away.
pub fn running(folder: &Path) -> Vec<RunningArm> {
    let Ok(notes) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut arms: Vec<RunningArm> = notes
        .filter_map(|note| {
            let note = note.ok()?.path();
            let arm: RunningArm = ron::from_str(&std::fs::read_to_string(&note).ok()?).ok()?;
            if is_alive(arm.process) {
                return Some(arm);
            }
            let _ = std::fs::remove_file(&note);
            None
        })
        .collect();
    arms.sort_by(|a, b| a.port.cmp(&b.port));
    arms
}

#[cfg(unix)]
fn is_alive(process: u32) -> bool {
    let known = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw);
    known.is_some_and(|process| match rustix::process::test_kill_process(process) {
        Ok(()) => true,
        // There, but another user's.
        Err(error) => error == rustix::io::Errno::PERM,
    })
}

#[cfg(not(unix))]
fn is_alive(_process: u32) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arms_are_listed_while_they_run() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(running(folder.path()), []);
        let note = register(folder.path(), Path::new("/dev/pts/7"), "follower").unwrap();
        let found = running(folder.path());
        assert_eq!((found.len(), found[0].port.as_str(), found[0].what.as_str()), (1, "/dev/pts/7", "follower"));
        // One that was killed: no process has the highest number there is.
        let dead = RunningArm { process: i32::MAX as u32, ..found[0].clone() };
        std::fs::write(folder.path().join("dead.ron"), ron::ser::to_string(&dead).unwrap()).unwrap();
        std::fs::write(folder.path().join("spoilt.ron"), "(").unwrap();
        assert_eq!(running(folder.path()), found);
        assert!(!folder.path().join("dead.ron").exists());
        drop(note);
        assert_eq!(running(folder.path()), []);
    }
}
