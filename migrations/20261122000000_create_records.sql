-- Records. The version counts the writes of a record; the cache relies on it, so the table itself counts it: a row that
-- somebody changes by hand gets a new version, too. Ids are never given again.
CREATE TABLE records (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    value      text NOT NULL CHECK (octet_length(value) <= 16384),
    version    bigint NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION count_record_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE TRIGGER count_record_version BEFORE UPDATE ON records
    FOR EACH ROW EXECUTE FUNCTION count_record_version();
