use serde_json::json;

use super::*;

#[test]
fn a_whole_number_may_be_written_as_a_float_and_in_no_other_way() {
    assert_eq!(whole(&json!(8080), 1..=65_535), Ok(8080));
    assert_eq!(whole(&json!(8080.0), 1..=65_535), Ok(8080));
    assert_eq!(whole(&json!(-0.0), 0..=1), Ok(0));
    for (bad, problem) in [
        (
            json!(8080.5),
            "is 8080.5; expected a whole number between 1 and 65535",
        ),
        (json!(-1), "is -1; expected a whole number between 1 and 65535"),
        (json!(0), "is 0; expected a whole number between 1 and 65535"),
        (
            json!(u64::MAX),
            "is 18446744073709551615; expected a whole number between 1 and 65535",
        ),
        (
            json!(1e300),
            "is 1e+300; expected a whole number between 1 and 65535",
        ),
        (
            json!("8080"),
            "is the string \"8080\"; expected a whole number between 1 and 65535, without quotes",
        ),
        (
            json!("http"),
            "is the string \"http\"; expected a whole number between 1 and 65535",
        ),
        (
            json!(true),
            "is true; expected a whole number between 1 and 65535",
        ),
        (
            json!([1]),
            "is an array; expected a whole number between 1 and 65535",
        ),
        (
            json!({}),
            "is an object; expected a whole number between 1 and 65535",
        ),
    ] {
        assert_eq!(whole(&bad, 1..=65_535).unwrap_err(), problem);
    }
    assert_eq!(whole_u32(&json!(4_294_967_295_u32)), Ok(u32::MAX));
    assert!(whole_u32(&json!(4_294_967_296_u64)).is_err());
}

#[test]
fn flags_and_shares_say_what_they_expect() {
    assert_eq!(
        flag(&json!("true")).unwrap_err(),
        "is the string \"true\"; expected true or false, without quotes"
    );
    assert_eq!(flag(&json!(1)).unwrap_err(), "is 1; expected true or false");
    assert_eq!(permille(&json!(0.7)), Ok(700));
    assert_eq!(permille(&json!(1)), Ok(1_000));
    assert_eq!(
        permille(&json!(1.01)).unwrap_err(),
        "is 1.01; expected a number between 0.0 and 1.0"
    );
    assert!(permille(&json!(-0.1)).is_err());
}

#[test]
fn a_near_name_is_suggested_and_a_far_one_is_not() {
    let known = ["id", "app", "weight", "soft_limit", "hard_limit", "metadata"];
    assert_eq!(did_you_mean("wieght", &known), "; did you mean \"weight\"?");
    assert_eq!(
        did_you_mean("softLimit", &known),
        "; did you mean \"soft_limit\"?"
    );
    assert_eq!(
        did_you_mean("hard-limit", &known),
        "; did you mean \"hard_limit\"?"
    );
    assert_eq!(did_you_mean("colour", &known), "");
    assert_eq!(did_you_mean(&"weight".repeat(1_000), &known), "");
}

#[test]
fn unknown_members_are_warned_of_in_bounded_number_and_length() {
    let mut members = Map::new();
    for n in 0..1_000 {
        members.insert(format!("{n}{}", "x".repeat(200)), Value::Null);
    }
    let text = Text {
        value: Value::Object(members),
        duplicates: Vec::new(),
    };
    let warnings = Fields::of(text).unwrap().warnings(&["id"]);
    assert_eq!(warnings.len(), 17);
    assert_eq!(warnings[16], "984 more unknown members");
    assert!(warnings.iter().all(|warning| warning.len() < 120));
}

#[test]
fn an_excerpt_ends_between_characters() {
    assert_eq!(excerpt(&"é".repeat(100)), "é".repeat(64));
    assert_eq!(excerpt("short"), "short");
}
