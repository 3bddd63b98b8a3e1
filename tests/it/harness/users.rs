//! The users of Redis that `deploy/` has.

use std::path::Path;

use super::stack::Stack;

const USERS: &str = include_str!("../../../deploy/redis/users.acl");
/// Whoever knows no password, which the servers of tests are looked at as.
const DEFAULT: &str = "user default off";

/// Writes the file as it is deployed, but for the passwords, and for the user as which the test looks at its server.
pub(crate) fn user_file(file: &Path, password: &str, own_password: &str) {
    let own = format!("user default on >{own_password} ~* &* +@all");
    let users = USERS
        .replace(">change-me", &format!(">{password}"))
        .replace(DEFAULT, &own);
    assert!(users.contains(&own), "the default user is off");
    std::fs::write(file, users).unwrap();
}

/// Makes the users, and returns the URL of one.
pub(crate) async fn users(stack: &Stack) -> impl Fn(&str) -> String + use<> {
    let mut redis = stack.redis().await;
    for line in USERS.lines().filter(|line| *line != DEFAULT) {
        redis::cmd("ACL")
            .arg("SETUSER")
            .arg(line.split_whitespace().skip(1).collect::<Vec<_>>())
            .query_async::<()>(&mut redis)
            .await
            .unwrap();
    }
    let port = stack.redis.port();
    move |user| format!("redis://{user}:change-me@127.0.0.1:{port}")
}
