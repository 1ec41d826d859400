//! One writer at a time: `.etude/lock`, locked for as long as the writer lives. The system releases it when the
//! program ends, however it ends.

use super::disk;
use super::error::{DatasetError, IoContext, Result};
use super::journal::private_dir;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often, and how long apart, a lock held by another is tried again.
const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(15);

/// Held by the one program that writes to a dataset.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the dataset in `root`, creating the folder.
    pub(crate) fn take(root: &Path) -> Result<Self> {
        let dir = private_dir(root);
        disk::create_dir(&dir)?;
        let path = dir.join("lock");
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.at(&path, "open")?;
        // A process that another thread is just starting shares this program's locks for a moment; waiting a little
        // tells that from a real second writer.
        let mut taken = file.try_lock();
        for _ in 0..ATTEMPTS {
            if !matches!(taken, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(PAUSE);
            taken = file.try_lock();
        }
        match taken {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Without its name the message is still right.
                let _ = file.read_to_string(&mut holder);
                return Err(DatasetError::Locked { root: root.into(), holder: holder.trim().into() });
            }
            Err(TryLockError::Error(source)) => return Err(source).at(&path, "lock"),
        }
        let text = format!("process {}, since {} s after 1970\n", std::process::id(), unix_s());
        file.set_len(0).at(&path, "write")?;
        file.seek(SeekFrom::Start(0)).at(&path, "write")?;
        file.write_all(text.as_bytes()).at(&path, "write")?;
        Ok(Self { _file: file })
    }
}

/// Seconds since 1970.
pub(crate) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
