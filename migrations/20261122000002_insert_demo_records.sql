-- A thousand records, created once, so that /data shows something at the first start.
INSERT INTO records (name, value)
SELECT 'demo ' || n, 'the value of demo record ' || n
FROM generate_series(1, 1000) AS n
ORDER BY n;
