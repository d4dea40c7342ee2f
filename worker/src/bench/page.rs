//! `bench report`: stub.
use clap::Args;
/// Arguments of `bench report`.
#[derive(Debug, Args)]
pub struct Options {}
/// Writes the page.
///
/// # Errors
/// None.
pub fn run(_options: &Options) -> anyhow::Result<()> {
    Ok(())
}
