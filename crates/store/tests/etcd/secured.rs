//! Authentication and TLS.

use edgeproxy_store::{Etcd, EtcdPassword, EtcdSettings, EtcdUser, Store as _};
use edgeproxy_tls::{Client, Identity, Trust};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::Test;
use crate::rows::{commit, commit_at_last, load, record, registered};
use crate::server::{Extras, Servers, Tls, run, settings, store};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_user_is_let_in_by_the_password_again_after_the_token_is_forgotten",
        password,
    ),
    (
        "a_password_that_has_changed_on_disk_is_taken_at_the_next_authentication",
        password_file,
    ),
    (
        "inside_tls_with_a_client_certificate_and_by_no_other_authority",
        certificates,
    ),
];

fn user(settings: EtcdSettings, password: &str) -> EtcdSettings {
    EtcdSettings {
        user: Some(EtcdUser {
            name: "edge".to_owned(),
            password: EtcdPassword::Text(password.to_owned()),
        }),
        ..settings
    }
}

/// A server with a user that has rights on the prefix and nothing else.
fn with_a_user() -> Servers {
    let mut servers = Servers::one();
    for command in [
        "user add root:top",
        "user grant-role root root",
        "user add edge:secret",
        "role add edge",
        "role grant-permission edge --prefix=true readwrite /test/",
        "user grant-role edge edge",
        "auth enable",
    ] {
        servers.control(&command.split(' ').collect::<Vec<_>>());
    }
    servers.add_access(&["--user", "root:top"]);
    servers
}

fn password_file() {
    let servers = with_a_user();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    let settings = || EtcdSettings {
        user: Some(EtcdUser {
            name: "edge".to_owned(),
            password: EtcdPassword::File(path.clone()),
        }),
        ..settings(&servers.address(), "a")
    };
    run(async {
        let message = Etcd::new(settings()).load().await.unwrap_err().to_string();
        assert!(message.contains(&path.display().to_string()), "{message}");
        std::fs::write(&path, "secret\n").unwrap();
        let a = Etcd::new(settings());
        load(&a).await;
        commit(&a, &[registered("x", 1)]).await;
        // Its token is void with that, and it needs the new password.
        for command in [
            "user delete edge",
            "user add edge:other",
            "user grant-role edge edge",
        ] {
            servers.control(&command.split(' ').collect::<Vec<_>>());
        }
        std::fs::write(&path, "other\n").unwrap();
        commit_at_last(&a, &[registered("x", 2)]).await;
        assert_eq!(load(&Etcd::new(settings())).await.records, [record("x", 2)]);
    });
}

fn password() {
    let mut servers = with_a_user();
    run(async {
        let settings = || settings(&servers.address(), "a");
        let message = Etcd::new(settings()).load().await.unwrap_err().to_string();
        assert!(message.contains("user name is empty"), "{message}");
        let message = Etcd::new(user(settings(), "wrong"))
            .load()
            .await
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("authentication failed") && !message.contains("wrong"),
            "{message}"
        );
        let (a, b) = (
            Etcd::new(user(settings(), "secret")),
            Etcd::new(user(settings(), "secret")),
        );
        assert!(!format!("{a:?}").contains("secret"));
        load(&a).await;
        commit(&a, &[registered("x", 1)]).await;
        // A change of users makes tokens void, and so does a start.
        servers.control(&["user", "add", "other:word"]);
        commit(&a, &[registered("x", 2)]).await;
        servers.kill(0);
        servers.start_again(0);
        commit_at_last(&a, &[registered("x", 3)]).await;
        assert_eq!(load(&b).await.records, [record("x", 3)]);
    });
}

fn certificates() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let authority = |name: &str| {
        let mut params = CertificateParams::new([]).unwrap();
        // A name of its own: else one would be taken for another whose signature is wrong.
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        (pem, Issuer::new(params, key))
    };
    let (ca_pem, ca) = authority("ours");
    let (other_pem, _) = authority("another");
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let pem = params.signed_by(&key, &ca).unwrap().pem();
        (pem, key.serialize_pem())
    };
    let ((server, server_key), (client, client_key)) = (signed("127.0.0.1"), signed("edge"));
    let tls = Tls {
        ca: write("ca.pem", ca_pem.clone()),
        server: (write("server.pem", server), write("server.key", server_key)),
        client: (
            write("client.pem", client.clone()),
            write("client.key", client_key.clone()),
        ),
    };
    let servers = Servers::start(1, &Extras { tls: Some(tls) });
    let with = |trusted: &str, identity: Option<Identity>| {
        let config = Client {
            trust: Some(Trust::from_pem(trusted.as_bytes()).unwrap()),
            identity,
        };
        Etcd::new(EtcdSettings {
            tls: Some(config.build().unwrap()),
            load_timeout: std::time::Duration::from_millis(500),
            ..settings(&servers.address(), "a")
        })
    };
    let identity = || Some(Identity::from_pem(client.as_bytes(), client_key.as_bytes()).unwrap());
    run(async {
        let a = with(&ca_pem, identity());
        load(&a).await;
        commit(&a, &[registered("x", 1)]).await;
        assert_eq!(load(&with(&ca_pem, identity())).await.records, [record("x", 1)]);
        for refused in [
            with(&ca_pem, None),
            with(&other_pem, identity()),
            store(&servers, "plain"),
        ] {
            assert!(refused.load().await.is_err());
        }
    });
}
