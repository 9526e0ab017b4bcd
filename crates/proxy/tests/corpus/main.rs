//! Malformed, ambiguous and merely unusual messages on real sockets, each with the verdict that it must get.
//! README.md says how they are written and played.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by them"
)]

mod arrival;
mod case;
mod check;
mod origin;
mod report;
mod requests;
mod responses;
mod stage;
mod wire;

/// A test for each file of a folder, and the list of them.
macro_rules! themes {
    ($kind:ident: $($theme:ident)*) => {
        const FILES: &[(&str, &str)] = &[
            $((stringify!($theme), include_str!(concat!(stringify!($kind), "/", stringify!($theme), ".toml")))),*
        ];

        fn file(theme: &str) -> &'static str {
            FILES.iter().find(|(name, _)| *name == theme).expect("a file of that name").1
        }

        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $theme() {
                let theme = stringify!($theme);
                crate::report::play_all(theme, crate::case::$kind(file(theme)), crate::$kind::play).await;
            }
        )*

        /// At least `min` cases, no two of one name, no file without a test.
        fn hold_at_least(min: usize) {
            let cases: Vec<_> = FILES.iter().flat_map(|(_, file)| crate::case::$kind(file)).collect();
            let names: std::collections::HashSet<_> = cases.iter().map(|case| case.name.as_str()).collect();
            assert_eq!(names.len(), cases.len(), "two cases have one name");
            assert!(cases.len() >= min, "{} cases", cases.len());
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/", stringify!($kind));
            assert_eq!(std::fs::read_dir(folder).unwrap().count(), FILES.len(), "files in {folder}");
        }
    };
}

mod request {
    themes!(requests:
        framing chunked chunk_extensions trailers
        request_line versions target target_forms
        host fields limits
        connection forwarding expectations
    );

    #[test]
    fn cases_are_many_and_none_is_left_out() {
        hold_at_least(150);
    }
}

mod response {
    themes!(responses: status_line framing chunked interim fields);

    #[test]
    fn cases_are_many_and_none_is_left_out() {
        hold_at_least(60);
    }
}
