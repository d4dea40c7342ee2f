//! demo
use crate::config::Config;
/// args
#[derive(Debug, clap::Args)]
pub struct DemoArgs {}
/// demo
pub async fn demo(_config: &Config, _args: DemoArgs) -> anyhow::Result<()> { Ok(()) }
