//! `etude serve-env`: simulated worlds for learners outside.

use super::record::parse_size;
use super::{CliError, WorldArgs, say};
use crate::app::Loaded;
use crate::operator::Operator;
use crate::record::CameraWish;
use crate::serve_env::{Server, Service};
use clap::Args;
use std::net::TcpListener;
use std::path::PathBuf;

/// Options of `etude serve-env`.
#[derive(Args, Debug)]
pub(super) struct ServeEnvArgs {
    #[command(flatten)]
    world: WorldArgs,
    /// Worlds that step together.
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=4096))]
    worlds: u32,
    /// Threads they are spread over; without it as many as there are cores.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Cameras of every observation, by their names in the scene; "none" for none.
    #[arg(long, default_value = "overview,wrist", value_name = "NAMES", value_delimiter = ',')]
    cameras: Vec<String>,
    /// Size of the pictures, such as 96x96; without it as the scene says.
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    size: Option<(u32, u32)>,
    /// Listen on this port of this computer only; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Listen on a socket file instead of a port.
    #[cfg(unix)]
    #[arg(long, value_name = "FILE", conflicts_with = "port")]
    socket: Option<PathBuf>,
    /// End when the first client leaves.
    #[arg(long)]
    once: bool,
}

pub(super) fn serve_env(args: &ServeEnvArgs) -> Result<(), CliError> {
    if args.world.is_real() {
        return Err(CliError::Usage("serve-env simulates; leave out --arm real and --arm-port".into()));
    }
    let options = args.world.options(Operator::Outside)?;
    let loaded = Loaded::new(&options)?;
    let names: &[String] = if args.cameras == ["none"] { &[] } else { &args.cameras };
    let service = Service {
        worlds: args.worlds as usize,
        threads: args
            .threads
            .map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |n| n as usize),
        cameras: names.iter().map(|name| CameraWish { name: name.clone(), size: args.size }).collect(),
    };
    let server = Server::new(&loaded, &options, service)?;
    #[cfg(unix)]
    if let Some(path) = &args.socket {
        let failed = |error: std::io::Error| {
            CliError::Usage(format!(
                "--socket {}: {error}; name a file that is not there, in a folder that is",
                path.display()
            ))
        };
        let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
        let _removed = RemoveOnDrop(path.clone());
        say(format!("{{\"socket\":{}}}", serde_json::json!(path)))?;
        return listen(&server, args.once, || Ok(listener.accept()?.0));
    }
    let failed = |error: std::io::Error| CliError::Usage(format!("--port {}: {error}; take another, or 0", args.port));
    let listener = TcpListener::bind(("127.0.0.1", args.port)).map_err(failed)?;
    say(format!("{{\"port\":{}}}", listener.local_addr().map_err(failed)?.port()))?;
    listen(&server, args.once, || {
        let stream = listener.accept()?.0;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

/// Serves one client after the other.
fn listen<S: std::io::Read + std::io::Write>(
    server: &Server,
    once: bool,
    mut next: impl FnMut() -> std::io::Result<S>,
) -> Result<(), CliError> {
    loop {
        let stream = next()?;
        // A client that breaks off does not end the service.
        if let Err(error) = server.serve(stream) {
            eprintln!("etude: {error}");
        }
        if once {
            return Ok(());
        }
    }
}

/// Takes the socket file away again.
#[cfg(unix)]
struct RemoveOnDrop(PathBuf);

#[cfg(unix)]
impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // At worst it stays, and the next start says so.
        let _ = std::fs::remove_file(&self.0);
    }
}
