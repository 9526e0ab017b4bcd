use super::*;

fn moment() -> Moment {
    let row = |id, region, state: &str, recent| Row {
        id,
        region,
        state: state.to_owned(),
        in_flight: 4,
        requests: 1_000 + recent,
        recent,
    };
    Moment {
        at: Duration::from_millis(4_250),
        caption: "rush",
        rows: vec![
            row("eu-1", "eu", "routable", 150),
            row("eu-2", "eu", "ejected", 0),
            row("us-1", "us", "routable", 50),
        ],
        failed: 1,
    }
}

#[test]
fn the_table_shows_who_gets_what_within_eighty_columns() {
    let table = moment().table();
    assert_eq!(
        table,
        "  4.2 s  rush

backend  region  state      in flight  requests  last second
eu-1     eu      routable           4      1150   150   75 %  ###############
eu-2     eu      ejected            4      1000     0    0 %
us-1     us      routable           4      1050    50   25 %  #####
all                                12      3200   200  failed: 1
"
    );
    assert!(table.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn a_line_sums_a_moment_up() {
    assert_eq!(
        moment().line(),
        "  4.2 s    200 requests/s   eu  75 %  us  25 %  sa   0 %   eu-2 ejected    failed 1\n"
    );
}

#[test]
fn a_share_of_nothing_is_nothing() {
    assert_eq!(percent(0, 0), 0);
    assert_eq!(percent(1, 3), 33);
    assert_eq!(percent(2, 3), 67);
}

#[test]
fn the_summary_names_the_killed_one_only_if_it_was() {
    let served = [("eu-1", [1, 2, 3]), ("eu-2", [4, 5, 0])].map(|(id, phases)| (id.to_owned(), phases));
    let tally = Tally {
        served: served.into(),
        ..Tally::default()
    };
    let seen = Evidence {
        tally,
        kills: 1,
        ..Evidence::default()
    };
    let text = summary(&seen);
    assert!(text.starts_with("\nbackend  region   quiet    rush  after the kill     all\n"));
    assert!(
        text.contains("\neu-2     eu           4       5               0       9  killed\n"),
        "{text}"
    );
    assert!(
        text.ends_with("\nall                   5       7               3      15\n\n"),
        "{text}"
    );
    assert!(!summary(&Evidence { kills: 0, ..seen }).contains("killed"));
}
