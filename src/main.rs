//! The program: parse, dispatch, exit code.
use porchlight::cli::{self, Invocation};
use porchlight::exit::Exit;

fn main() -> std::process::ExitCode {
    match cli::parse(std::env::args_os().skip(1)) {
        Ok(Invocation::Run(args)) => porchlight::command::run::run(&args).into(),
        Ok(_) => Exit::Usage.into(),
        Err(e) => {
            eprintln!("porchlight: {e}");
            Exit::Usage.into()
        }
    }
}
