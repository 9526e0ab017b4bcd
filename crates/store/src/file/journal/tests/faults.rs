//! A disk that fails, at every operation in turn.

use super::*;

/// Commits the batches, each until it is acknowledged or has failed twice. What is in force then by what was
/// acknowledged, and what may be by what was not.
struct Run {
    journal: Journal<Model>,
    acknowledged: Kept,
    /// Batches that failed: each may be kept, or in part.
    refused: Vec<Vec<Write>>,
}

impl Run {
    fn of(journal: Journal<Model>) -> Self {
        Self {
            journal,
            acknowledged: Kept::default(),
            refused: Vec::new(),
        }
    }

    fn commit(&mut self, batch: &[Write]) {
        match self.journal.commit(batch.to_vec()) {
            Ok(()) => {
                for write in batch {
                    self.acknowledged.apply(write.clone(), 0);
                }
                // It was committed after them.
                self.refused.clear();
            }
            Err(_) => self.refused.push(batch.to_vec()),
        }
        if self.journal.is_worth_compacting() {
            let _ = self.journal.compact();
        }
    }

    /// Everything acknowledged is there, and nothing that was never committed.
    fn holds(&self, loaded: &Loaded, what: &str) {
        let (records, overrides) = by_id(loaded);
        let (expected, expected_overrides) = by_id(&self.acknowledged.loaded());
        let unsure = |id: &BackendId| self.refused.iter().flatten().any(|write| write.id() == id);
        for id in records.keys().chain(expected.keys()).filter(|id| !unsure(id)) {
            assert_eq!(records.get(id), expected.get(id), "{what}");
        }
        for id in overrides
            .keys()
            .chain(expected_overrides.keys())
            .filter(|id| !unsure(id))
        {
            assert_eq!(overrides.get(id), expected_overrides.get(id), "{what}");
        }
        let latest = self.acknowledged.latest();
        assert!(
            latest.is_none() || loaded.next_incarnation > latest,
            "{what}: {:?}",
            loaded.next_incarnation
        );
        assert!(
            !loaded.findings.iter().any(|finding| finding.is_loss),
            "{what}: {:?}",
            loaded.findings
        );
    }
}

/// How many operations opening and the batches take without a fault.
fn operations() -> usize {
    let disk = Model::new(0);
    let (journal, _) = opened(&disk);
    let mut run = Run::of(journal);
    batches().iter().for_each(|batch| run.commit(batch));
    disk.operations()
}

#[test]
fn an_error_at_any_operation_costs_nothing_that_was_acknowledged_and_the_next_commit_goes_on() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other, ErrorKind::QuotaExceeded] {
        for at in 0..operations() {
            for seed in 0..4 {
                let what = format!("{kind:?} at operation {at}, seed {seed}");
                let disk = Model::new(seed);
                disk.set_fault(Fault::Once(at, kind));
                // Opening fails where the file can't be looked for.
                let Ok((journal, _)) = Journal::open(disk.clone(), life(CLOCK)) else {
                    assert!(at < 2, "{what}");
                    continue;
                };
                let mut run = Run::of(journal);
                for batch in batches() {
                    run.commit(&batch);
                    if !run.refused.is_empty() {
                        run.commit(&batch);
                        assert!(run.refused.is_empty(), "{what}: it fails once");
                    }
                }
                let killed = opened(&disk).1;
                run.holds(&killed, &what);
                assert_eq!(killed.findings, [], "{what}");
                run.holds(&opened(&disk.after_power_cut()).1, &what);
            }
        }
    }
}

#[test]
fn an_error_at_any_operation_of_writing_anew_leaves_the_old_file_or_the_new() {
    for at in 0..12 {
        for seed in 0..8 {
            let what = format!("operation {at}, seed {seed}");
            let disk = Model::new(seed);
            let (journal, _) = opened(&disk);
            let mut run = Run::of(journal);
            batches().iter().for_each(|batch| run.commit(batch));
            disk.set_fault(Fault::Once(at, ErrorKind::Other));
            let compacted = run.journal.compact();
            run.holds(&opened(&disk.after_power_cut()).1, &what);
            disk.mend();
            run.commit(&[registered(50, 5_000), gone(0, 5_001)]);
            assert!(run.refused.is_empty(), "{what}, {compacted:?}");
            run.holds(&opened(&disk.after_power_cut()).1, &what);
        }
    }
}

#[test]
fn power_cut_at_any_operation_costs_nothing_that_was_acknowledged() {
    for at in 0..operations() + 8 {
        for seed in 0..24 {
            let what = format!("cut at operation {at}, seed {seed}");
            let disk = Model::new(seed);
            disk.set_fault(Fault::PowerCut(at));
            let Ok((journal, _)) = Journal::open(disk.clone(), life(CLOCK)) else {
                continue;
            };
            let mut run = Run::of(journal);
            batches().iter().for_each(|batch| run.commit(batch));
            let _ = run.journal.compact();
            let (mut journal, loaded) = opened(&disk.after_power_cut());
            // Pages of a batch that was not acknowledged may be there in any order: that is told as damage.
            let without_findings = Loaded {
                findings: Vec::new(),
                ..loaded
            };
            run.holds(&without_findings, &what);
            journal
                .commit(vec![registered(50, 2 * CLOCK)])
                .expect("it goes on");
        }
    }
}

#[test]
fn a_full_disk_refuses_changes_and_keeps_all_it_has_until_there_is_room() {
    for from in 0..operations() {
        let what = format!("full from operation {from}");
        let disk = Model::new(from as u64);
        disk.set_fault(Fault::FullFrom(from));
        let (journal, loaded) = opened(&disk);
        assert!(
            loaded
                .findings
                .iter()
                .all(|finding| finding.message.contains("can't be written now")),
            "{what}"
        );
        let mut run = Run::of(journal);
        batches().iter().for_each(|batch| run.commit(batch));
        run.holds(&opened(&disk).1, &what);

        disk.mend();
        let all: Vec<_> = batches().concat();
        run.commit(&all);
        assert!(run.refused.is_empty(), "{what}: there is room");
        run.holds(&reopened(&disk), &what);
    }
}

#[test]
fn a_sync_that_failed_is_never_trusted_again() {
    let disk = Model::new(3);
    let (journal, _) = opened(&disk);
    let mut run = Run::of(journal);
    run.commit(&[registered(1, 1)]);
    // A look at the file is the first operation of an append, a write the second, its sync the third.
    disk.set_fault(Fault::Once(2, ErrorKind::Other));
    run.commit(&[registered(2, 2)]);
    assert!(
        run.refused.is_empty(),
        "it was written anew within the same commit"
    );
    run.commit(&[registered(3, 3)]);
    // The model's later syncs don't write what the failed one forgot, as Linux's don't.
    let found = opened(&disk.after_power_cut()).1;
    assert_eq!(found.findings, []);
    assert_eq!(found.records.len(), 3);
}

#[test]
fn a_folder_that_can_t_be_written_to_is_an_error_at_once() {
    for kind in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
        let disk = Model::new(1);
        // Looked for, not found, and then it can't be made.
        disk.set_fault(Fault::Once(2, kind));
        let error = Journal::open(disk, life(CLOCK)).expect_err("nothing can be kept there");
        assert_eq!(error.kind(), kind);
    }
}

#[test]
fn what_was_read_is_durable_though_whoever_wrote_it_was_killed_before_it_was() {
    for seed in 0..24 {
        // Between a write and its sync.
        let disk = Model::new(seed);
        let (mut journal, _) = opened(&disk);
        disk.set_fault(Fault::PowerCut(2));
        journal.commit(vec![registered(1, 1)]).unwrap_err();
        disk.mend();
        let loaded = reopened(&disk);
        assert_eq!(loaded.records.len(), 1);
        assert_eq!(reopened(&disk.after_power_cut()), loaded, "seed {seed}");

        // Between a rename and the sync of the names.
        let disk = Model::new(seed);
        let (journal, _) = opened(&disk);
        let mut run = Run::of(journal);
        batches().iter().for_each(|batch| run.commit(batch));
        disk.set_fault(Fault::Once(4, ErrorKind::Other));
        run.journal.compact().unwrap_err();
        (run.journal, _) = opened(&disk);
        run.commit(&[registered(50, 5_000)]);
        assert!(run.refused.is_empty());
        run.holds(&opened(&disk.after_power_cut()).1, &format!("seed {seed}"));
    }
}

#[test]
fn what_was_read_and_can_t_be_made_durable_is_written_anew() {
    for seed in 0..24 {
        let disk = Model::new(seed);
        let (journal, _) = opened(&disk);
        let mut run = Run::of(journal);
        batches().iter().for_each(|batch| run.commit(batch));
        // What was being written is removed, the file opened, read, synced, and the names.
        for at in [3, 4] {
            disk.set_fault(Fault::Once(at, ErrorKind::Other));
            (run.journal, _) = opened(&disk);
            assert!(run.journal.file.is_none(), "operation {at}");
            run.commit(&[registered(50, 5_000 + at as u64)]);
            assert!(run.refused.is_empty() && run.journal.file.is_some());
            run.holds(&opened(&disk.after_power_cut()).1, &format!("seed {seed}"));
        }
    }
}
