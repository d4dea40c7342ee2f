//! Prices and lines: what survives, what is refused.

use super::*;

#[test]
fn american_prices_survive_the_decimal_form() {
    for american in (-1_000_000..=1_000_000).step_by(7).chain([100, -110, 101, -101, 100_000]) {
        if (-100..100).contains(&american) {
            continue;
        }
        assert_eq!(american_from_decimal(decimal_from_american(american)), american);
    }
    assert_eq!(decimal_from_american(-100), 2.0);
}

#[test]
fn lines_are_quarters() {
    assert_eq!(line(Market::Spread, Some(-1.5)), Ok(Some(-1.5)));
    assert!(line(Market::Spread, Some(-0.175)).is_err());
    assert!(line(Market::Spread, None).is_err());
    assert!(line(Market::Moneyline, Some(1.0)).is_err());
    assert!(line(Market::Total, Some(-3.0)).is_err());
    assert_eq!(line(Market::Spread, Some(-0.0)).unwrap().unwrap().to_bits(), 0);
}
