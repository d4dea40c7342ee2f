//! Words and numbers of the page. Whatever comes from a record goes through `name` or `plain`: no control character, nothing that
//! turns the direction of text, and no more of it than fits.

use indicatif::HumanCount;
use ledgerline_schema::time::UtcMicros;
use maud::{Markup, html};

use crate::cli::table::excerpt;

/// Characters of a name that are shown.
const NAME: usize = 60;

/// Text that may come from anywhere, for places where no markup may stand. The template escapes what HTML would take as its own.
pub(super) fn plain(text: &str) -> String {
    excerpt(text.as_bytes(), NAME)
}

/// A sentence of ours that may quote what others said.
pub(super) fn sentence(text: &str) -> String {
    excerpt(text.as_bytes(), 300)
}

/// Text that may come from anywhere. `bdi` keeps a name that runs from right to left from turning its neighbours.
pub(super) fn name(text: &str) -> Markup {
    html! { bdi { (plain(text)) } }
}

/// A number with its thousands apart.
pub(super) fn count(n: i64) -> String {
    if n < 0 {
        format!("-{}", HumanCount(n.unsigned_abs()))
    } else {
        HumanCount(n.unsigned_abs()).to_string()
    }
}

/// A rate: whole where it is large.
#[allow(clippy::cast_possible_truncation, reason = "a rate to look at")]
pub(super) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 10.0 {
        format!("{per_second:.1}")
    } else {
        count(per_second.round() as i64)
    }
}

/// How long ago, in the largest unit that still tells something.
pub(super) fn age(now: UtcMicros, at: UtcMicros) -> String {
    let seconds = (now.0 - at.0).max(0) / UtcMicros::SECOND;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The age of something that may not have happened yet, with the exact time for whoever points at it.
pub(super) fn ago(now: UtcMicros, at: Option<UtcMicros>) -> Markup {
    match at {
        Some(at) => html! { time datetime=(at) title=(moment(at)) { (age(now, at)) } },
        None => unknown(),
    }
}

/// `2025-11-09 18:20:41`
pub(super) fn moment(at: UtcMicros) -> String {
    at.to_string()[..19].replace('T', " ")
}

/// `18:20:41`
pub(super) fn clock(at: UtcMicros) -> String {
    at.to_string()[11..19].to_owned()
}

/// What is not known yet: a dash for the eye, a word for the ear.
pub(super) fn unknown() -> Markup {
    html! { span.unknown aria-hidden="true" { "–" } span.hidden { "not known" } }
}

/// A number that may not be known.
pub(super) fn or_unknown(n: Option<i64>) -> Markup {
    match n {
        Some(n) => html! { (count(n)) },
        None => unknown(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_text() {
        let shown = name("<script>alert(1)</script>\"'&\u{0}\u{1b}[31m\u{202e}evil").into_string();
        assert_eq!(
            shown,
            "<bdi>&lt;script&gt;alert(1)&lt;/script&gt;&quot;'&amp;\\u{0}\\u{1b}[31m\\u{202e}evil</bdi>"
        );
        assert!(plain(&"x".repeat(10_000)).chars().count() <= NAME + 1);
    }

    #[test]
    fn ages_have_one_unit() {
        let at = |seconds: i64| age(UtcMicros(seconds * UtcMicros::SECOND), UtcMicros(0));
        assert_eq!(
            [at(-5), at(0), at(119), at(121), at(7_200), at(200_000)],
            ["0 s", "0 s", "119 s", "2 min", "2 h", "2 d"]
        );
    }

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!([count(-1_234), count(0), count(12_345_678)], ["-1,234", "0", "12,345,678"]);
        assert_eq!([rate(0.0), rate(0.4), rate(9.96), rate(12.6)], ["0", "0.4", "10.0", "13"]);
    }
}
