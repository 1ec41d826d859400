//! The `etude` program: parses the command line, calls the library, reports errors at the edge.

use std::process::ExitCode;

fn main() -> ExitCode {
    match etude::cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has had enough, as `head` does: no complaint.
        Err(etude::cli::CliError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("etude: {error}");
            ExitCode::FAILURE
        }
    }
}
