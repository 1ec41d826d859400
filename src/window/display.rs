//! Whether there is a display, found out before the window system is asked, which would panic or exit.

use super::WindowError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

/// Looks for a display that answers.
///
/// # Errors
/// [`WindowError::NoDisplay`] saying what is missing.
#[cfg(all(unix, not(target_os = "macos")))]
pub(super) fn find() -> Result<(), WindowError> {
    let named = |variable: &str| std::env::var(variable).ok().filter(|value| !value.is_empty());
    let runtime = named("XDG_RUNTIME_DIR");
    check(named("WAYLAND_DISPLAY").as_deref(), named("DISPLAY").as_deref(), runtime.as_deref())
        .map_err(WindowError::NoDisplay)
}

/// Elsewhere the window system is always there.
#[cfg(not(all(unix, not(target_os = "macos"))))]
pub(super) fn find() -> Result<(), WindowError> {
    Ok(())
}

#[cfg(all(unix, not(target_os = "macos")))]
fn check(wayland: Option<&str>, x11: Option<&str>, runtime: Option<&str>) -> Result<(), String> {
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    if let Some(name) = wayland {
        let socket = Path::new(runtime.unwrap_or("/run")).join(name);
        return match UnixStream::connect(&socket) {
            Ok(_) => Ok(()),
            Err(fault) => Err(format!("WAYLAND_DISPLAY is {name}, but {}: {fault}", socket.display())),
        };
    }
    let Some(name) = x11 else { return Err("neither DISPLAY nor WAYLAND_DISPLAY is set".into()) };
    match local_display(name) {
        // Displays of other hosts answer the window system or not.
        None => Ok(()),
        Some(number) if connects_to_x11(number) => Ok(()),
        Some(_) => Err(format!("DISPLAY is {name}, but nothing answers there")),
    }
}

/// Number of a display on this machine, as in `:0` or `unix:1.0`.
#[cfg(all(unix, not(target_os = "macos")))]
fn local_display(name: &str) -> Option<u32> {
    let (host, rest) = name.rsplit_once(':')?;
    let number = rest.split('.').next()?.parse().ok()?;
    (host.is_empty() || host == "unix").then_some(number)
}

#[cfg(all(unix, not(target_os = "macos")))]
fn connects_to_x11(number: u32) -> bool {
    use std::os::unix::net::UnixStream;
    let path = format!("/tmp/.X11-unix/X{number}");
    if UnixStream::connect(&path).is_ok() {
        return true;
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(path.as_bytes());
        address.is_ok_and(|address| UnixStream::connect_addr(&address).is_ok())
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Runs what may panic in code that is not ours; a panic comes back as its message and prints nothing.
pub(super) fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let message: Arc<Mutex<Option<String>>> = Arc::default();
    let heard = message.clone();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or("unknown fault");
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown fault");
        if let Ok(mut message) = heard.lock() {
            // The first is the cause; later ones follow from it.
            message.get_or_insert_with(|| line.trim().to_string());
        }
    }));
    let result = catch_unwind(AssertUnwindSafe(work));
    std::panic::set_hook(before);
    let first = message.lock().ok().and_then(|mut message| message.take());
    result.map_err(|_| first.unwrap_or_else(|| "unknown fault".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_come_back_as_their_first_message() {
        assert_eq!(quietly(|| 7), Ok(7));
        assert_eq!(quietly(|| -> u8 { panic!("no driver\nat all") }), Err("no driver".to_string()));
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    #[test]
    fn displays_that_are_not_there_are_told_apart() {
        assert!(check(None, None, None).unwrap_err().contains("DISPLAY"));
        assert!(check(None, Some(":64321"), None).unwrap_err().contains(":64321"));
        let folder = tempfile::tempdir().unwrap();
        let runtime = folder.path().to_str();
        assert!(check(Some("wayland-9"), Some(":0"), runtime).unwrap_err().contains("wayland-9"));
        let _listener = std::os::unix::net::UnixListener::bind(folder.path().join("wayland-1")).unwrap();
        assert!(check(Some("wayland-1"), None, runtime).is_ok());
        assert_eq!(local_display("unix:2.1"), Some(2));
        assert_eq!(local_display("desk.example:2"), None);
    }
}
