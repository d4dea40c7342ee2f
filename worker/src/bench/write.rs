//! `bench write`.

use clap::Args;

use crate::config::Config;

/// Arguments of `bench write`.
#[derive(Debug, Args)]
pub struct Options {
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Runs the benchmark.
///
/// # Errors
/// Something did not start.
pub async fn run(_config: &Config, _options: &Options) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
