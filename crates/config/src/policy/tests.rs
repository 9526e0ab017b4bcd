use proptest::prelude::*;

use super::*;

#[test]
fn a_decimal_has_at_most_three_decimals_and_one_spelling() {
    for (text, thousandths, display) in [
        ("0", 0, "0"),
        ("0.5", 500, "0.5"),
        ("1.000", 1_000, "1"),
        ("10.25", 10_250, "10.25"),
        ("0.001", 1, "0.001"),
        ("007", 7_000, "7"),
    ] {
        let decimal = Decimal::parse(text).unwrap();
        assert_eq!(
            (decimal.thousandths(), decimal.to_string().as_str()),
            (thousandths, display),
            "{text}"
        );
    }
    for bad in [
        "", ".", ".5", "1.2345", "-1", "+1", "1e3", "1.-5", "1 ", "4294968", "nan", "1_0",
    ] {
        assert_eq!(Decimal::parse(bad), None, "{bad}");
    }
    assert_eq!(Decimal::parse("1."), None, "a number ends in a digit");
}

#[test]
fn a_name_is_a_token_and_folds_only_where_case_plays_no_part() {
    assert_eq!(HeaderName::parse("X-User").unwrap().as_str(), "x-user");
    assert_eq!(CookieName::parse("Lb").unwrap().as_str(), "Lb");
    for bad in ["", "a b", "a:b", "a=b", "é", &"x".repeat(129)] {
        assert!(
            HeaderName::parse(bad).is_err() && CookieName::parse(bad).is_err(),
            "{bad}"
        );
    }
}

proptest! {
    #[test]
    fn a_decimal_is_read_as_it_is_written(thousandths in any::<u32>()) {
        let decimal = Decimal::from_thousandths(thousandths);
        prop_assert_eq!(Decimal::parse(&decimal.to_string()), Some(decimal));
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,12}") {
        let value = Value::Text(text.clone());
        let _ = (HashKey::from_value(&value), Sticky::from_value(&value), Decimal::parse(&text));
    }
}
