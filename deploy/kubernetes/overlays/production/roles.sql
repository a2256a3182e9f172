-- Generated from deploy/postgres/roles.sql: generate.py
-- No passwords: the operator sets them after this has run.
SET stack.superuser_password = '';
SET stack.migrator_password = '';
SET stack.app_password = '';

-- The roles of the database and their privileges. Both drivers run this as a superuser at every start, before the
-- migrations: compose with psql, `lab up` with `postgres --single -j` (where a statement ends at a semicolon and an empty
-- line). It is idempotent. The passwords are set before, as settings of the session: stack.superuser_password,
-- stack.migrator_password, stack.app_password.
--
--   migrator   owns the database and everything in it; only `api migrate` uses it
--   app        reads and writes rows, and owns nothing: the replicas' role

-- Prevents errors from writing a password to a log.
SET log_error_verbosity = terse;

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['migrator', 'app'] LOOP
        IF role = session_user THEN
            RAISE EXCEPTION 'the superuser cannot be called %, which is the name of a role of the stack', role;
        END IF;
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I', role);
        END IF;
        EXECUTE format(
            'ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD %L',
            role, current_setting('stack.' || role || '_password'));
    END LOOP;
    EXECUTE format('ALTER ROLE %I PASSWORD %L', session_user, current_setting('stack.superuser_password'));
END
$$;

-- Objects that an earlier version created as the superuser or `app` become the migrator's. Sequences follow their table.
DO $$
DECLARE
    name text;
BEGIN
    EXECUTE format('ALTER DATABASE %I OWNER TO migrator', current_database());
    FOR name IN
        SELECT oid::regclass::text FROM pg_class AS found
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
            AND relowner <> 'migrator'::regrole
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = found.oid AND deptype = 'e')
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO migrator', name);
    END LOOP;
    FOR name IN
        SELECT oid::regprocedure::text FROM pg_proc AS found
        WHERE pronamespace = 'public'::regnamespace AND proowner <> 'migrator'::regrole
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = found.oid AND deptype = 'e')
    LOOP
        EXECUTE format('ALTER ROUTINE %s OWNER TO migrator', name);
    END LOOP;
END
$$;

-- No other role may connect, and only the migrator may create objects. (Before Postgres 15 every role could.)
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC, app', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO app', current_database());
END
$$;

REVOKE ALL ON SCHEMA public FROM PUBLIC, app;

GRANT USAGE, CREATE ON SCHEMA public TO migrator;

GRANT USAGE ON SCHEMA public TO app;

-- Rows of every existing and future table, and values of every sequence.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app;

GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO app;

ALTER DEFAULT PRIVILEGES FOR ROLE migrator IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO app;

ALTER DEFAULT PRIVILEGES FOR ROLE migrator IN SCHEMA public GRANT USAGE ON SEQUENCES TO app;

-- The replicas need no access to the list of migrations.
DO $$
BEGIN
    IF to_regclass('public._sqlx_migrations') IS NOT NULL THEN
        REVOKE ALL ON public._sqlx_migrations FROM app;
    END IF;
END
$$;

