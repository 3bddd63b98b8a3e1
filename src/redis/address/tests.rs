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

#[test]
fn one_server_is_given_as_ever() {
    for url in [
        "redis://h",
        "redis://u:p@h:1/2",
        "rediss://h",
        "redis://h/?protocol=resp3",
    ] {
        assert!(matches!(Address::parse(url), Ok(Address::Server(_))), "{url}");
    }
}

#[test]
fn what_is_malformed_is_refused_with_what_would_be_right_and_without_the_password() {
    for (url, found, accepted) in [
        (
            "http://:hunter2@h",
            "a URL with the scheme http was found",
            SERVER,
        ),
        (
            "hunter2",
            "no URL was found (relative URL without a base)",
            SERVER,
        ),
        (
            "redis://:hunter2@h/hunter2",
            "cannot be used (Redis: Invalid database number",
            SERVER,
        ),
        ("redis://", "cannot be used (it names no host)", SERVER),
        (
            "redis://:hunter2@a:1,b:2",
            "no URL was found (invalid port number)",
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
            "redis+sentinel://:hunter2@a,b",
            "cannot be used (it names no master)",
            SENTINEL,
        ),
        (
            "redis+sentinel://:hunter2@a,b/m/x",
            "cannot be used (Redis: Invalid database number",
            SENTINEL,
        ),
        (
            "redis+sentinel://:hunter2@a,,b/m",
            "cannot be used (its hosts are not",
            SENTINEL,
        ),
        (
            "redis+sentinel://:hunter2@a/m?password=hunter2",
            "cannot be used (it has a parameter",
            SENTINEL,
        ),
        (
            "redis+sentinel://u:hunter2/hunter2@a/m",
            "cannot be used (its hosts are not",
            SENTINEL,
        ),
        (
            "redis+sentinel://u:hunter2#@a/m",
            "cannot be used (it holds a #",
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
            "redis+cluster://:hunter2@a?x=hunter2",
            "cannot be used (it has a parameter",
            CLUSTER,
        ),
    ] {
        let fault = fault(url);
        assert!(fault.starts_with(found), "{url}: {fault}");
        assert!(fault.contains(accepted), "{url}: {fault}");
        assert!(!fault.contains("hunter2"), "{fault}");
    }
}
