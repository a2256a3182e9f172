//! Scripts in Redis. A script is sent by its hash, and in full when Redis does not know it (after a restart, or at its
//! first use).

use deadpool_redis::redis::{Cmd, FromRedisValue, Script};
use resilience::deadline::Deadline;

use crate::dependencies::redis::{Redis, RedisError};

/// One script. Every script must be safe to run twice, and late.
#[derive(Debug)]
pub(super) struct CacheScript {
    source: &'static str,
    hash: String,
}

impl CacheScript {
    pub(super) fn new(source: &'static str) -> Self {
        Self { source, hash: Script::new(source).get_hash().to_owned() }
    }

    /// Runs it. `arguments` appends the number of keys, the keys and the arguments.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        redis: &Redis,
        deadline: Deadline,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<T, RedisError> {
        let call = |verb: &str, script: &str| {
            let mut command = Cmd::new();
            command.arg(verb).arg(script);
            arguments(&mut command);
            command
        };
        match redis.call(deadline, &call("EVALSHA", &self.hash)).await {
            Err(RedisError::UnknownScript) => redis.call(deadline, &call("EVAL", self.source)).await,
            answer => answer,
        }
    }
}
