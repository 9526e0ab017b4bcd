//! `edgeproxy backends`, `apps`, `explain` and `drain`: asked of a running one, as an operator would.

use edgeproxy_tests::{Backend, Edgeproxy, PATIENCE, Registration, within};
use serde_json::Value;
use tokio::process::Command;

/// What was printed on standard output, and on standard error; and the exit code.
async fn ask(edgeproxy: &Edgeproxy, args: &[&str]) -> (String, String, Option<i32>) {
    let mut command = Command::new(Edgeproxy::binary());
    command
        .args(args)
        .env_clear()
        .env("EDGEPROXY_API", format!("http://{}", edgeproxy.api_addr()));
    let output = within(PATIENCE, "an answer is printed", command.output()).await;
    let output = output.expect("edgeproxy can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("what is printed is text");
    (text(output.stdout), text(output.stderr), output.status.code())
}

#[tokio::test]
async fn health_is_an_exit_code() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let (printed, told, code) = ask(&edgeproxy, &["health"]).await;
    assert_eq!((printed.as_str(), told.as_str(), code), ("ready\n", "", Some(0)));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = nobody.local_addr().expect("an address");
    drop(nobody);
    let url = format!("http://{addr}");
    let (printed, told, code) = ask(&edgeproxy, &["health", "--api", &url]).await;
    assert_eq!((printed.as_str(), code), ("", Some(1)));
    assert!(told.contains("can't be asked"), "{told}");
}

#[tokio::test]
async fn backends_and_apps_are_listed_for_people_and_for_scripts() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let (printed, told, code) = ask(&edgeproxy, &["backends"]).await;
    assert_eq!(
        (printed.as_str(), told.as_str(), code),
        ("no backend is registered\n", "", Some(0))
    );
    let backend = Backend::start("b1").await;
    let mut api = edgeproxy.api();
    api.register_new(&Registration::new("b1", "shop", backend.addr()))
        .await;
    // More than a page of the API's.
    for n in 0..1_100_u16 {
        let [high, low] = n.to_be_bytes();
        let addr = ([10, 0, high, low], 80).into();
        api.register_new(&Registration::new(&format!("many-{n}"), "many", addr))
            .await;
    }
    let (printed, _, _) = ask(&edgeproxy, &["backends", "--app", "shop"]).await;
    let mut lines = printed.lines();
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("ID  APP   REGION  ADDRESS")),
        "{printed}"
    );
    let row = lines.next().expect("a row");
    assert!(
        row.starts_with(&format!("b1  shop  eu      {}", backend.addr())) && row.contains("routable"),
        "{printed}"
    );
    let (printed, _, code) = ask(&edgeproxy, &["backends", "--json"]).await;
    let read: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(
        (
            read["total"].as_u64(),
            read["backends"].as_array().map(Vec::len),
            code
        ),
        (Some(1_101), Some(1_101), Some(0))
    );
    let (printed, _, _) = ask(&edgeproxy, &["apps"]).await;
    assert!(
        printed
            .lines()
            .any(|line| line.starts_with("shop ") && line.contains("1/1")),
        "{printed}"
    );
    let (printed, _, _) = ask(&edgeproxy, &["apps", "--json"]).await;
    let read: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(read["apps"][1]["app"], "shop");
}

#[tokio::test]
async fn explain_says_who_is_picked_and_why_not_the_others() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let backend = Backend::start("b1").await;
    let mut api = edgeproxy.api();
    api.register_new(&Registration::new("b1", "shop", backend.addr()))
        .await;
    let other = ([10, 0, 0, 1], 80).into();
    api.register_new(&Registration::new("b2", "shop", other).with("weight", 0))
        .await;
    let (printed, told, code) = ask(
        &edgeproxy,
        &["explain", "shop", "--ip", "203.0.113.9", "--region", "eu"],
    )
    .await;
    assert_eq!((told.as_str(), code), ("", Some(0)), "{printed}");
    for part in [
        "app shop, by region_affinity\n",
        "ip 203.0.113.9",
        "region eu",
        "picked: b1\n",
        "\n*b1 ",
        "\n b2 ",
    ] {
        assert!(printed.contains(part), "{part:?} is not in\n{printed}");
    }
    let (_, told, code) = ask(&edgeproxy, &["explain", "nothing"]).await;
    assert_eq!(code, Some(1));
    assert_eq!(
        told,
        "edgeproxy: 404 Not Found: no app \"nothing\" has a backend\n  `edgeproxy apps` lists those that there are\n"
    );
    let (_, told, _) = ask(&edgeproxy, &["explain", "shop", "--country", "XX"]).await;
    assert!(told.contains("422") && told.contains("country"), "{told}");
    assert_eq!(told.lines().count(), 1, "nothing is said twice: {told}");
}

#[tokio::test]
async fn an_address_with_the_wrong_scheme_is_told_with_the_right_one() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let api = format!("https://{}", edgeproxy.api_addr());
    let (_, told, code) = ask(&edgeproxy, &["backends", "--api", &api]).await;
    assert_eq!(code, Some(1));
    assert!(told.contains("begins with http://"), "{told}");
}

#[tokio::test]
async fn drain_holds_until_it_is_undone() {
    let edgeproxy = Edgeproxy::setup().start().await;
    let backend = Backend::start("b1").await;
    let mut api = edgeproxy.api();
    let registration = Registration::new("b1", "shop", backend.addr());
    api.register_new(&registration).await;
    let (printed, told, code) = ask(&edgeproxy, &["drain", "b1"]).await;
    assert_eq!(
        (printed.as_str(), told.as_str(), code),
        (
            "backend b1 gets no new requests; nothing is in flight\nundo it by: edgeproxy drain b1 --undo\n",
            "",
            Some(0)
        )
    );
    let status = edgeproxy
        .client()
        .get("shop", "/")
        .await
        .expect("an answer")
        .status;
    assert_eq!((status.as_u16(), backend.requests()), (503, 0));
    // Its own word doesn't count.
    let _ = api.register(&registration).await.expect(200);
    let _ = api.heartbeat("b1").await.expect(200);
    assert_eq!(api.state("b1").await, "disabled");
    let (printed, _, code) = ask(&edgeproxy, &["drain", "b1", "--undo"]).await;
    assert!(printed.starts_with("backend b1 is routable again"), "{printed}");
    assert_eq!(code, Some(0));
    let status = edgeproxy
        .client()
        .get("shop", "/")
        .await
        .expect("an answer")
        .status;
    assert_eq!(status.as_u16(), 200);
    let (printed, _, _) = ask(&edgeproxy, &["drain", "b1", "--deregister", "5s", "--json"]).await;
    let read: Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(read["deregistered"], true);
    let (_, told, code) = ask(&edgeproxy, &["drain", "b2"]).await;
    assert_eq!(code, Some(1));
    assert!(told.starts_with("edgeproxy: 404 Not Found: "), "{told}");
    assert!(
        told.ends_with("\n  `edgeproxy backends` lists those that there are\n"),
        "{told}"
    );
}
