use super::*;

fn flags(path: &Path) -> RawFlags {
    RawFlags {
        config: Some(path.to_owned()),
        ..RawFlags::default()
    }
}

fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

fn refusal(path: &Path) -> String {
    load(flags(path), vec![]).unwrap_err().to_string()
}

#[test]
fn a_flag_names_the_file_before_the_variable_does() {
    let (by_flag, by_env) = (written(b"region = \"eu\""), written(b"region = \"us\""));
    let env = vec![("EDGEPROXY_CONFIG".into(), by_env.path().into())];
    assert_eq!(
        load(RawFlags::default(), env.clone())
            .unwrap()
            .settings
            .region
            .as_str(),
        "us"
    );
    assert_eq!(
        load(flags(by_flag.path()), env).unwrap().settings.region.as_str(),
        "eu"
    );
}

#[test]
fn a_named_file_that_is_missing_is_an_error_beside_all_others() {
    let missing = Path::new("no-such-folder/edgeproxy.toml");
    let env = vec![
        ("EDGEPROXY_SPILL".into(), "x".into()),
        ("EDGEPROXY_REGION".into(), "mx".into()),
    ];
    let error = load(flags(missing), env).unwrap_err();
    let messages: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages.len(),
        2,
        "the region may be one of the file's: {messages:?}"
    );
    assert!(messages[0].starts_with("environment: EDGEPROXY_SPILL"));
    assert!(messages[1].starts_with(
        "command line: --config is \"no-such-folder/edgeproxy.toml\"; expected a configuration file: No such file"
    ));
}

#[test]
fn nobody_needs_a_file() {
    // Tests run in the crate's folder, which has none.
    assert!(load(RawFlags::default(), vec![]).is_ok());
}

#[test]
fn what_is_no_configuration_file_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refusal(folder.path()).contains("expected a configuration file: Is a directory"));
    let large = written(&vec![b'\n'; usize::try_from(MAX_FILE_BYTES).unwrap() + 1]);
    assert!(refusal(large.path()).contains("is longer than 1 MiB"));
    let binary = written(b"region = \"eu\"\n# \xff");
    assert!(refusal(binary.path()).contains(":2:3: a byte that is not UTF-8; expected text"));
}

#[test]
fn a_file_of_exactly_the_limit_is_read() {
    let file = written(&vec![b'\n'; usize::try_from(MAX_FILE_BYTES).unwrap()]);
    assert!(load(flags(file.path()), vec![]).is_ok());
}
