-- One row per Idempotency-Key of the last 24 hours: the hash of the body it came with, and what was created.
CREATE TABLE idempotency_keys (
    key         text PRIMARY KEY,
    fingerprint bytea NOT NULL,
    record_id   bigint,
    created     timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
