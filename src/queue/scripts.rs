//! The scripts that move packages. Each looks first and changes last, as Redis rolls nothing back: a package is added
//! where it goes before it is removed from where it was, and the removal is tried before that in a way that changes
//! nothing (`HDEL` of a field without a name, `LTRIM` that keeps all), so that neither a key of a wrong type nor a
//! missing right comes in between.

use redis::aio::ConnectionLike;
use redis::{ErrorKind, FromRedisValue, RedisResult, Script, ScriptInvocation, ServerErrorKind};

/// A server that loses its scripts each time they have just been loaded has another fault.
pub(super) const LOADS: u32 = 3;

/// Runs a script, loading it as often as the server has lost it.
pub(super) async fn invoke<T: FromRedisValue>(
    call: &ScriptInvocation<'_>,
    connection: &mut impl ConnectionLike,
) -> RedisResult<T> {
    let mut loads = 0;
    loop {
        match call.invoke_async(connection).await {
            Err(error) if is_lost(&error) && loads < LOADS => loads += 1,
            result => return result,
        }
    }
}

/// Whether an error says that the server does not have the script any more.
pub(super) fn is_lost(error: &redis::RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Whether an error says that the server has no free memory.
pub(super) fn is_full(error: &redis::RedisError) -> bool {
    let errors = error.clone().into_server_errors().unwrap_or_default();
    errors.iter().any(|(_, error)| error.code() == "OOM")
}

/// All scripts, ready to be called by their hash.
pub(super) struct Scripts {
    pub(super) adopt: Script,
    pub(super) tell: Script,
    pub(super) delay: Script,
    pub(super) bury: Script,
    pub(super) recover: Script,
    pub(super) tick: Script,
    pub(super) renew: Script,
    pub(super) enter: Script,
    pub(super) leave: Script,
    pub(super) report: Script,
    pub(super) ping: Script,
    pub(super) in_hand: Script,
    pub(super) suspect: Script,
    pub(super) park: Script,
    pub(super) wake: Script,
}

impl Scripts {
    /// `with_flags`: Redis 7 and later can be told that a script may run when memory is full. All of these
    /// may: they move or remove packages, and a full Redis is emptied by nothing else, or they say that the
    /// worker that does so is alive.
    pub(super) fn new(with_flags: bool) -> Self {
        let script = |code: &str| {
            let flags = if with_flags { "#!lua flags=allow-oom\n" } else { "" };
            Script::new(&format!("{flags}{code}"))
        };
        let some = include_str!("scripts/some.lua");
        let give_back = include_str!("scripts/give_back.lua");
        let script_that_gives_back = |code: &str| script(&format!("{some}{give_back}{code}"));
        let suspects = include_str!("scripts/suspects.lua");
        let script_that_knows_suspects = |code: &str| script(&format!("{suspects}{code}"));
        let provider = include_str!("scripts/provider.lua");
        let script_on_providers = |code: &str| script_that_gives_back(&format!("{provider}{code}"));
        Self {
            adopt: script_that_knows_suspects(&format!("{some}{}", include_str!("scripts/adopt.lua"))),
            tell: script(include_str!("scripts/tell.lua")),
            delay: script(include_str!("scripts/delay.lua")),
            bury: script(include_str!("scripts/bury.lua")),
            recover: script_that_gives_back(include_str!("scripts/recover.lua")),
            tick: script_on_providers(include_str!("scripts/tick.lua")),
            renew: script(include_str!("scripts/renew.lua")),
            enter: script_on_providers(include_str!("scripts/enter.lua")),
            leave: script_on_providers(include_str!("scripts/leave.lua")),
            report: script_on_providers(include_str!("scripts/report.lua")),
            ping: script(include_str!("scripts/ping.lua")),
            in_hand: script_that_knows_suspects(include_str!("scripts/in_hand.lua")),
            suspect: script(include_str!("scripts/suspect.lua")),
            park: script(include_str!("scripts/park.lua")),
            wake: script_that_gives_back(include_str!("scripts/wake.lua")),
        }
    }

    pub(super) fn all(&self) -> [&Script; 15] {
        [
            &self.adopt,
            &self.tell,
            &self.delay,
            &self.bury,
            &self.recover,
            &self.tick,
            &self.renew,
            &self.enter,
            &self.leave,
            &self.report,
            &self.ping,
            &self.in_hand,
            &self.suspect,
            &self.park,
            &self.wake,
        ]
    }
}
