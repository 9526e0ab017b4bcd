//! Files that are not as they were left.

use super::*;

/// A file of ten batches of one registration each.
fn sound() -> Vec<u8> {
    let disk = Model::new(1);
    let (mut journal, _) = opened(&disk);
    for number in 0..10 {
        journal
            .commit(vec![registered(number, u64::from(number) + 1)])
            .unwrap();
    }
    disk.content(LOG).unwrap()
}

fn opened_with(bytes: &[u8]) -> (Model, Loaded) {
    let disk = Model::new(1);
    disk.put(LOG, bytes);
    let (_, loaded) = opened(&disk);
    (disk, loaded)
}

fn damaged(disk: &Model) -> Vec<String> {
    disk.names()
        .unwrap()
        .into_iter()
        .filter(|name| name.starts_with(DAMAGED))
        .collect()
}

#[test]
fn a_file_cut_at_every_byte_of_its_last_record_has_all_that_was_kept_before() {
    let sound = sound();
    let last = sound[..sound.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    for end in last..sound.len() {
        let (disk, loaded) = opened_with(&sound[..end]);
        // But for its line feed the last one is whole.
        let whole = if end == sound.len() - 1 { 10 } else { 9 };
        assert_eq!(loaded.records.len(), whole, "cut at {end}");
        let is_torn = end > last && whole == 9;
        assert_eq!(
            loaded.findings.len(),
            usize::from(is_torn),
            "{:?}",
            loaded.findings
        );
        if is_torn {
            let message = &loaded.findings[0].message;
            assert!(
                message.starts_with("registrations.log ends within a line"),
                "{message}"
            );
            assert!(
                loaded.next_incarnation > Some(life(CLOCK)),
                "no number is used again"
            );
        }
        assert_eq!(damaged(&disk), [""; 0]);

        // And it goes on as ever.
        let (mut journal, again) = opened(&disk);
        assert_eq!(again.findings, [], "it is told once");
        journal.commit(vec![registered(99, 2 * CLOCK)]).unwrap();
        let again = reopened(&disk);
        assert_eq!(again.records.len(), whole + 1, "cut at {end}");
    }
}

#[test]
fn a_file_cut_anywhere_opens_with_all_that_is_before_the_cut() {
    let sound = sound();
    for end in 0..sound.len() {
        let (disk, loaded) = opened_with(&sound[..end]);
        let lines = sound[..=end].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(loaded.records.len(), lines.saturating_sub(1), "cut at {end}");
        // Even its beginning is not there.
        let is_lost = lines == 0;
        assert_eq!(
            loaded.findings.iter().any(|finding| finding.is_loss),
            is_lost,
            "cut at {end}"
        );
        assert_eq!(damaged(&disk).len(), usize::from(is_lost), "cut at {end}");
        assert_eq!(reopened(&disk).records, loaded.records);
    }
}

#[test]
fn bytes_overwritten_anywhere_cost_the_records_that_they_are_in() {
    let sound = sound();
    let mut random = fastrand::Rng::with_seed(5);
    for round in 0..2_000 {
        let mut bytes = sound.clone();
        let at = random.usize(..bytes.len());
        let len = random.usize(1..=3);
        let end = (at + len).min(bytes.len());
        for byte in &mut bytes[at..end] {
            *byte ^= random.u8(1..);
        }
        let (disk, loaded) = opened_with(&bytes);
        let hit = sound[at..end].iter().filter(|byte| **byte == b'\n').count() + 1;
        assert!(
            loaded.records.len() >= 10 - hit,
            "round {round}, byte {at}: {:?}",
            loaded.findings
        );
        let expected: Vec<_> = (0..10).map(|n| record(n, u64::from(n) + 1, 0)).collect();
        assert!(
            loaded.records.iter().all(|record| expected.contains(record)),
            "round {round}"
        );
        // A line feed at the very end is missed by nobody.
        if end < sound.len() {
            assert!(
                loaded.findings.iter().any(|finding| finding.is_loss),
                "round {round}, byte {at}"
            );
            assert_eq!(
                disk.content(&damaged(&disk)[0]).unwrap(),
                bytes,
                "it is set aside as it was"
            );
            assert!(loaded.next_incarnation > Some(life(CLOCK)));
        }
        assert_eq!(reopened(&disk).records, loaded.records, "it is told once");
    }
}

#[test]
fn what_was_found_is_said_in_a_sentence() {
    let mut bytes = sound();
    let at = bytes.len() / 2;
    bytes[at] = b'?';
    let (_, loaded) = opened_with(&bytes);
    let message = &loaded.findings[0].message;
    assert!(
        message.starts_with("registrations.log has 1 damaged place, "),
        "{message}"
    );
    assert!(
        message.contains(": 9 registrations could be read, others may be missing"),
        "{message}"
    );
    assert!(
        message.ends_with(". The file as it was is kept as registrations.damaged-1"),
        "{message}"
    );
}

#[test]
fn a_record_that_breaks_a_rule_is_a_finding_and_the_others_are_used() {
    let mut bytes = sound();
    super::super::super::line::put(
        br#"{"registered":{"id":"a b","incarnation":70,"ttl_ms":60000,"app":"a","region":"eu","country":"DE","ip":"10.0.0.1","port":80,"weight":2,"soft_limit":1,"hard_limit":1,"protocol":"http1"}}"#,
        &mut bytes,
    );
    let (disk, loaded) = opened_with(&bytes);
    assert_eq!(loaded.records.len(), 10);
    let [finding] = &*loaded.findings else {
        panic!("{:?}", loaded.findings)
    };
    assert!(
        finding.is_loss && finding.message.contains(r#""a b": id has the character ' '"#),
        "{finding:?}"
    );
    assert_eq!(damaged(&disk).len(), 1);
}

#[test]
fn members_and_lines_of_a_later_version_are_passed_over() {
    let mut bytes = Vec::new();
    for json in [
        r#"{"format":1,"latest_incarnation":40,"written_by":"9.9"}"#,
        r#"{"registered":{"id":"a","incarnation":3,"ttl_ms":60000,"app":"a","region":"eu","country":"DE","ip":"::1","port":80,"weight":2,"soft_limit":1,"hard_limit":1,"protocol":"http1","colour":{"is":"red"}},"at":5}"#,
        r#"{"moved":{"id":"a"}}"#,
    ] {
        super::super::super::line::put(json.as_bytes(), &mut bytes);
    }
    let (_, loaded) = opened_with(&bytes);
    assert_eq!(loaded.records.len(), 1);
    let [finding] = &*loaded.findings else {
        panic!("{:?}", loaded.findings)
    };
    assert!(
        !finding.is_loss
            && finding
                .message
                .contains("1 lines of a kind that only a later version"),
        "{finding:?}"
    );
}

#[test]
fn a_file_of_a_later_form_is_set_aside_whole() {
    let mut bytes = Vec::new();
    super::super::super::line::put(br#"{"format":2,"latest_incarnation":40}"#, &mut bytes);
    bytes.extend_from_slice(&sound());
    let (disk, loaded) = opened_with(&bytes);
    assert_eq!(loaded.records, []);
    assert!(loaded.findings[0].is_loss && loaded.findings[0].message.contains("has the form 2"));
    assert_eq!(disk.content(&damaged(&disk)[0]).unwrap(), bytes);
}

#[test]
fn only_the_latest_four_damaged_files_are_kept() {
    let disk = Model::new(1);
    for _ in 0..6 {
        disk.put(LOG, b"nonsense\n");
        let (_, loaded) = opened(&disk);
        assert!(loaded.findings[0].is_loss);
    }
    let expected: Vec<_> = (3..=6).map(|number| format!("{DAMAGED}{number}")).collect();
    assert_eq!(damaged(&disk), expected);
}

#[test]
fn a_damaged_file_on_a_full_disk_is_used_as_it_is() {
    let mut bytes = sound();
    let at = bytes.len() / 2;
    bytes[at] = b'?';
    let disk = Model::new(1);
    disk.put(LOG, &bytes);
    disk.set_fault(Fault::FullFrom(0));
    let (mut journal, loaded) = opened(&disk);
    assert_eq!(loaded.records.len(), 9);
    let message = &loaded.findings[0].message;
    assert!(
        message.contains("It could not be set aside (no storage space)"),
        "{message}"
    );
    assert_eq!(disk.content(LOG).unwrap(), bytes);

    disk.mend();
    journal.commit(vec![registered(99, 2 * CLOCK)]).unwrap();
    let (_, loaded) = opened(&disk);
    assert_eq!(loaded.records.len(), 10);
    assert_eq!(damaged(&disk).len(), 1, "now it could be");
}

#[test]
fn a_file_of_a_later_form_is_not_touched_before_it_could_be_set_aside() {
    let mut bytes = Vec::new();
    super::super::super::line::put(br#"{"format":2,"latest_incarnation":40}"#, &mut bytes);
    bytes.extend_from_slice(&sound());
    // And it ends within a line.
    bytes.truncate(bytes.len() - 9);
    let disk = Model::new(1);
    disk.put(LOG, &bytes);
    disk.set_fault(Fault::FullFrom(0));
    let (mut journal, loaded) = opened(&disk);
    let message = &loaded.findings[0].message;
    assert!(
        message.ends_with("tried again with each change, and until then nothing is kept"),
        "{message}"
    );
    let batch = vec![registered(99, 3 * CLOCK)];
    journal.commit(batch.clone()).unwrap_err();
    assert_eq!(disk.content(LOG).unwrap(), bytes);

    disk.mend();
    journal.commit(batch).unwrap();
    assert_eq!(disk.content(&damaged(&disk)[0]).unwrap(), bytes);
    assert_eq!(reopened(&disk).records, [record(99, 3 * CLOCK, 0)]);
}

#[test]
fn no_number_is_used_again_after_damage_though_the_clock_is_slow() {
    let latest = 7 * CLOCK;
    let disk = Model::new(1);
    let (mut journal, _) = opened(&disk);
    journal.commit(vec![registered(1, latest)]).unwrap();
    let mut bytes = disk.content(LOG).unwrap();
    bytes.extend_from_slice(b"nonsense\n");
    let (_, loaded) = opened_with(&bytes);
    assert!(loaded.next_incarnation > Some(life(latest + 1_000_000_000_000)));
}

proptest! {
    #[test]
    fn any_bytes_at_all_can_be_opened(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        opens_and_goes_on(&bytes);
    }

    #[test]
    fn any_part_of_a_file_in_any_order_can_be_opened(
        parts in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..6),
    ) {
        let sound = sound();
        let mut bytes = Vec::new();
        for (from, to) in parts {
            let (from, to) = (from.index(sound.len()), to.index(sound.len()));
            bytes.extend_from_slice(&sound[from.min(to)..from.max(to)]);
        }
        opens_and_goes_on(&bytes);
    }
}

fn opens_and_goes_on(bytes: &[u8]) {
    let (disk, loaded) = opened_with(bytes);
    let (mut journal, again) = opened(&disk);
    assert_eq!((&again.findings, &again.records), (&Vec::new(), &loaded.records));
    journal.commit(vec![registered(99, 2 * CLOCK)]).unwrap();
    let again = reopened(&disk);
    assert!(again.records.contains(&record(99, 2 * CLOCK, 0)));
}
