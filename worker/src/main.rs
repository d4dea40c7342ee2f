//! `ledgerline`: the commands are in `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ledgerline_worker::cli::main()
}
