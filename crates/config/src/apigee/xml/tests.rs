use std::path::Path;

use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Result<Element, String> {
    let document = Document::new(Path::new("a.xml"), text);
    parse(&document, 0).map_err(|problem| format!("{}: {}", problem.place, problem.message))
}

fn refused(text: &str) -> String {
    parsed(text).unwrap_err()
}

#[test]
fn text_is_put_together_over_comments_references_and_cdata() {
    let root = parsed(
        "<?xml version='1.0'?>\n<!-- before --><a x=\"1 &lt; 2\">\n  b<!-- c -->&amp;<![CDATA[ <d> ]]>&#x41;\n  <?pi x?></a>\n<!-- after -->",
    )
    .unwrap();
    assert_eq!(
        (root.text.as_str(), root.attribute("x")),
        ("b& <d> A", Some("1 < 2"))
    );
    assert_eq!(root.text_at.span, 56..57);
    let nested = parsed("<p:a xmlns:p='urn:x'><p:b/>\r\n<p:b>1</p:b></p:a>").unwrap();
    let texts: Vec<&str> = nested.children("b").map(|child| child.text.as_str()).collect();
    assert_eq!((nested.name.as_str(), texts), ("a", vec!["", "1"]));
}

#[test]
fn what_is_not_well_formed_is_told_with_its_place_and_what_was_expected() {
    for (text, told) in [
        (
            "",
            "a.xml:1:1: the file has no element; expected one, such as <TargetEndpoint>",
        ),
        (
            "<!-- only -->",
            "a.xml:1:14: the file has no element; expected one, such as <TargetEndpoint>",
        ),
        (
            "<a>\n  <b>\n</a>",
            "a.xml:3:1: the end tag </a>; expected </b> first, for the one that begins on line 2",
        ),
        (
            "<a><b>",
            "a.xml:1:7: the file ends inside of <b>, which begins on line 1; expected </b></a>",
        ),
        (
            "<a></a></a>",
            "a.xml:1:8: the end tag </a> ends nothing; expected no more",
        ),
        (
            "<a/>\n<b/>",
            "a.xml:2:1: a second element, <b>, after </a>; expected one",
        ),
        ("<a/> tail", "a.xml:1:6: the text \"tail\"; expected an element"),
        ("head <a/>", "a.xml:1:1: the text \"head\"; expected an element"),
        (
            "<a>&nbsp;</a>",
            "a.xml:1:4: the reference &nbsp;, which XML doesn't have; expected one of &amp; &lt; &gt; &quot; &apos; or the number of a character",
        ),
        (
            "<a>&#0;</a>",
            "a.xml:1:4: the reference &#0;, which XML doesn't have; expected one of &amp; &lt; &gt; &quot; &apos; or the number of a character",
        ),
        (
            "<a>\nfish & chips</a>",
            "a.xml:2:6: an `&` that begins no reference; expected `&amp;`",
        ),
        (
            "<a x=\"&b;\"/>",
            "a.xml:1:1: the value of x in <a> has an `&` that begins no reference that XML has; expected `&amp;`",
        ),
        (
            "<a x=1/>",
            "a.xml:1:6: the value of an attribute without quotes; expected `\"`",
        ),
        (
            "<a x/>",
            "a.xml:1:5: an attribute without a value; expected `=` and a value in quotes",
        ),
        ("<a x='1' x='2'/>", "a.xml:1:1: <a> has x twice; expected it once"),
        (
            "<a>\n<b\n<c/></a>",
            "a.xml:3:1: a `<` inside of a tag; expected `>` first",
        ),
        (
            "<a><b x='1<2'/></a>",
            "a.xml:1:4: the value of x in <b> has a `<`; expected `&lt;`, or a quote before it",
        ),
        (
            "<a><!-- b</a>",
            "a.xml:1:4: a comment that never ends; expected `-->`",
        ),
        (
            "<a><![CDATA[ b</a>",
            "a.xml:1:4: a CDATA section that never ends; expected `]]>`",
        ),
        ("<a", "a.xml:1:1: a tag that never ends; expected `>`"),
        (
            "<a b='",
            "a.xml:1:1: a tag with the value of an attribute that never ends; expected `'`",
        ),
        ("<1/>", "a.xml:1:1: a tag with \"1\"; expected a name"),
        (
            " <?xml version='1.0'?><a/>",
            "a.xml:1:2: the XML declaration stands after something else; expected it at the very beginning of the file",
        ),
        (
            "<a>\u{1}</a>",
            "a.xml:1:4: the character U+0001, which XML doesn't allow; expected text",
        ),
    ] {
        assert_eq!(refused(text), told, "{text:?}");
    }
}

/// The "billion laughs" would be 3 GB; a document type is refused before any of it.
#[test]
fn entities_are_neither_defined_nor_fetched() {
    let laughs = "<!DOCTYPE lolz [<!ENTITY lol \"lol\"><!ENTITY lol2 \"&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;&lol;\">]>\n<lolz>&lol2;</lolz>";
    let outside = "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>";
    for text in [laughs, outside] {
        let told = refused(text);
        assert!(
            told.starts_with("a.xml:1:1: a document type declaration; expected none"),
            "{told}"
        );
    }
}

#[test]
fn depth_count_and_attributes_have_limits() {
    let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
    assert!(parsed(&nested(MAX_DEPTH)).is_ok());
    assert!(refused(&nested(MAX_DEPTH + 1)).contains("inside of 64 others"));
    assert!(refused(&"<a>".repeat(1_000_000)).contains("inside of 64 others"));
    let many = |count: usize| format!("<a>{}</a>", "<b/>".repeat(count));
    assert!(parsed(&many(MAX_ELEMENTS - 1)).is_ok());
    assert!(refused(&many(MAX_ELEMENTS)).contains("more than 100000 elements"));
    let attributes: String = (0..=MAX_ATTRIBUTES).map(|n| format!(" x{n}=''")).collect();
    assert!(refused(&format!("<a{attributes}/>")).contains("more than 64 attributes"));
    let huge = format!("<a x='{}'/>", "y".repeat(1 << 20));
    assert_eq!(parsed(&huge).unwrap().attribute("x").map(str::len), Some(1 << 20));
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = parsed(&text);
    }

    /// Nearly XML, which comes further.
    #[test]
    fn no_soup_of_tags_panics(pieces in prop::collection::vec(prop::sample::select(vec![
        "<a>", "</a>", "<b x='1'>", "</b>", "<c/>", "&amp;", "&", ";", "<!--", "-->", "<![CDATA[", "]]>", "<", ">", "é", "'", "\"",
        "=", "<?xml", "?>", "<!DOCTYPE", " ", "\n", "text", "\u{0}", "&#x110000;",
    ]), 0..24)) {
        let _ = parsed(&pieces.concat());
    }
}
