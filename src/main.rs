//! The program: parse, dispatch, exit code.

fn main() -> std::process::ExitCode {
    porchlight::command::main(std::env::args_os().skip(1)).into()
}
