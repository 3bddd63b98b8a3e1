//! The scripts that move packages. Each validates first and changes last, as Redis rolls nothing back.

use redis::Script;

/// All scripts, ready to be called by their hash.
pub(super) struct Scripts {
    pub(super) adopt: Script,
    pub(super) settle: Script,
    pub(super) delay: Script,
    pub(super) bury: Script,
    pub(super) recover: Script,
    pub(super) promote: Script,
    pub(super) renew: Script,
    pub(super) pauses: Script,
    pub(super) enter: Script,
    pub(super) leave: Script,
    pub(super) ping: Script,
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
        Self {
            adopt: script(include_str!("scripts/adopt.lua")),
            settle: script(include_str!("scripts/settle.lua")),
            delay: script(include_str!("scripts/delay.lua")),
            bury: script(include_str!("scripts/bury.lua")),
            recover: script(include_str!("scripts/recover.lua")),
            promote: script(include_str!("scripts/promote.lua")),
            renew: script(include_str!("scripts/renew.lua")),
            pauses: script(include_str!("scripts/pauses.lua")),
            enter: script(include_str!("scripts/enter.lua")),
            leave: script(include_str!("scripts/leave.lua")),
            ping: script(include_str!("scripts/ping.lua")),
        }
    }

    pub(super) fn all(&self) -> [&Script; 11] {
        [
            &self.adopt,
            &self.settle,
            &self.delay,
            &self.bury,
            &self.recover,
            &self.promote,
            &self.renew,
            &self.pauses,
            &self.enter,
            &self.leave,
            &self.ping,
        ]
    }
}
