//! The users of Redis that `deploy/` has.

use super::stack::Stack;

const USERS: &str = include_str!("../../../deploy/redis/users.acl");

/// Makes the users, and returns the URL of one.
pub(crate) async fn users(stack: &Stack) -> impl Fn(&str) -> String + use<> {
    let mut redis = stack.redis().await;
    for line in USERS.lines().filter(|line| line.starts_with("user ")) {
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
