//! The matcher beside one that looks for each keyword by itself, and what counts as a word.

use proptest::prelude::*;

use super::*;

fn rule(rule_id: i64, field: Field, keywords: &[&str]) -> Keywords {
    Keywords { rule_id, field, keywords: keywords.iter().map(|keyword| (*keyword).to_owned()).collect() }
}

fn found(rules: &[Keywords], title: &str, body: &str) -> Vec<(i64, String, Field)> {
    let hits = Matcher::new(rules).unwrap().hits(title, body);
    hits.into_iter().map(|hit| (hit.rule_id, hit.keyword, hit.field)).collect()
}

#[test]
fn words_are_found_whole_whatever_their_case_and_the_blanks_between_them() {
    let rules = [rule(1, Field::Any, &["out", "left tackle", "C++", "Žižek", "ist"])];
    let keywords = |body: &str| -> Vec<String> {
        found(&rules, "", body).into_iter().map(|(_, keyword, _)| keyword).collect()
    };
    assert_eq!(keywords("He is OUT."), ["out"]);
    assert_eq!(keywords("outside, about, out_of, out1, ou\u{301}t"), [""; 0]);
    assert_eq!(keywords("out\u{301}"), [""; 0]);
    assert_eq!(keywords("(out)"), ["out"]);
    assert_eq!(keywords("the LEFT\r\n \u{a0}tackle"), ["left tackle"]);
    assert_eq!(keywords("c++11, ŽIŽEK"), ["C++", "Žižek"]);
    assert_eq!(keywords("İST"), [""; 0]);
}

#[test]
fn a_rule_looks_where_it_is_told_and_the_title_comes_first() {
    let rules =
        [rule(1, Field::Title, &["a"]), rule(2, Field::Body, &["a"]), rule(3, Field::Any, &["a", "A"])];
    let line = |rule: i64, keyword: &str, field| (rule, keyword.to_owned(), field);
    assert_eq!(
        found(&rules, "a", "a"),
        [
            line(1, "a", Field::Title),
            line(2, "a", Field::Body),
            line(3, "A", Field::Title),
            line(3, "a", Field::Title),
        ]
    );
    assert_eq!(found(&rules, "", "a")[0], line(2, "a", Field::Body));
}

#[test]
fn an_excerpt_shows_the_place_in_the_words_of_the_text() {
    let matcher = Matcher::new(&[rule(1, Field::Any, &["Q U"])]).unwrap();
    let body =
        format!("{} K\u{1b}elvin \u{212a} \n\t q \u{2028} u then {}", "x".repeat(200), "y".repeat(200));
    let hits = matcher.hits("", &body);
    let [hit] = hits.as_slice() else { panic!("{hits:?}") };
    assert!(hit.excerpt.starts_with("…x") && hit.excerpt.ends_with("y…"), "{}", hit.excerpt);
    assert!(hit.excerpt.contains("K elvin \u{212a}    q   u then"), "{}", hit.excerpt);
    assert!(hit.excerpt.chars().count() <= BEFORE + BEHIND + 2);
}

#[test]
fn no_rule_finds_nothing_and_a_blank_keyword_is_none() {
    assert!(Matcher::new(&[]).unwrap().is_empty());
    assert_eq!(found(&[], "a", "b"), []);
    assert_eq!(found(&[rule(1, Field::Any, &[""])], "a", "b"), []);
    for (keyword, good) in
        [("a", true), ("a b", true), ("", false), (" ", false), (" a", false), ("a\0", false)]
    {
        assert_eq!(check_keyword(keyword).is_ok(), good, "{keyword:?}");
    }
    assert!(check_keyword(&"x".repeat(101)).is_err());
}

/// The first whole-word place of one keyword, by looking at every place.
fn naive(keyword: &str, text: &str) -> bool {
    let (keyword, text) = (folded(keyword), folded(text));
    let starts = text.char_indices().map(|(start, _)| start);
    starts
        .into_iter()
        .any(|start| text[start..].starts_with(&keyword) && is_whole(&text, start, start + keyword.len()))
}

proptest! {
    #[test]
    fn the_automaton_finds_what_looking_for_each_keyword_finds(
        keywords in proptest::collection::vec("[aAbBäÄ ]{1,4}", 1..8),
        fields in proptest::collection::vec(0usize..3, 8),
        title in "[abAÄ \n.\u{130}\u{301}]{0,12}",
        body in "[abAÄ \n.\u{130}\u{301}]{0,30}",
    ) {
        let keywords: BTreeSet<String> = keywords.into_iter().filter(|keyword| check_keyword(keyword).is_ok()).collect();
        let rules: Vec<Keywords> = keywords.iter().zip(fields).zip(1..)
            .map(|((keyword, field), id)| rule(id, Field::ALL[field], &[keyword]))
            .collect();
        let mut wanted = Vec::new();
        for Keywords { rule_id, keywords, field } in &rules {
            let in_part = |part: Field, text: &str| field.looks_into(part) && naive(&keywords[0], text);
            if in_part(Field::Title, &title) {
                wanted.push((*rule_id, keywords[0].clone(), Field::Title));
            } else if in_part(Field::Body, &body) {
                wanted.push((*rule_id, keywords[0].clone(), Field::Body));
            }
        }
        prop_assert_eq!(found(&rules, &title, &body), wanted);
    }

    #[test]
    fn any_text_is_looked_through(title in any::<String>(), body in any::<String>()) {
        let matcher = Matcher::new(&[rule(1, Field::Any, &["a", "0", "\u{e9}"])]).unwrap();
        for hit in matcher.hits(&title, &body) {
            prop_assert!(hit.excerpt.chars().all(is_plain));
        }
    }
}
