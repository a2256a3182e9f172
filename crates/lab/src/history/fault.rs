//! The faults of a history: how each is injected and undone, and whether Redis receives writes meanwhile.

use std::{fmt, time::Duration};

use stack::{FaultKind, Operation, ServerFault, Stack, StackError, Target};

use crate::admin::{Postgres, Redis};

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A server is killed, stopped, paused or cut off.
    Server(ServerFault, Target),
    /// Redis loses all keys.
    Flush,
    /// Redis answers reads and delays writes.
    HoldWrites,
    /// Redis answers reads and refuses writes, because it follows a primary that does not exist.
    RefuseWrites,
    /// Some entries are replaced by garbage, another record's entry, or an enormous value. The number selects which.
    Poison(u32),
    /// Postgres refuses writes.
    ReadOnly,
    /// A column changes its type while statements on it are prepared.
    Retype,
    /// Postgres ends every connection of the replicas.
    Terminate,
    /// Postgres' answers come late, and some of them too late: a write is done, and its replica does not know.
    Late,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(kind, target) => write!(f, "{kind} {target}"),
            Self::Flush => f.write_str("redis forgets everything"),
            Self::HoldWrites => f.write_str("redis holds writes up"),
            Self::RefuseWrites => f.write_str("redis refuses writes"),
            Self::Poison(_) => f.write_str("entries are poisoned"),
            Self::ReadOnly => f.write_str("postgres is read-only"),
            Self::Retype => f.write_str("a column's type changes"),
            Self::Terminate => f.write_str("postgres ends all connections"),
            Self::Late => f.write_str("postgres answers late"),
        }
    }
}

/// Around the 100 ms that most answers of Postgres may take, and beyond the 175 ms that a replica waits for one.
const LATE: FaultKind =
    FaultKind::Slow { latency: Duration::from_millis(100), jitter: Duration::from_millis(90), bandwidth: None };

/// Longer than any fault is held; it is undone before.
const HOLD_MS: &str = "60000";

/// Overwrites up to four entries. ARGV: the number that selects which, and how.
const POISON: &str = "
local keys = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if string.find(key, '^record:') or string.find(key, '^page:') then keys[#keys + 1] = key end
end
table.sort(keys)
for n = 1, math.min(#keys, 4) do
  local place = ARGV[1] * 7 + n * 7919
  local key, other = keys[1 + place % #keys], keys[1 + (place + 1) % #keys]
  local kind = (ARGV[1] + n) % 5
  local taken = redis.pcall('GET', other)
  if kind == 0 then redis.call('SET', key, 'junk')
  elseif kind == 1 then redis.call('DEL', key) redis.call('LPUSH', key, 'x')
  elseif kind == 2 then redis.call('SET', key, '')
  elseif kind == 3 then redis.call('SET', key, string.rep('x', 400000))
  elseif type(taken) == 'string' then redis.call('SET', key, taken)
  end
end
return redis.status_reply('OK')
";

/// Waiting for the pending queries would mean waiting for the load; both types hold the same values.
const RETYPE: &str = "DO $$ BEGIN
  IF (SELECT data_type FROM information_schema.columns WHERE table_name = 'records' AND column_name = 'value') = 'text'
  THEN ALTER TABLE records ALTER value TYPE varchar; ELSE ALTER TABLE records ALTER value TYPE text; END IF;
END $$";

const TERMINATE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";

impl Fault {
    /// The name by which a schedule is restricted: `pause-api`, `kill-redis`, `hold-writes`.
    pub(super) fn word(self) -> String {
        match self {
            Self::Server(kind, Target::Api(_)) => format!("{kind}-api"),
            Self::Server(kind, target) => format!("{kind}-{target}"),
            Self::Flush => "flush".to_owned(),
            Self::HoldWrites => "hold-writes".to_owned(),
            Self::RefuseWrites => "refuse-writes".to_owned(),
            Self::Poison(_) => "poison".to_owned(),
            Self::ReadOnly => "read-only".to_owned(),
            Self::Retype => "alter-column".to_owned(),
            Self::Terminate => "end-connections".to_owned(),
            Self::Late => "slow-postgres".to_owned(),
        }
    }

    /// Whether Redis may miss a write while it lasts.
    pub(super) fn keeps_redis_from_writes(self) -> bool {
        match self {
            Self::Server(_, Target::Redis) | Self::HoldWrites => true,
            // A cache that refuses writes is not read, so no stale entry is served.
            Self::RefuseWrites
            | Self::Server(_, Target::Postgres | Target::Nginx | Target::Api(_))
            | Self::Flush
            | Self::Poison(_)
            | Self::ReadOnly
            | Self::Retype
            | Self::Terminate
            | Self::Late => false,
        }
    }

    /// Whether a replica ends, and with it its list of missed writes.
    pub(super) fn ends_a_replica(self) -> bool {
        match self {
            Self::Server(ServerFault::Kill | ServerFault::Stop | ServerFault::Crash, Target::Api(_)) => true,
            Self::Server(ServerFault::Pause | ServerFault::Cut, Target::Api(_))
            | Self::Server(_, Target::Redis | Target::Postgres | Target::Nginx)
            | Self::Flush
            | Self::HoldWrites
            | Self::RefuseWrites
            | Self::Poison(_)
            | Self::ReadOnly
            | Self::Retype
            | Self::Terminate
            | Self::Late => false,
        }
    }

    /// Whether it puts a proxy between the replicas and a server, which restarts them the first time.
    pub(super) fn needs_a_proxy(self) -> bool {
        self == Self::Late
    }

    /// Whether a write in doubt is one like any other: its replica waits in vain, and is there to tell Redis at once.
    pub(super) fn leaves_doubt_to_the_replica(self) -> bool {
        self == Self::Late
    }

    pub(super) fn bring_about(self, stack: &Stack, operation: &Operation<'_>) -> Result<(), StackError> {
        match self {
            Self::Server(kind, target) => stack.inject(kind.into(), target, operation).map(drop),
            Self::Flush => redis(stack, &["FLUSHALL"]),
            Self::HoldWrites => redis(stack, &["CLIENT", "PAUSE", HOLD_MS, "WRITE"]),
            // Port 1 of this machine: a primary that refuses every connection.
            Self::RefuseWrites => redis(stack, &["REPLICAOF", "127.0.0.1", "1"]),
            Self::Poison(number) => redis(stack, &["EVAL", POISON, "0", &number.to_string()]),
            Self::ReadOnly => set_read_only(stack, true),
            Self::Retype => Postgres::connect(stack)?.run(RETYPE),
            Self::Terminate => Postgres::connect(stack)?.run(TERMINATE),
            Self::Late => stack.inject(LATE, Target::Postgres, operation).map(drop),
        }
    }

    /// Some faults happen once and need no undo.
    pub(super) fn undo(self, stack: &Stack, operation: &Operation<'_>) -> Result<(), StackError> {
        match self {
            Self::Server(_, target) => stack.heal(Some(target), operation).map(drop),
            Self::Late => stack.heal(Some(Target::Postgres), operation).map(drop),
            Self::HoldWrites => redis(stack, &["CLIENT", "UNPAUSE"]),
            Self::RefuseWrites => redis(stack, &["REPLICAOF", "NO", "ONE"]),
            Self::ReadOnly => set_read_only(stack, false),
            Self::Flush | Self::Poison(_) | Self::Retype | Self::Terminate => Ok(()),
        }
    }
}

fn redis(stack: &Stack, words: &[&str]) -> Result<(), StackError> {
    Redis::connect(stack)?.run(words)
}

fn set_read_only(stack: &Stack, on: bool) -> Result<(), StackError> {
    let mut postgres = Postgres::connect(stack)?;
    postgres.run(&format!("ALTER SYSTEM SET default_transaction_read_only = {}", if on { "on" } else { "off" }))?;
    postgres.run("SELECT pg_reload_conf()")
}
