//! `ledgerline`: the commands are in `cli`.

use std::process::ExitCode;

/// The system's allocator hands every large buffer back to the kernel and takes it again for the next batch: a tenth of the
/// client's time was page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ledgerline_worker::cli::main()
}
