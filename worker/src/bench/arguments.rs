//! Numbers of the command line that a range alone does not describe; clap answers the others with exit code 2, and so these.

/// Most runs: the list of figures stays readable.
const MOST_RUNS: u32 = 99;
/// Most quotes of one batch: rivals take 6 parameters each.
const MOST_BATCH_ROWS: u32 = 10_000;

/// Runs: an odd number, so that the median is one of them.
pub fn runs(text: &str) -> Result<u32, String> {
    let runs: u32 = text.parse().map_err(|error| format!("not a number: {error}"))?;
    let fits = runs <= MOST_RUNS && runs % 2 == 1;
    if fits {
        Ok(runs)
    } else {
        Err(format!("must be odd, so that the median is one of them, and at most {MOST_RUNS}"))
    }
}

/// Quotes of one batch: an even number, because an event has two.
pub fn batch_rows(text: &str) -> Result<u32, String> {
    let rows: u32 = text.parse().map_err(|error| format!("not a number: {error}"))?;
    let fits = (2..=MOST_BATCH_ROWS).contains(&rows) && rows.is_multiple_of(2);
    if fits {
        Ok(rows)
    } else {
        Err(format!("must be even, because an event has two quotes, and 2 to {MOST_BATCH_ROWS}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_odd() {
        assert_eq!(runs("5"), Ok(5));
        assert!(["0", "4", "101", "x"].into_iter().all(|text| runs(text).is_err()));
    }

    #[test]
    fn batches_are_of_whole_events() {
        assert_eq!(batch_rows("5000"), Ok(5_000));
        assert!(["0", "1", "4999", "10002", "x"].into_iter().all(|text| batch_rows(text).is_err()));
    }
}
