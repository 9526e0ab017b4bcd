use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::report::Paint;

fn import(path: &str, bytes: &[u8]) -> Imported {
    let files = [ApigeeFile {
        path: path.into(),
        bytes: bytes.to_vec(),
    }];
    let options = ImportOptions {
        region: "eu".parse().unwrap(),
        addresses: BTreeMap::new(),
    };
    import_apigee(&files, &options)
}

const SERVER: &str = "<TargetEndpoint name='münchen'><HTTPTargetConnection><URL>http://10.0.0.1</URL></HTTPTargetConnection></TargetEndpoint>";

#[test]
fn text_comes_as_utf_8_or_utf_16_with_a_mark() {
    let units: Vec<u16> = SERVER.encode_utf16().collect();
    let little: Vec<u8> = [0xfeff]
        .iter()
        .chain(&units)
        .flat_map(|unit: &u16| unit.to_le_bytes())
        .collect();
    let big: Vec<u8> = [0xfeff]
        .iter()
        .chain(&units)
        .flat_map(|unit: &u16| unit.to_be_bytes())
        .collect();
    let marked = ["\u{feff}", SERVER].concat().into_bytes();
    for bytes in [SERVER.as_bytes(), &little, &big, &marked] {
        let imported = import("a.xml", bytes);
        assert_eq!(imported.report.problems, []);
        assert!(imported.toml.contains("[apps.m-nchen]"), "{}", imported.toml);
    }
    for (bytes, told) in [
        (
            &b"<a>\n\xe9</a>"[..],
            "a.xml:2:1: error: a byte that is not UTF-8",
        ),
        (
            &little[..little.len() - 1],
            "a.xml: error: begins as UTF-16 and isn't",
        ),
        (
            &[0xff, 0xfe, 0x00, 0xd8],
            "a.xml: error: begins as UTF-16 and isn't",
        ),
    ] {
        let text = import("a.xml", bytes).report.text(Paint::Plain);
        assert!(text.starts_with(told), "{text}");
    }
    let long = vec![b' '; usize::try_from(MAX_APIGEE_FILE_BYTES).unwrap() + 1];
    assert_eq!(
        import("a.xml", &long).report.problems[0].message,
        "is longer than 4 MiB; expected one of Apigee's files"
    );
}

/// A file's name, and what is in it, must not become lines of the configuration.
#[test]
fn nothing_that_a_file_says_becomes_a_line_of_its_own() {
    let text = "<TargetEndpoint name='x&#10;api_insecure = true'><Description>y&#10;api_insecure = true</Description>\
                <HTTPTargetConnection><LoadBalancer><Server name='z&quot;&#10;api_insecure = true'/></LoadBalancer>\
                </HTTPTargetConnection></TargetEndpoint>";
    let imported = import("a\napi_insecure = true\n.xml", text.as_bytes());
    assert!(imported.report.problems.is_empty(), "{:?}", imported.report);
    assert!(
        !imported.toml.lines().any(|line| line.starts_with("api_insecure")),
        "{}",
        imported.toml
    );
}

#[test]
fn a_backend_on_the_proxy_s_own_port_has_the_proxy_move() {
    let url = |url: &str| {
        format!(
            "<TargetEndpoint name='a'><HTTPTargetConnection><URL>{url}</URL></HTTPTargetConnection></TargetEndpoint>"
        )
    };
    for (of, moves) in [
        ("http://localhost:8080", true),
        ("http://localhost:8000", false),
        ("http://10.0.0.1:8080", false),
    ] {
        let imported = import("a.xml", url(of).as_bytes());
        assert!(imported.report.is_clean(), "{:?}", imported.report);
        let found = imported.toml.contains("\nlisten_addr = \"0.0.0.0:8000\"\n");
        assert_eq!(found, moves, "{}", imported.toml);
    }
}

#[test]
fn what_would_be_too_much_to_read_is_told() {
    let unknown = format!(
        "<TargetEndpoint name='a'>{}</TargetEndpoint>",
        "<X/>".repeat(2_000)
    );
    let findings = import("a.xml", unknown.as_bytes()).report.findings;
    assert_eq!(findings.len(), 1_001);
    assert_eq!(
        findings.last().unwrap().message,
        "there are 1001 findings more, which are not told"
    );
    let many: String = (0..9_000).map(|n| format!("<Server name='{n:0>99}'/>")).collect();
    let endpoint = format!(
        "<TargetEndpoint name='a'><HTTPTargetConnection><LoadBalancer>{many}</LoadBalancer></HTTPTargetConnection></TargetEndpoint>"
    );
    let problems = import("a.xml", endpoint.as_bytes()).report.problems;
    assert!(
        problems[0].message.ends_with("expected at most 1048576"),
        "{problems:?}"
    );
}

/// The first of two, whatever the case of its name.
#[test]
fn a_header_that_comes_twice_is_kept_once() {
    let text = "<TargetEndpoint name='a'><HTTPTargetConnection><LoadBalancer/><HealthMonitor><HTTPMonitor><Request>\
                <Header name='X-A'>1</Header><Header name='x-a'>2</Header></Request></HTTPMonitor></HealthMonitor>\
                </HTTPTargetConnection></TargetEndpoint>";
    let imported = import("a.xml", text.as_bytes());
    assert!(
        imported.toml.contains("headers = { X-A = \"1\" }"),
        "{}",
        imported.toml
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), json: bool) {
        let imported = import(if json { "a.json" } else { "a.xml" }, &bytes);
        prop_assert!(!imported.toml.is_empty());
    }

    /// Whatever the values are, what is written can be loaded: else there would be a problem.
    #[test]
    fn any_values_become_a_file_that_can_be_loaded(
        name in "\\PC{0,40}", host in "[a-z0-9.:{}\\[\\]-]{0,20}", path in "[/a-z{}.?*# -]{0,12}", number in "[0-9a-z]{0,8}",
        payload in "\\PC{0,40}",
    ) {
        let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;");
        let text = format!(
            "<TargetEndpoint name='{0}'><HTTPTargetConnection><LoadBalancer><Algorithm>Weighted</Algorithm><Server name='{0}{1}'/><Server name='{0}'>\
             <Weight>{3}</Weight></Server><MaxFailures>{3}</MaxFailures></LoadBalancer><Path>{2}</Path><HealthMonitor><IsEnabled>\
             true</IsEnabled><IntervalInSec>{3}</IntervalInSec><HTTPMonitor><Request><Verb>{3}</Verb><Path>{2}</Path><Port>{3}\
             </Port><Header name='{0}'>{4}</Header><Payload>{4}</Payload></Request><SuccessResponse><ResponseCode>{3}\
             </ResponseCode></SuccessResponse></HTTPMonitor></HealthMonitor><Properties><Property name='io.timeout.millis'>{3}\
             </Property></Properties></HTTPTargetConnection></TargetEndpoint>",
            escaped(&name), host, path, number, escaped(&payload)
        );
        let server = format!("{{\"name\": {}, \"host\": {:?}, \"port\": {number:?}}}", serde_json::to_string(&name).unwrap(), host);
        let url = format!("<TargetEndpoint name='b'><HTTPTargetConnection><URL>http://{host}{path}</URL></HTTPTargetConnection></TargetEndpoint>");
        let file = |path: &str, text: String| ApigeeFile { path: path.into(), bytes: text.into_bytes() };
        let options = ImportOptions { region: "eu".parse().unwrap(), addresses: BTreeMap::new() };
        let files = [file("a.xml", text), file("a.json", server), file("b.xml", url)];
        let imported = import_apigee(&files, &options);
        prop_assert!(imported.report.problems.is_empty(), "{}\n{}", imported.report.text(Paint::Plain), imported.toml);
    }
}
