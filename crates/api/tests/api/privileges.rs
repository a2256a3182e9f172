//! The replicas' role in Postgres and user in Redis have exactly the privileges that the API needs.

use std::collections::HashMap;

use redis::{Cmd, Connection, RedisResult};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, postgres::PgConnectOptions, raw_sql};

use crate::{replica::Replica, servers::Servers};

/// Commands that the user may not run, and what Redis' log of denials calls them: the command or the key.
const FORBIDDEN: [(&str, &str); 18] = [
    ("FLUSHALL", "flushall"),
    ("FLUSHDB", "flushdb"),
    ("CONFIG GET maxmemory", "config|get"),
    ("KEYS *", "keys"),
    ("SCAN 0", "scan"),
    ("CLIENT LIST", "client|list"),
    ("CLIENT PAUSE 10", "client|pause"),
    ("CLIENT KILL TYPE normal", "client|kill"),
    ("ACL LIST", "acl|list"),
    ("MONITOR", "monitor"),
    ("SHUTDOWN", "shutdown"),
    ("REPLICAOF 127.0.0.1 1", "replicaof"),
    ("SUBSCRIBE channel", "subscribe"),
    ("SCRIPT FLUSH", "script|flush"),
    ("LPUSH record:v1:1 x", "lpush"),
    ("GET other", "other"),
    ("SET record:v2:1 x", "record:v2:1"),
    ("DEL page-generation:v10", "page-generation:v10"),
];

async fn database(url: &str) -> PgConnection {
    url.parse::<PgConnectOptions>().expect("an address").connect().await.expect("Postgres answers")
}

fn cache(url: &str) -> Connection {
    redis::Client::open(url).and_then(|client| client.get_connection()).expect("Redis answers")
}

fn ask(connection: &mut Connection, command: &str) -> RedisResult<redis::Value> {
    let mut words = command.split(' ');
    let mut built = Cmd::new();
    built.arg(words.next()).arg(words.collect::<Vec<_>>());
    built.query(connection)
}

#[tokio::test]
async fn the_role_in_postgres_writes_rows_and_owns_nothing() {
    let servers = Servers::shared();
    let mut app = database(&servers.database_url).await;
    for statement in [
        "ALTER TABLE records ADD COLUMN extra text",
        "DROP TABLE records",
        "TRUNCATE records",
        "CREATE TABLE mine (id int)",
        "CREATE TEMPORARY TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE ROLE friend",
        "ALTER ROLE app SUPERUSER",
        "SET ROLE migrator",
        "SET session_replication_role = replica",
        "ALTER SEQUENCE records_id_seq RESTART",
        "DELETE FROM _sqlx_migrations",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT passwd FROM pg_shadow",
    ] {
        let refused = raw_sql(AssertSqlSafe(statement)).execute(&mut app).await.expect_err(statement);
        let code = refused.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {refused}");
    }
    let owned = "SELECT count(*) FROM pg_shdepend WHERE refobjid = 'app'::regrole AND deptype = 'o'";
    let owned: i64 = sqlx::query_scalar(owned).fetch_one(&mut app).await.expect("counted");
    assert_eq!(owned, 0, "objects of the role");
    let needed = "BEGIN; INSERT INTO records (id, name, value) OVERRIDING SYSTEM VALUE \
                  VALUES (nextval('records_id_seq'), 'n', 'v'); ROLLBACK";
    raw_sql(needed).execute(&mut app).await.expect("rows and numbers of sequences are the role's to use");
}

#[tokio::test]
async fn what_a_later_migration_makes_can_be_used_by_the_role() {
    let servers = Servers::shared();
    let mut admin = database(&servers.database_admin_url).await;
    let made = "BEGIN; SET ROLE migrator; CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY, name text); \
                RESET ROLE; SET ROLE app; INSERT INTO later (name) VALUES ('a'); UPDATE later SET name = 'b'; \
                INSERT INTO later OVERRIDING SYSTEM VALUE VALUES (nextval('later_id_seq'), 'c'); DELETE FROM later; ROLLBACK";
    raw_sql(made).execute(&mut admin).await.expect("default privileges");
}

#[tokio::test]
async fn the_user_in_redis_has_the_cache_and_nothing_else() {
    let servers = Servers::shared();
    let mut app = cache(&servers.redis_url);
    for (command, _) in FORBIDDEN {
        let refused = ask(&mut app, command).expect_err(command);
        assert_eq!(refused.code(), Some("NOPERM"), "{command}: {refused}");
    }
    for command in
        ["PING", "TIME", "INFO", "GET record:v1:0", "MGET page-generation:v1 page:v1:0:1", "TYPE write-probe:1"]
    {
        ask(&mut app, command).unwrap_or_else(|error| panic!("{command}: {error}"));
    }
    let mut nobody = cache(&format!("redis://{}", servers.redis_url.rsplit('@').next().expect("an address")));
    assert_eq!(ask(&mut nobody, "PING").expect_err("no password").code(), Some("NOAUTH"));
}

/// Each command and key that the API uses has its rule: Redis records what it denied.
#[tokio::test]
async fn nothing_that_the_api_does_is_denied() {
    let replica = Replica::start_connected(&[("INSTANCE_NAME", "api-privileges"), ("NEAR_CACHE", "on")]);
    replica.wait_for_log(|line| line["message"] == "the near cache listens to Redis");
    let client = reqwest::Client::new();
    let body = json!({"name": "rights", "value": "of the least"});
    let created = client.post(replica.url("/data")).json(&body).header("idempotency-key", "privileges-1").send().await;
    let created: Value = created.expect("an answer").json().await.expect("a record");
    let path = replica.url(&format!("/data/{}", created["id"]));
    for (request, status) in [
        (client.get(&path), StatusCode::OK),
        (client.put(&path).json(&body), StatusCode::OK),
        (client.get(&path), StatusCode::OK),
        (client.get(replica.url("/data?limit=3")), StatusCode::OK),
        (client.get(replica.url("/data?limit=3")), StatusCode::OK),
        (client.delete(&path), StatusCode::NO_CONTENT),
        (client.get(&path), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(request.send().await.expect("an answer").status(), status);
    }
    let health: Value = client.get(replica.url("/health")).send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(health["status"], "pass", "{health}");

    let servers = Servers::shared();
    let mut admin = cache(&servers.redis_admin_url);
    let log = ask(&mut admin, "ACL LOG").expect("the log of what was denied");
    let log: Vec<HashMap<String, redis::Value>> = redis::from_redis_value(log).expect("one map per denial");
    let denied = log.into_iter().filter_map(|mut entry| entry.remove("object"));
    let denied: Vec<String> = denied.map(|object| redis::from_redis_value(object).expect("a name")).collect();
    // The others are the deliberate attempts of the test above.
    let unexpected: Vec<&String> =
        denied.iter().filter(|object| FORBIDDEN.iter().all(|(_, name)| name != object)).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}
