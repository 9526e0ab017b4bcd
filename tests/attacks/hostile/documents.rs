//! The documents.

/// What it is, its bytes, and the statuses that a registration of it may have.
type Json = (&'static str, Vec<u8>, &'static [u16]);

fn with(field: &str, value: &str) -> Vec<u8> {
    let fields = [
        ("id", r#""evil""#),
        ("app", r#""evil""#),
        ("region", r#""eu""#),
        ("ip", r#""10.0.0.1""#),
        ("port", "9"),
    ];
    let mut pairs: Vec<_> = fields
        .iter()
        .filter(|(name, _)| *name != field)
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    pairs.push(format!("\"{field}\":{value}"));
    format!("{{{}}}", pairs.join(",")).into_bytes()
}

pub(super) fn json() -> Vec<Json> {
    let depth = 30_000;
    let open = |text: &str| text.repeat(depth).into_bytes();
    let long = "9".repeat(60_000);
    let mut cases: Vec<Json> = vec![
        ("arrays without end", open("["), &[400]),
        ("objects without end", r#"{"a":"#.repeat(10_000).into_bytes(), &[400]),
        ("deep arrays, closed", format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes(), &[400, 422]),
        ("depth in a field", with("metadata", &format!("{}{}", "[".repeat(depth), "]".repeat(depth))), &[400, 422]),
        ("depth in an unknown field", with("more", &format!("{}1{}", r#"{"a":"#.repeat(9_000), "}".repeat(9_000))), &[400, 422]),
        ("a number beyond all", with("port", "1e999999999"), &[400, 422]),
        ("a number of 60,000 digits", with("port", &long), &[400, 422]),
        ("a fraction of 60,000 digits", with("weight", &format!("1.5{long}")), &[400, 422]),
        ("minus zero", with("port", "-0"), &[400, 422]),
        ("a number with a sign", with("port", "+9"), &[400]),
        ("a number with zeros", with("port", "009"), &[400]),
        ("hexadecimal", with("port", "0x9"), &[400]),
        ("NaN", with("weight", "NaN"), &[400]),
        ("Infinity", with("weight", "Infinity"), &[400]),
        ("minus Infinity", with("weight", "-Infinity"), &[400]),
        ("a lone surrogate", with("id", r#""\ud800""#), &[400, 422]),
        ("surrogates the wrong way round", with("id", r#""\udc00\ud800""#), &[400, 422]),
        ("NUL in a text", with("id", r#""evil\u0000""#), &[422]),
        ("a bare control byte", with("id", "\"evil\u{1}\""), &[400]),
        ("a bare line end", with("id", "\"ev\nil\""), &[400]),
        ("an escape that is none", with("id", r#""\x41""#), &[400]),
        ("a duplicate key", br#"{"id":"evil","id":"shop-1","app":"evil","app":"shop","region":"eu","ip":"10.0.0.1","port":9}"#.to_vec(), &[400, 422]),
        ("a duplicate key in disguise", br#"{"id":"evil","\u0069d":"shop-1","app":"evil","region":"eu","ip":"10.0.0.1","port":9}"#.to_vec(), &[400, 422]),
        ("bytes that are no UTF-8", with("id", "\"evil").into_iter().chain(*b"\xff\xfe\"}").collect(), &[400]),
        ("overlong UTF-8", [&b"{\"id\":\"\xc0\xaf\"}"[..]].concat(), &[400]),
        ("a byte order mark", [&b"\xef\xbb\xbf"[..], &with("id", "\"\"")].concat(), &[400, 422]),
        ("UTF-16", "{}".encode_utf16().flat_map(u16::to_le_bytes).collect(), &[400]),
        ("comments", b"{/* */\"id\":\"evil\"}".to_vec(), &[400]),
        ("single quotes", b"{'id':'evil'}".to_vec(), &[400]),
        ("a comma at the end", b"{\"id\":\"evil\",}".to_vec(), &[400]),
        ("something behind it", [with("id", "\"\""), b"{}".to_vec()].concat(), &[400]),
        ("two documents", [with("id", "\"\""), b"\n".to_vec(), with("id", "\"\"")].concat(), &[400]),
        ("an array", b"[]".to_vec(), &[400, 422]),
        ("null", b"null".to_vec(), &[400, 422]),
        ("a text", b"\"evil\"".to_vec(), &[400, 422]),
        ("nothing but spaces", b" ".repeat(60_000), &[400]),
        ("a prototype", with("__proto__", r#"{"app":"shop"}"#).into_iter().chain(*b"x").collect(), &[400]),
        ("a text of 60,000", with("id", &format!("\"{}\"", "x".repeat(60_000))), &[422]),
        ("escapes of 60,000", with("id", &format!("\"{}\"", r"\u0041".repeat(10_000))), &[422]),
    ];
    let many: Vec<_> = (0..6_000).map(|n| format!("\"k{n}\":1")).collect();
    cases.push((
        "6,000 keys, none of which is there",
        format!("{{{}}}", many.join(",")).into_bytes(),
        &[422],
    ));
    for (field, value) in [
        ("id", "[]"),
        ("id", "{}"),
        ("id", "null"),
        ("id", "1"),
        ("app", "true"),
        ("ip", "2130706433"),
        ("port", "\"9\""),
        ("port", "9.5"),
        ("port", "[9]"),
        ("weight", "-1"),
        ("weight", "\"2\""),
        ("fallback", "\"true\""),
        ("fallback", "1"),
        ("metadata", "[]"),
        ("metadata", r#"{"a":{"b":"c"}}"#),
        ("metadata", r#"{"a":1}"#),
        ("ttl_secs", "1e400"),
    ] {
        cases.push(("a field of another type", with(field, value), &[400, 422]));
    }
    cases
}

fn endpoint(inner: &str) -> String {
    format!(
        "<TargetEndpoint name=\"default\"><HTTPTargetConnection>{inner}</HTTPTargetConnection></TargetEndpoint>"
    )
}

pub(super) fn xml() -> Vec<(&'static str, Vec<u8>)> {
    let lol: String = (1..10)
        .map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10)))
        .collect();
    let url = |text: &str| endpoint(&format!("<URL>{text}</URL>"));
    let text = |text: String| text.into_bytes();
    let deep = 20_000;
    vec![
        (
            "a billion laughs",
            text(format!(
                "<!DOCTYPE x [<!ENTITY l0 \"expanded \">{lol}]>{}",
                url("http://&l9;")
            )),
        ),
        (
            "an entity that names itself",
            text(format!(
                "<!DOCTYPE x [<!ENTITY a \"&b;\"><!ENTITY b \"&a;\">]>{}",
                url("http://&a;")
            )),
        ),
        (
            "a file of the system's",
            text(format!(
                "<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>{}",
                url("http://&a;")
            )),
        ),
        (
            "an address elsewhere",
            text(format!(
                "<!DOCTYPE x [<!ENTITY a SYSTEM \"http://127.0.0.1:9/evil\">]>{}",
                url("http://&a;")
            )),
        ),
        (
            "a document type elsewhere",
            text(format!(
                "<!DOCTYPE x SYSTEM \"http://127.0.0.1:9/evil.dtd\">{}",
                url("http://a")
            )),
        ),
        (
            "a parameter entity",
            text(format!(
                "<!DOCTYPE x [<!ENTITY % a SYSTEM \"file:///etc/passwd\">%a;]>{}",
                url("http://a")
            )),
        ),
        (
            "an inclusion",
            text(endpoint(
                "<xi:include xmlns:xi=\"http://www.w3.org/2001/XInclude\" href=\"file:///etc/passwd\" parse=\"text\"/>",
            )),
        ),
        (
            "a style sheet",
            text(format!(
                "<?xml-stylesheet href=\"file:///etc/passwd\"?>{}",
                url("http://a")
            )),
        ),
        ("depth without end", text("<a>".repeat(deep))),
        (
            "depth, closed",
            text(format!("{}{}", "<a>".repeat(deep), "</a>".repeat(deep))),
        ),
        (
            "depth within",
            text(endpoint(&format!(
                "{}{}",
                "<a>".repeat(deep),
                "</a>".repeat(deep)
            ))),
        ),
        (
            "an attribute of four megabytes",
            text(format!("<TargetEndpoint name=\"{}\"/>", "x".repeat(4 << 20))),
        ),
        (
            "a hundred thousand attributes",
            text(format!(
                "<TargetEndpoint{}/>",
                (0..100_000).map(|n| format!(" a{n}=\"\"")).collect::<String>()
            )),
        ),
        (
            "two hundred thousand elements",
            text(endpoint(&"<a/>".repeat(200_000))),
        ),
        (
            "an attribute twice",
            text("<TargetEndpoint name=\"a\" name=\"b\"/>".to_owned()),
        ),
        (
            "a name of a megabyte",
            text(format!("<{}/>", "x".repeat(1 << 20))),
        ),
        (
            "a comment without end",
            text(format!("<!-- {}", "-".repeat(1 << 20))),
        ),
        (
            "content without end",
            text(endpoint(&format!("<![CDATA[{}", "x".repeat(1 << 20)))),
        ),
        (
            "character references beyond all",
            text(url("http://&#x110000;&#0;&#xD800;&#99999999999999999999;")),
        ),
        (
            "an address of a megabyte",
            text(url(&format!("http://{}", "a".repeat(1 << 20)))),
        ),
        ("an address that is a file", text(url("file:///etc/passwd"))),
        ("markup for an address", text(url("http://a/&lt;script&gt;"))),
        (
            "line ends for an address",
            text(url("http://a/&#10;[apps.evil]&#10;x = 1")),
        ),
        (
            "quotes for a name",
            text(endpoint(
                "<LoadBalancer><Server name=\"a&quot;]&#10;evil = 1\"/></LoadBalancer>",
            )),
        ),
        (
            "UTF-16",
            format!("\u{feff}{}", url("http://a"))
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect(),
        ),
        (
            "another encoding than it says",
            [
                b"<?xml version=\"1.0\" encoding=\"EBCDIC-US\"?>".to_vec(),
                url("http://\u{e9}").into_bytes(),
            ]
            .concat(),
        ),
        (
            "bytes that are no text",
            [
                b"<TargetEndpoint name=\"".to_vec(),
                vec![0xff; 1_000],
                b"\"/>".to_vec(),
            ]
            .concat(),
        ),
        ("NUL", vec![0; 1 << 20]),
        ("nothing", Vec::new()),
        (
            "JSON of depth",
            format!("[{}", "{\"a\":[".repeat(deep)).into_bytes(),
        ),
    ]
}

pub(super) fn toml() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: String| text.into_bytes();
    let deep = 20_000;
    vec![
        ("arrays without end", text(format!("a = {}", "[".repeat(deep)))),
        ("arrays, closed", text(format!("a = {}{}", "[".repeat(deep), "]".repeat(deep)))),
        ("tables within tables", text(format!("a = {}1{}", "{ a = ".repeat(deep), " }".repeat(deep)))),
        ("a dotted key of 20,000", text(format!("{} = 1", vec!["a"; deep].join(".")))),
        ("a dotted table of 20,000", text(format!("[{}]\nx = 1", vec!["a"; deep].join(".")))),
        ("two megabytes", text(format!("# {}\n", "x".repeat(2 << 20)))),
        ("a hundred thousand apps", text((0..60_000).map(|n| format!("[apps.a{n}]\n")).collect())),
        ("a hundred thousand keys that nobody knows", text((0..60_000).map(|n| format!("k{n} = 1\n")).collect())),
        ("a key twice", text("region = \"eu\"\nregion = \"us\"\n".to_owned())),
        ("a table twice", text("[apps.a]\n[apps.a]\n".to_owned())),
        ("a number beyond all", text(format!("workers = {}\n", "9".repeat(10_000)))),
        ("NaN", text("workers = nan\n".to_owned())),
        ("a text without end", text(format!("region = \"\"\"{}", "x".repeat(500_000)))),
        ("an escape that is none", text("region = \"\\uD800\"\n".to_owned())),
        ("bytes that are no text", vec![0xff; 1_000]),
        ("NUL", vec![0; 1_000]),
        ("escapes for a terminal", text("region = \"\\u001b[2J\\u001b]0;owned\\u0007\"\n\u{1b}[2J = 1\n".to_owned())),
        ("a path that leads out", text("[[listeners]]\naddr = \"127.0.0.1:0\"\nprotocol = \"http\"\ntls = { certificates = [ { cert = \"../../../../etc/passwd\", key = \"/etc/passwd\" } ] }\n".to_owned())),
        ("routes without end", text("[[routes]]\nhost = \"a\"\napp = \"a\"\n".repeat(20_000))),
        ("backends without end", text((0..11_000).map(|n| format!("[[backends]]\nid = \"b{n}\"\napp = \"a\"\nregion = \"eu\"\nip = \"10.0.0.1\"\nport = 9\n")).collect())),
    ]
}
