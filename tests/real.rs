//! real data
fn main() {}
