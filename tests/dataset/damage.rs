//! Damaged files give errors, never a panic.

use super::helpers::*;
use etude::dataset::{Dataset, DatasetError, Outcome};
use proptest::prelude::*;
use std::fs;
use std::path::Path;

/// Reads everything there is; errors are fine.
fn read_all(root: &Path) -> Result<(), DatasetError> {
    let dataset = Dataset::open(root)?;
    for feature in dataset.info().features.clone() {
        if feature.is_video() {
            for index in (0..dataset.len()).step_by(7) {
                dataset.frame(index, &feature.key)?;
            }
        } else {
            dataset.rows(&feature.key)?;
        }
    }
    Ok(())
}

fn small_dataset() -> &'static Path {
    static DIR: std::sync::OnceLock<tempfile::TempDir> = std::sync::OnceLock::new();
    DIR.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = open(dir.path());
        record(&mut writer, 1, 9, "a", Outcome::Success);
        record(&mut writer, 2, 6, "b", Outcome::Failure);
        drop(writer);
        fs::remove_dir_all(dir.path().join(".etude")).unwrap();
        dir
    })
    .path()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn damaged_files_give_errors_never_a_panic(
        theirs in prop::bool::weighted(0.3),
        file in any::<prop::sample::Index>(),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let source = if theirs { golden() } else { small_dataset().to_path_buf() };
        copy_tree(&source, dir.path());
        let mut all = Vec::new();
        files(dir.path(), &mut all);
        let path = file.get(&all);
        let mut bytes = fs::read(path).unwrap();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(path, &bytes).unwrap();
        if let Err(error) = read_all(dir.path()) {
            prop_assert!(error.to_string().len() > 20);
        }
    }
}
