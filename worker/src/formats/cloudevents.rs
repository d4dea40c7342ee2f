//! Lines that are CloudEvents already: checked against the contract that their `type` names and passed on
//! byte for byte.

use ledgerline_schema::events::envelope::Envelope;
use ledgerline_schema::events::{EventKind, Reason, Rejection};
use serde::de::IgnoredAny;

use super::{Converted, accepted, not_parsed};

/// Converts one line, which is one event in structured mode.
pub(super) fn convert(line: &[u8]) -> Result<Converted, Rejection> {
    let envelope: Envelope<'_, IgnoredAny> =
        serde_json::from_slice(line).map_err(|error| not_parsed(&error))?;
    let event_type = envelope.event_type.as_deref().ok_or_else(|| missing("type"))?;
    let kind = EventKind::of_type(event_type).ok_or_else(|| unknown_type(event_type))?;
    let time = envelope.time.as_deref().ok_or_else(|| missing("time"))?;
    let record = accepted(kind, time, line.to_vec())?;
    Ok(Converted { records: vec![record], unknown_markets: Vec::new() })
}

fn missing(attribute: &str) -> Rejection {
    Rejection::new(Reason::NotCloudEvent, format_args!("{attribute}: missing"))
}

fn unknown_type(event_type: &str) -> Rejection {
    let known: Vec<_> = EventKind::ALL.iter().map(|kind| kind.event_type()).collect();
    let detail = format_args!("type: {event_type:?} is none of {}", known.join(", "));
    Rejection::new(Reason::UnsupportedType, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_passes_unchanged() {
        for &kind in EventKind::ALL {
            for sample in kind.samples() {
                let line = serde_json::to_vec(&sample).unwrap();
                let records = convert(&line).unwrap().records;
                assert_eq!(records.len(), 1);
                assert_eq!((records[0].kind, &records[0].value), (kind, &line));
            }
        }
    }

    #[test]
    fn keys_name_the_game_or_the_page() {
        let key = |kind: EventKind| {
            convert(kind.samples()[0].to_string().as_bytes()).unwrap().records[0].key.clone()
        };
        assert_eq!(key(EventKind::Game), "theoddsapi:e912304de2b2ce35b473ce2ecd3d1502");
        for kind in [EventKind::Odds, EventKind::Signal, EventKind::Analysis] {
            assert_eq!(key(kind), key(EventKind::Game));
        }
        assert_eq!(key(EventKind::Article).len(), 64);
    }

    #[test]
    fn a_bad_line_says_what_is_wrong() {
        let refused = |line: &str| convert(line.as_bytes()).unwrap_err();
        assert_eq!(refused("{").reason, Reason::MalformedJson);
        assert_eq!(refused("[1]").reason, Reason::InvalidField);
        assert_eq!(refused("{}").detail, "type: missing");
        assert_eq!(refused(r#"{"type":"odds.v9","time":"x"}"#).reason, Reason::UnsupportedType);
        let mut odds = EventKind::Odds.samples()[0].clone();
        odds["data"]["outcomes"][0]["price_american"] = 50.into();
        assert!(refused(&odds.to_string()).detail.starts_with("outcomes[0].price_american"));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered(line in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            proptest::prop_assert!(convert(&line).is_err());
        }
    }
}
