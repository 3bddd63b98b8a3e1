use super::*;

fn node(host: &str, port: u16) -> Node {
    Node {
        host: host.to_owned(),
        port,
    }
}

fn fault(url: &str) -> String {
    Address::parse(url).unwrap_err().to_string()
}

#[test]
fn sentinels_are_given_with_the_name_of_their_master() {
    let url = "redis+sentinel://app:p%40ss,w@a,b:26380,[::1]:7/my-master/3?sentinel_user=s&sentinel_password=x+y%2F";
    let Address::Sentinels {
        nodes,
        master,
        sentinels,
        servers,
    } = Address::parse(url).unwrap()
    else {
        panic!("these are Sentinels");
    };
    assert_eq!(nodes, [node("a", 26_379), node("b", 26_380), node("::1", 7)]);
    assert_eq!(nodes[2].to_string(), "[::1]:7");
    assert_eq!(master, "my-master");
    let server = servers.to(&nodes[0]);
    let settings = server.redis_settings();
    assert_eq!(settings.username(), Some("app"));
    assert_eq!(settings.password(), Some("p@ss,w"));
    assert_eq!(settings.db(), 3);
    assert_eq!(*server.addr(), ConnectionAddr::Tcp("a".to_owned(), 26_379));
    let sentinel = sentinels.to(&nodes[2]);
    assert_eq!(sentinel.redis_settings().username(), Some("s"));
    assert_eq!(sentinel.redis_settings().password(), Some("x+y/"));
    assert_eq!(sentinel.redis_settings().db(), 0);
}

#[test]
fn a_password_of_the_servers_is_not_told_to_sentinels() {
    let url = "redis+sentinel://:hunter2@a/m";
    let Address::Sentinels {
        sentinels, servers, ..
    } = Address::parse(url).unwrap()
    else {
        panic!("these are Sentinels");
    };
    let a = node("a", 1);
    assert_eq!(sentinels.to(&a).redis_settings().password(), None);
    assert_eq!(servers.to(&a).redis_settings().password(), Some("hunter2"));
    assert!(!format!("{:?}", Address::parse(url)).contains("hunter2"));
}

#[test]
fn a_cluster_is_given_with_some_of_its_nodes() {
    for url in [
        "rediss+cluster://:secret@a:7000,b",
        "rediss+cluster://:secret@a:7000,b/",
        "rediss+cluster://:secret@a:7000,b/0",
    ] {
        let Address::Cluster { nodes, servers } = Address::parse(url).unwrap() else {
            panic!("this is a cluster");
        };
        assert_eq!(nodes, [node("a", 7000), node("b", 6379)]);
        let info = servers.to(&nodes[1]);
        assert_eq!(info.redis_settings().password(), Some("secret"));
        assert!(matches!(
            info.addr(),
            ConnectionAddr::TcpTls { host, port: 6379, insecure: false, .. } if host == "b"
        ));
    }
}

/// What a URL leads to: the address, user, password, database, and whether protocol 3 is spoken.
fn leads_to(url: &str) -> (String, Option<String>, Option<String>, i64, bool) {
    let Ok(Address::Server { info, .. }) = Address::parse(url) else {
        panic!("{url}: {:?}", Address::parse(url));
    };
    let settings = info.redis_settings();
    let address = match info.addr() {
        ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            ..
        } => format!("tls {host} {port}"),
        ConnectionAddr::Tcp(host, port) => format!("{host} {port}"),
        ConnectionAddr::Unix(path) => path.display().to_string(),
        other => panic!("{url}: {other}"),
    };
    let own = |text: Option<&str>| text.map(str::to_owned);
    let is_resp3 = settings.protocol() == redis::ProtocolVersion::RESP3;
    (
        address,
        own(settings.username()),
        own(settings.password()),
        settings.db(),
        is_resp3,
    )
}

#[test]
fn one_server_is_read_as_the_libraries_of_the_field_write_it() {
    type Row = (
        &'static str,
        &'static str,
        Option<&'static str>,
        Option<&'static str>,
        i64,
        bool,
    );
    let rows: &[Row] = &[
        // redis-rs
        ("redis://h", "h 6379", None, None, 0, false),
        ("redis://h/", "h 6379", None, None, 0, false),
        ("redis://u:p@h:1/2", "h 1", Some("u"), Some("p"), 2, false),
        ("redis://:p@h/0", "h 6379", None, Some("p"), 0, false),
        ("rediss://h", "tls h 6379", None, None, 0, false),
        ("REDISS://h:6380/3/", "tls h 6380", None, None, 3, false),
        ("valkey://h", "h 6379", None, None, 0, false),
        ("valkeys://:p@h", "tls h 6379", None, Some("p"), 0, false),
        ("redis://h/?protocol=resp3", "h 6379", None, None, 0, true),
        ("redis://h?protocol=3&db=4", "h 6379", None, None, 4, true),
        ("redis://h?protocol=2", "h 6379", None, None, 0, false),
        ("redis+unix:///run/r.sock", "/run/r.sock", None, None, 0, false),
        ("valkey+unix:///run/r.sock", "/run/r.sock", None, None, 0, false),
        (
            "unix:///run/my%20r.sock?db=2&user=u&pass=p%40+s",
            "/run/my r.sock",
            Some("u"),
            Some("p@+s"),
            2,
            false,
        ),
        // node-redis and ioredis
        ("redis://h:1?db=2", "h 1", None, None, 2, false),
        ("redis://h/2?db=2", "h 6379", None, None, 2, false),
        ("redis://h?family=0", "h 6379", None, None, 0, false),
        (
            "redis://u:p@h?allowUsernameInURI=true",
            "h 6379",
            Some("u"),
            Some("p"),
            0,
            false,
        ),
        (
            "redis://h?username=u&password=p",
            "h 6379",
            Some("u"),
            Some("p"),
            0,
            false,
        ),
        ("redis://u:p@[::1]:7/1", "::1 7", Some("u"), Some("p"), 1, false),
        ("redis://[2001:db8::7]", "2001:db8::7 6379", None, None, 0, false),
        // redis-py
        (
            "unix://u:p@/run/r.sock?db=1",
            "/run/r.sock",
            Some("u"),
            Some("p"),
            1,
            false,
        ),
        (
            "rediss://h?ssl_cert_reqs=required",
            "tls h 6379",
            None,
            None,
            0,
            false,
        ),
        // Users without passwords, and the reverse
        ("redis://u@h", "h 6379", Some("u"), Some(""), 0, false),
        ("redis://u:@h", "h 6379", Some("u"), Some(""), 0, false),
        ("redis://:@h", "h 6379", None, None, 0, false),
        // Percent-encoded, and what need not be
        (
            "redis://%75:p%40%2F%3A%23%3F%25@h",
            "h 6379",
            Some("u"),
            Some("p@/:#?%"),
            0,
            false,
        ),
        (
            "redis://u:a@b:c+100%@h",
            "h 6379",
            Some("u"),
            Some("a@b:c+100%"),
            0,
            false,
        ),
        (" redis://h/1\n", "h 6379", None, None, 1, false),
    ];
    for (url, address, user, password, database, is_resp3) in rows {
        let expected = (
            (*address).to_owned(),
            user.map(str::to_owned),
            password.map(str::to_owned),
            *database,
            *is_resp3,
        );
        assert_eq!(leads_to(url), expected, "{url}");
    }
}

#[test]
fn sentinels_and_clusters_take_the_parameters_of_one_server() {
    let Ok(Address::Sentinels { servers, .. }) =
        Address::parse("redis+sentinel://a/m?db=2&protocol=3&sentinel_password=s")
    else {
        panic!("these are Sentinels");
    };
    assert_eq!(servers.to(&node("a", 1)).redis_settings().db(), 2);
    assert!(matches!(
        Address::parse("redis+cluster://a?db=0"),
        Ok(Address::Cluster { .. })
    ));
}

#[test]
fn what_cannot_be_honoured_is_refused_with_what_would_be_right_and_without_the_password() {
    for (url, found, accepted) in [
        (
            "http://:hunter2@h",
            "a URL with the scheme http was found",
            SERVER,
        ),
        ("tcp://:hunter2@h", "a URL with the scheme tcp was found", SERVER),
        (
            "redis-sentinel://:hunter2@h",
            "a URL with the scheme redis-sentinel was found, which is Lettuce's",
            SENTINEL,
        ),
        ("hunter2", "no URL was found (no ://", SERVER),
        ("h:6379", "no URL was found (no ://", SERVER),
        ("/run/hunter2.sock", "no URL was found (it is a path", SERVER),
        (
            "\"redis://:hunter2@h\"",
            "no URL was found (it begins with a quote",
            SERVER,
        ),
        (
            "h:6380,password=hunter2,ssl=True",
            "no URL was found (it is a connection string",
            SERVER,
        ),
        (
            "redis://:hunter2@h/hunter2",
            "cannot be used (its database is not a number",
            SERVER,
        ),
        (
            "redis://:hunter2@h/-1",
            "cannot be used (its database is not a number",
            SERVER,
        ),
        (
            "redis://:hunter2@h?db=x",
            "cannot be used (its database is not a number",
            SERVER,
        ),
        (
            "redis://:hunter2@h/1?db=2",
            "cannot be used (it names two different databases)",
            SERVER,
        ),
        (
            "redis://u:hunter2@h?user=v",
            "cannot be used (it names two different users)",
            SERVER,
        ),
        (
            "redis://:hunter2@h?password=hunter3",
            "cannot be used (it names two different passwords)",
            SERVER,
        ),
        ("redis://", "cannot be used (it names no host)", SERVER),
        ("redis://:hunter2@", "cannot be used (it names no host)", SERVER),
        ("redis:///2", "cannot be used (it names no host)", SERVER),
        (
            "redis://:hunter2@0.0.0.0",
            "cannot be used (its hosts are not",
            SERVER,
        ),
        (
            "redis://:hunter2@%2Frun%2Fr.sock",
            "cannot be used (its hosts are not",
            SERVER,
        ),
        (
            "redis://:hunter2@::1:6379",
            "cannot be used (its hosts are not",
            SERVER,
        ),
        (
            "redis://:hunter2@a:1,b:2",
            "cannot be used (it names more than one server)",
            SENTINEL,
        ),
        (
            "redis://:hunter2@a,b",
            "cannot be used (it names more than one server)",
            CLUSTER,
        ),
        (
            "rediss://:hunter2@h/#insecure",
            "cannot be used (TLS without a look",
            SERVER,
        ),
        (
            "redis://u:hunter2#hunter2@h",
            "cannot be used (it holds an @ behind a #",
            SERVER,
        ),
        (
            "redis://u:hunter2?hunter2@h",
            "cannot be used (it holds an @ behind a ?",
            SERVER,
        ),
        (
            "redis://u:1/hunter2@h",
            "cannot be used (it holds an @ behind a /",
            SERVER,
        ),
        ("redis://:hunter2/x", "cannot be used (its hosts are not", SERVER),
        ("redis://h#hunter2", "cannot be used (it holds a #", SERVER),
        (
            "redis://:hunter2@h?family=6",
            "cannot be used (its parameter family can only be 0",
            SERVER,
        ),
        (
            "redis://:hunter2@h?tls=true",
            "cannot be used (its parameter tls is not honoured: the scheme rediss",
            SERVER,
        ),
        (
            "rediss://:hunter2@h?ssl_cert_reqs=none",
            "cannot be used (its parameter ssl_cert_reqs is not honoured: cert",
            SERVER,
        ),
        (
            "redis://:hunter2@h?connectTimeout=5",
            "cannot be used (its parameter connectTimeout is not honoured;",
            SERVER,
        ),
        (
            "redis://:hunter2@h?protocol=4",
            "cannot be used (its parameter protocol is 2, 3,",
            SERVER,
        ),
        (
            "redis://:hunter2@h?a%20b",
            "cannot be used (it has a parameter that is not",
            SERVER,
        ),
        (
            "redis+unix://h/run/hunter2",
            "cannot be used (it names a host before the socket",
            SERVER,
        ),
        ("unix://", "cannot be used (it names no socket)", SERVER),
        (
            "redis+sentinel://:hunter2@a,b",
            "cannot be used (it names no master)",
            SENTINEL,
        ),
        (
            "redis+sentinel://:hunter2@a,b/m/x",
            "cannot be used (its database is not",
            SENTINEL,
        ),
        (
            "redis+sentinel://:hunter2@a,,b/m",
            "cannot be used (its hosts are not",
            SENTINEL,
        ),
        (
            "redis+sentinel://:hunter2@a/m?pasword=hunter2",
            "cannot be used (its parameter pasword is not",
            SENTINEL,
        ),
        (
            "redis+sentinel://u:hunter2/hunter2@a/m",
            "cannot be used (it holds an @ behind a /",
            SENTINEL,
        ),
        (
            "redis+sentinel://u:hunter2#@a/m",
            "cannot be used (it holds an @ behind a #",
            SENTINEL,
        ),
        (
            "redis+cluster://:hunter2@",
            "cannot be used (its hosts are not",
            CLUSTER,
        ),
        (
            "redis+cluster://:hunter2@a:x",
            "cannot be used (its hosts are not",
            CLUSTER,
        ),
        (
            "redis+cluster://:hunter2@a/1",
            "cannot be used (a cluster has no database but 0)",
            CLUSTER,
        ),
        (
            "redis+cluster://:hunter2@a?db=1",
            "cannot be used (a cluster has no database but 0)",
            CLUSTER,
        ),
        (
            "redis+cluster://:hunter2@a?x=hunter2",
            "cannot be used (its parameter x is not",
            CLUSTER,
        ),
    ] {
        let fault = fault(url);
        assert!(fault.starts_with(found), "{url}: {fault}");
        assert!(fault.contains(accepted), "{url}: {fault}");
        assert!(!fault.contains("hunter"), "{fault}");
    }
}
