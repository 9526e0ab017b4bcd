use std::collections::BTreeMap;
use std::io::ErrorKind;

use edgeproxy_backend::BackendId;
use edgeproxy_registry::{Overridden, Record};
use proptest::prelude::*;

use super::*;
use crate::file::disk::model::{Fault, Model};
use crate::testing::{disabled, gone, life, record, registered};

mod damage;
mod faults;

const CLOCK: u64 = 1_000_000_000_000;

fn opened(disk: &Model) -> (Journal<Model>, Loaded) {
    Journal::open(disk.clone(), life(CLOCK)).expect("it always opens")
}

/// What is there after a restart, nothing being wrong.
fn reopened(disk: &Model) -> Loaded {
    let (_, loaded) = opened(disk);
    assert_eq!(loaded.findings, []);
    loaded
}

/// Batches with everything in them, of a few ids.
fn batches() -> Vec<Vec<Write>> {
    let mut incarnation = 0;
    let mut batches = Vec::new();
    for round in 0..6_u16 {
        let mut batch = Vec::new();
        for number in 0..4 {
            incarnation += 1;
            match (u32::from(round) + number) % 4 {
                3 => batch.push(gone(number, incarnation)),
                2 => batch.extend([
                    disabled(number),
                    Write::Registered(record(number, incarnation, round)),
                ]),
                _ => batch.push(Write::Registered(record(number, incarnation, round))),
            }
        }
        batches.push(batch);
    }
    batches
}

#[test]
fn the_first_line_says_the_form_and_the_others_one_write_each() {
    let disk = Model::new(1);
    let (mut journal, loaded) = opened(&disk);
    assert_eq!(loaded, Loaded::default());
    journal.commit(vec![gone(1, 7), disabled(2)]).unwrap();
    let text = String::from_utf8(disk.content(LOG).unwrap()).unwrap();
    let json: Vec<_> = text
        .lines()
        .map(|line| line.splitn(3, ' ').nth(2).unwrap())
        .collect();
    assert_eq!(
        json,
        [
            r#"{"format":1}"#,
            r#"{"gone":{"id":"backend-eu-0000001","incarnation":7}}"#,
            r#"{"overridden":{"id":"backend-eu-0000002","app":"app-0.example","enabled":false}}"#,
        ]
    );
}

#[test]
fn a_batch_takes_one_sync_however_large_it_is() {
    let disk = Model::new(1);
    let (mut journal, _) = opened(&disk);
    let before = disk.syncs();
    for batch in 0..10 {
        let storm = (0..1_000)
            .map(|n| registered(n, u64::from(batch * 1_000 + n) + 1))
            .collect();
        journal.commit(storm).unwrap();
    }
    assert_eq!(disk.syncs() - before, 10);
    journal.commit(Vec::new()).unwrap();
    assert_eq!(disk.syncs() - before, 10, "nothing to keep, nothing to sync");
}

#[test]
fn a_file_is_written_anew_when_more_than_half_of_it_says_nothing_any_more() {
    let disk = Model::new(1);
    let (mut journal, _) = opened(&disk);
    let mut longest = 0;
    let mut compacted = 0;
    for incarnation in 1..=20_000 {
        journal
            .commit(vec![registered(incarnation % 100, incarnation.into())])
            .unwrap();
        longest = longest.max(journal.file.as_ref().unwrap().end);
        if journal.is_worth_compacting() {
            journal.compact().unwrap();
            compacted += 1;
        }
    }
    assert!(compacted >= 2, "{compacted}");
    assert!(longest < 2 * IDLE_BYTES, "it has a bound: {longest}");
    let loaded = reopened(&disk);
    assert_eq!(loaded.records.len(), 100);
    assert_eq!(loaded.next_incarnation, Some(life(20_001)));
    assert_eq!(disk.content(NEW), None);
}

#[test]
fn a_file_that_only_grows_is_left_alone() {
    let (mut journal, _) = opened(&Model::new(1));
    for batch in 0..20 {
        let storm = (0..1_000)
            .map(|n| batch * 1_000 + n)
            .map(|n| registered(n, u64::from(n) + 1))
            .collect();
        journal.commit(storm).unwrap();
        assert!(!journal.is_worth_compacting());
    }
    assert!(journal.file.unwrap().end > 2 * IDLE_BYTES);
}

#[test]
fn the_numbers_are_kept_when_the_file_is_written_anew_after_everything_is_gone() {
    let disk = Model::new(1);
    let (mut journal, _) = opened(&disk);
    journal.commit(vec![registered(1, 8), gone(1, 8)]).unwrap();
    journal.compact().unwrap();
    assert_eq!(reopened(&disk).next_incarnation, Some(life(9)));
}

#[test]
fn what_was_being_written_when_it_ended_is_removed() {
    let disk = Model::new(1);
    disk.put(NEW, b"half a fi");
    let _ = opened(&disk);
    assert_eq!(disk.content(NEW), None);
}

fn by_id(loaded: &Loaded) -> (BTreeMap<BackendId, Record>, BTreeMap<BackendId, Overridden>) {
    let records = loaded
        .records
        .iter()
        .map(|record| (record.backend.id.clone(), record.clone()));
    let overrides = loaded.overrides.iter();
    let overrides = overrides.map(|known| (known.id.clone(), known.clone()));
    (records.collect(), overrides.collect())
}
