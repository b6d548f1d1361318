-- Events get a partition a day, as metrics have. Bounds are read from the catalogue, so that the months that earlier
-- releases made stay, rows and all, until they are past retention.

-- The partitions of `parent` with a lower and an upper bound, oldest first.
CREATE FUNCTION orchestry_partitions(parent TEXT)
RETURNS TABLE (child TEXT, starts TIMESTAMP WITH TIME ZONE, ends TIMESTAMP WITH TIME ZONE)
LANGUAGE sql STABLE SET timezone = 'UTC' AS $$
    SELECT c.relname::text, bounds[1]::timestamptz, bounds[2]::timestamptz
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL regexp_match(
        pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') AS bounds
    WHERE i.inhparent = quote_ident(parent)::regclass AND bounds IS NOT NULL
    ORDER BY 2
$$;

-- Makes the partition of `parent` that begins at `starts`, named `<parent>_YYYYMMDD`, and moves into it what the default
-- partition holds of its time, unless another covers some of it. Returns whether it was missing.
CREATE OR REPLACE FUNCTION orchestry_add_partition(parent TEXT, starts TIMESTAMP WITH TIME ZONE, step INTERVAL)
RETURNS BOOLEAN LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    child TEXT := parent || '_' || to_char(starts, 'YYYYMMDD');
    ends TIMESTAMP WITH TIME ZONE := starts + step;
    first TIMESTAMP WITH TIME ZONE := starts;
BEGIN
    IF to_regclass(quote_ident(child)) IS NOT NULL
        OR EXISTS (SELECT FROM orchestry_partitions(parent) p WHERE p.starts < first + step AND p.ends > first) THEN
        RETURN FALSE;
    END IF;
    -- As before: readers who must miss nothing hold this lock shared.
    PERFORM pg_advisory_xact_lock(8030593372842460518);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child, parent);
    EXECUTE format(
        'WITH moved AS (DELETE FROM %I WHERE timestamp >= %L AND timestamp < %L RETURNING *) '
        'INSERT INTO %I SELECT * FROM moved', parent || '_default', starts, ends, child);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, starts, ends);
    RETURN TRUE;
END
$$;

-- Partitions of `parent` that end at or before `cutoff`, oldest first. What the default partition holds from before then
-- (the clock of its writer was far off) gets partitions of its days first, so that there is one way for rows to go.
CREATE FUNCTION orchestry_expired_partitions(parent TEXT, cutoff TIMESTAMP WITH TIME ZONE)
RETURNS TABLE (child TEXT, starts TIMESTAMP WITH TIME ZONE, ends TIMESTAMP WITH TIME ZONE)
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    days TIMESTAMP WITH TIME ZONE[];
    day TIMESTAMP WITH TIME ZONE;
BEGIN
    EXECUTE format(
        'SELECT array_agg(d) FROM (SELECT DISTINCT date_trunc(''day'', timestamp) AS d FROM %I '
        'WHERE timestamp < $1 ORDER BY 1 LIMIT 100) AS late', parent || '_default')
        INTO days USING cutoff;
    FOREACH day IN ARRAY COALESCE(days, '{}') LOOP
        PERFORM orchestry_add_partition(parent, day, interval '1 day');
    END LOOP;
    RETURN QUERY SELECT p.child, p.starts, p.ends FROM orchestry_partitions(parent) p WHERE p.ends <= cutoff
        ORDER BY p.starts;
END
$$;

-- Drops a partition of `parent`. With `expected` only while it holds so many rows: what came after it was archived stays.
-- Returns whether it is gone.
CREATE FUNCTION orchestry_drop_partition(parent TEXT, victim TEXT, expected BIGINT)
RETURNS BOOLEAN LANGUAGE plpgsql AS $$
DECLARE
    found BIGINT;
BEGIN
    IF NOT EXISTS (SELECT FROM orchestry_partitions(parent) p WHERE p.child = victim) THEN
        RETURN TRUE;
    END IF;
    IF expected IS NOT NULL THEN
        EXECUTE format('LOCK TABLE %I IN SHARE MODE', victim);
        EXECUTE format('SELECT count(*) FROM %I', victim) INTO found;
        IF found <> expected THEN
            RETURN FALSE;
        END IF;
    END IF;
    EXECUTE format('DROP TABLE %I', victim);
    RETURN TRUE;
END
$$;

DROP FUNCTION orchestry_drop_partitions(TEXT, TIMESTAMP WITH TIME ZONE, INTERVAL);

-- Months made ahead, which nothing is in, would keep their days from being made.
DO $$
DECLARE
    month RECORD;
    isEmpty BOOLEAN;
BEGIN
    FOR month IN SELECT * FROM orchestry_partitions('events') p
        WHERE p.starts > clock_timestamp() AND p.ends > p.starts + interval '1 day'
    LOOP
        EXECUTE format('SELECT NOT EXISTS (SELECT FROM %I)', month.child) INTO isEmpty;
        IF isEmpty THEN
            EXECUTE format('DROP TABLE %I', month.child);
        END IF;
    END LOOP;
END
$$;
