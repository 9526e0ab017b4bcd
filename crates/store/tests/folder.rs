//! Real folders: who may use them, and what a real file system refuses.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use edgeproxy_registry::Write;
use edgeproxy_store::testing::{record, registered};
use edgeproxy_store::{FileStore, Store as _};

const LOG: &str = "registrations.log";

#[tokio::test]
async fn a_missing_folder_is_made_and_what_is_in_it_is_for_its_owner_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("state/edgeproxy");
    let store = FileStore::open(&folder);
    assert!(!folder.exists(), "nothing is touched before it is loaded");
    store.load().await.unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join(LOG)), 0o600);
    assert_eq!(mode(&folder.join("registrations.lock")), 0o600);
}

#[tokio::test]
async fn a_folder_is_one_process_s_alone_until_its_store_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let first = FileStore::open(folder.path());
    first.load().await.unwrap();
    let second = FileStore::open(folder.path());
    let error = second.load().await.unwrap_err().to_string();
    let expected = format!("is in use by another edgeproxy (process {})", std::process::id());
    assert!(error.contains(&expected) && error.contains("data_dir"), "{error}");
    let refused = second.commit(&[registered(1, 1)]).await.unwrap_err();
    assert!(refused.to_string().contains("load first"), "{refused}");

    first.commit(&[registered(1, 1)]).await.unwrap();
    drop(first);
    assert_eq!(second.load().await.unwrap().records.len(), 1);
    second.commit(&[registered(2, 2)]).await.unwrap();
    assert_eq!(
        second.load().await.unwrap().records.len(),
        2,
        "loading again is as starting again"
    );
}

#[tokio::test]
async fn a_folder_that_can_t_be_made_is_an_error_that_says_what_to_do() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = FileStore::open(file.join("folder")).load().await.unwrap_err();
    assert!(
        error.to_string().contains("can't be made: Not a directory"),
        "{error}"
    );
}

#[tokio::test]
async fn commits_that_wait_share_a_sync_and_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::open(folder.path()));
    store.load().await.unwrap();
    let storm = (0..50).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.commit(&[registered(n, u64::from(n) + 1)]).await })
    });
    for commit in storm.collect::<Vec<_>>() {
        commit.await.unwrap().unwrap();
    }
    assert_eq!(store.load().await.unwrap().records.len(), 50);
}

#[tokio::test]
async fn what_was_committed_is_written_before_a_store_is_gone_though_nobody_waited() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path());
    store.load().await.unwrap();
    for incarnation in 1..=10 {
        let batch = [registered(1, incarnation)];
        let mut commit = store.commit(&batch);
        let waker = std::task::Waker::noop();
        assert!(
            commit
                .as_mut()
                .poll(&mut std::task::Context::from_waker(waker))
                .is_pending()
        );
    }
    drop(store);
    let loaded = FileStore::open(folder.path()).load().await.unwrap();
    assert_eq!(loaded.records, [record(1, 10, 0)]);
}

#[tokio::test]
async fn damage_on_a_real_disk_is_told_with_its_folder_and_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path());
    store.load().await.unwrap();
    let batch: Vec<Write> = (0..100).map(|n| registered(n, u64::from(n) + 1)).collect();
    store.commit(&batch).await.unwrap();
    drop(store);

    let log = folder.path().join(LOG);
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&log, &bytes).unwrap();

    let store = FileStore::open(folder.path());
    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.records.len(), 99);
    let [finding] = &*loaded.findings else {
        panic!("{:?}", loaded.findings)
    };
    println!("{}", finding.message);
    assert!(finding.is_loss && finding.message.starts_with(&folder.path().display().to_string()));
    assert_eq!(
        std::fs::read(folder.path().join("registrations.damaged-1")).unwrap(),
        bytes
    );
    // Later than any that can have been lost.
    assert!(loaded.next_incarnation.unwrap().get() > 1_700_000_000_000);
}

/// What somebody does to a folder that a process uses.
type Meddling = fn(&Path);

#[tokio::test]
async fn what_is_kept_is_written_anew_with_the_next_change_when_it_has_been_taken_away_or_replaced() {
    let meddlings: [(&str, Meddling, bool); 6] = [
        (
            "the file is removed",
            |folder| std::fs::remove_file(folder.join(LOG)).unwrap(),
            false,
        ),
        (
            "another file is in its place",
            |folder| {
                std::fs::write(folder.join("other"), "something else\n").unwrap();
                std::fs::rename(folder.join("other"), folder.join(LOG)).unwrap();
            },
            true,
        ),
        (
            "it is emptied",
            |folder| std::fs::write(folder.join(LOG), "").unwrap(),
            true,
        ),
        (
            "somebody else has added to it",
            |folder| {
                use std::io::Write as _;
                let log = std::fs::OpenOptions::new().append(true).open(folder.join(LOG));
                log.unwrap().write_all(b"something else\n").unwrap();
            },
            true,
        ),
        (
            "the folder is removed",
            |folder| std::fs::remove_dir_all(folder).unwrap(),
            false,
        ),
        (
            "another folder is in its place",
            |folder| {
                std::fs::rename(folder, folder.with_extension("before")).unwrap();
                std::fs::create_dir(folder).unwrap();
            },
            false,
        ),
    ];
    for (what, meddle, is_set_aside) in meddlings {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("edgeproxy");
        let store = FileStore::open(&folder);
        store.load().await.unwrap();
        store.commit(&[registered(1, 1)]).await.unwrap();
        meddle(&folder);
        store.commit(&[registered(2, 2)]).await.unwrap();
        store.commit(&[registered(3, 3)]).await.unwrap();
        let second = FileStore::open(&folder).load().await.unwrap_err().to_string();
        assert!(
            second.contains("is in use by another edgeproxy"),
            "{what}: {second}"
        );

        // As it is found after `kill -9`.
        let found = temporary.path().join("found");
        std::fs::create_dir(&found).unwrap();
        std::fs::copy(folder.join(LOG), found.join(LOG)).unwrap();
        let loaded = FileStore::open(&found).load().await.unwrap();
        assert_eq!(
            (loaded.records.len(), loaded.findings.len()),
            (3, 0),
            "{what}: {loaded:?}"
        );
        assert_eq!(
            folder.join("registrations.damaged-1").exists(),
            is_set_aside,
            "{what}"
        );
    }
}

#[tokio::test]
async fn whoever_has_lost_a_folder_to_another_process_writes_nothing_there_as_long_as_that_one_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = FileStore::open(folder.path());
    first.load().await.unwrap();
    first.commit(&[registered(1, 1)]).await.unwrap();
    std::fs::remove_file(folder.path().join("registrations.lock")).unwrap();
    let second = FileStore::open(folder.path());
    second.load().await.unwrap();
    second.commit(&[registered(2, 2)]).await.unwrap();
    let before = std::fs::read(folder.path().join(LOG)).unwrap();

    let refused = first.commit(&[registered(3, 3)]).await.unwrap_err().to_string();
    assert!(refused.contains("is in use by another edgeproxy"), "{refused}");
    assert_eq!(std::fs::read(folder.path().join(LOG)).unwrap(), before);

    // What the other one has left is for people to look at: nobody has told this one of it.
    drop(second);
    first.commit(&[registered(3, 3)]).await.unwrap();
    drop(first);
    let loaded = FileStore::open(folder.path()).load().await.unwrap();
    assert_eq!(
        (loaded.records.len(), loaded.findings.len()),
        (2, 0),
        "{loaded:?}"
    );
    assert_eq!(
        std::fs::read(folder.path().join("registrations.damaged-1")).unwrap(),
        before
    );
}

/// Files of this process must not exceed 64 KiB, which is how a full disk looks to one file.
#[test]
fn a_file_that_may_not_grow_any_more_refuses_changes_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let fills = "ulimit -f 128; trap '' XFSZ; exec \"$@\"";
    let output = Command::new("bash")
        .args(["-c", fills, "bash"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "fills_its_file", "--ignored", "--nocapture"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{text}");
    assert!(
        text.contains("File too large") && text.contains("raise the limit"),
        "{text}"
    );
}

const FOLDER: &str = "EDGEPROXY_TEST_FOLDER";

#[tokio::test]
#[ignore = "a child of the test above, which limits its files"]
async fn fills_its_file() {
    let folder = std::env::var_os(FOLDER).expect("the parent names it");
    let store = FileStore::open(&folder);
    store.load().await.unwrap();
    let mut kept = 0;
    let error = loop {
        let batch: Vec<Write> = (0..10)
            .map(|n| registered(kept + n, u64::from(kept + n) + 1))
            .collect();
        match store.commit(&batch).await {
            Ok(()) => kept += 10,
            Err(error) => break error,
        }
        assert!(kept < 10_000, "the limit is in force");
    };
    println!("after {kept}: {error}");
    // What takes less room still has some, since nothing of the batch that failed is left.
    assert!(kept >= 100);
    let before = std::fs::metadata(Path::new(&folder).join(LOG)).unwrap().len();
    store
        .commit(&[edgeproxy_store::testing::gone(0, 1)])
        .await
        .unwrap();
    let after = std::fs::metadata(Path::new(&folder).join(LOG)).unwrap().len();
    assert!(after - before < 100);
    drop(store);
    let loaded = FileStore::open(&folder).load().await.unwrap();
    assert_eq!(
        (loaded.findings.len(), loaded.records.len()),
        (0, usize::try_from(kept).unwrap() - 1)
    );
}
