//! Calling scripts and commands of Redis.

use std::sync::LazyLock;

use contract::ShowId;
use platform::cache::Cache;
use redis::{FromRedisValue, Script, ScriptInvocation};
use store::line_marks::Stretch;
use tracing::warn;

use super::keys::LineKeys;
use crate::LineError;

macro_rules! scripts {
    ($($name:ident = $file:literal;)+) => {$(
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                include_str!("prelude.lua"),
                include_str!(concat!($file, ".lua")),
            ))
        });
    )+};
}

scripts! {
    OPEN = "open";
    JOIN = "join";
    TOUCH = "touch";
    RELEASE = "release";
    FORSAKE = "forsake";
    GIVE_UP = "give_up";
    RECALL = "recall";
    RESTORED = "restored";
    LEAVE = "leave";
    USED = "used";
    ADMIT = "admit";
    SETTLE = "settle";
    SWEEP = "sweep";
}

/// The lines in Redis: calls the scripts on a connection.
#[derive(Clone)]
pub(crate) struct LineStore {
    pub(crate) cache: Cache,
}

impl LineStore {
    pub(super) async fn query<T: FromRedisValue>(
        &self,
        command: &redis::Cmd,
    ) -> Result<T, LineError> {
        let mut connection = self.cache.connection()?;
        Ok(self.cache.observe(command.query_async(&mut connection).await)?)
    }

    pub(super) async fn run<T: FromRedisValue>(
        &self,
        name: &'static str,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, LineError> {
        let mut connection = self.cache.connection()?;
        let answer = self.cache.observe(call.invoke_async(&mut connection).await);
        Ok(answer.inspect_err(|_| {
            metrics::counter!("usher_line_script_failed_total", "script" => name).increment(1);
        })?)
    }
}

pub(super) fn with_keys<'a>(script: &'a Script, keys: &LineKeys) -> ScriptInvocation<'a> {
    let mut call = script.prepare_invoke();
    for key in keys.all() {
        call.key(key);
    }
    call
}

pub(super) fn add_stretch(call: &mut ScriptInvocation<'_>, stretch: Stretch) {
    call.arg(stretch.rule.version).arg(u8::from(stretch.rule.drawn)).arg(stretch.base);
}

/// Reports that Redis lacked changes, so that the script gave up the line.
pub(super) fn note_behind(show: ShowId, answer: &[String]) {
    if answer.get(1).is_some_and(|why| why == "BEHIND") {
        metrics::counter!("usher_line_behind_total").increment(1);
        warn!(%show, "redis lacks changes or is another instance; the line begins anew");
    }
}
