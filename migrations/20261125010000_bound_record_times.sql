-- Times that can be written as RFC 3339: years 1 to 9999, no infinity. Triggers can be switched off
-- (session_replication_role), a CHECK cannot. NOT VALID: rows that are there already are not looked at, so that the table
-- is not locked for a scan; the service leaves such a row out of its pages and says so in its log.
ALTER TABLE records ADD CONSTRAINT records_updated_at_check
    CHECK (updated_at >= '0001-01-01 00:00:00+00' AND updated_at < '10000-01-01 00:00:00+00') NOT VALID;
