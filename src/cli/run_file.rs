//! `--run-file`: a command line in a file.

use super::CliError;
use crate::app::AppError;
use crate::config::{self, RunFile};
use std::ffi::OsString;

const OPTION: &str = "--run-file";

/// The command line with what its run file says, if it names one, behind it.
pub(super) fn expand(line: Vec<OsString>) -> Result<Vec<OsString>, CliError> {
    let Some(name) = value_of(&line, OPTION) else { return Ok(line) };
    let run: RunFile = config::load_named("configs/run", &name).map_err(AppError::from)?;
    let options = run.options(|option| has(&line, option));
    Ok(line.into_iter().chain(options.into_iter().map(OsString::from)).collect())
}

fn has(line: &[OsString], option: &str) -> bool {
    let with_value = format!("{option}=");
    line.iter().filter_map(|word| word.to_str()).any(|word| word == option || word.starts_with(&with_value))
}

/// What stands behind an option; nothing if it is not there, or nothing stands behind it, which clap complains about.
fn value_of(line: &[OsString], option: &str) -> Option<String> {
    let mut words = line.iter().filter_map(|word| word.to_str());
    let with_value = format!("{option}=");
    while let Some(word) = words.next() {
        if let Some(value) = word.strip_prefix(&with_value) {
            return Some(value.to_owned());
        }
        if word == option {
            return words.next().map(str::to_owned);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_line_without_a_run_file_stays_and_one_with_it_grows() {
        assert_eq!(expand(words("etude run --seed 3")).unwrap(), words("etude run --seed 3"));
        let grown = expand(words("etude run --run-file real_arm --control-hz=60")).unwrap();
        assert_eq!(grown, words("etude run --run-file real_arm --control-hz=60 --task free_play --arm real"));
        assert_eq!(expand(words("etude run --run-file")).unwrap().len(), 3, "clap complains");
        let error = expand(words("etude run --run-file nothing")).unwrap_err().to_string();
        assert!(error.contains("real_arm"), "{error}");
    }
}
