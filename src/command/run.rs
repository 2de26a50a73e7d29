//! `run`: the pipeline.

use super::Failure;
use crate::cli::RunArgs;
use crate::config::Config;
use crate::exit::Exit;

pub(super) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let _config = Config::load(args)?;
    Err(Failure::new(Exit::Usage, "run: not built yet"))
}
