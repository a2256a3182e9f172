-- Which migrations have run is nobody's business but the migrator's. The replicas' role, where it is another one, gets the
-- rows of every new table (deploy/postgres/roles.sql), and so got those of sqlx's own.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'app' AND rolname <> current_user) THEN
        REVOKE ALL ON _sqlx_migrations FROM app;
    END IF;
END
$$;
