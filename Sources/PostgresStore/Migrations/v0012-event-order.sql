-- Who follows the events asks for ids above the last one it has. That misses nothing only if ids become visible in their
-- order: a transaction that took id 5 and commits after one that took 6 would have been passed by. So transactions that
-- insert events come one after the other, from before their first id is taken (a statement's trigger runs before its
-- first row is made) to after they are visible (locks go after that). An event's id is thus its place in the order of
-- commits, whichever node, leader or release wrote it. Ids of transactions that were undone are missing.
--
-- Nobody waits for long: the transactions are sent whole, only the leader sends them, and its lock_timeout counts here too.
CREATE FUNCTION orchestry_event_order() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    -- A rehearsal's events never become visible, and nobody is to wait for it.
    IF current_setting('orchestry.rehearsal', TRUE) IS DISTINCT FROM 'on' THEN
        PERFORM pg_advisory_xact_lock(8030593372842460517);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER events_in_order BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION orchestry_event_order();

-- Rows move into a new partition while it is made: a statement that was planned just before sees them neither here nor
-- there. Readers who must miss nothing hold this lock shared.
CREATE OR REPLACE FUNCTION orchestry_add_partition(parent TEXT, starts TIMESTAMP WITH TIME ZONE, step INTERVAL)
RETURNS BOOLEAN LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    child TEXT := parent || '_' || to_char(starts, 'YYYYMMDD');
    ends TIMESTAMP WITH TIME ZONE := starts + step;
BEGIN
    IF to_regclass(quote_ident(child)) IS NOT NULL THEN
        RETURN FALSE;
    END IF;
    PERFORM pg_advisory_xact_lock(8030593372842460518);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', child, parent);
    EXECUTE format(
        'WITH moved AS (DELETE FROM %I WHERE timestamp >= %L AND timestamp < %L RETURNING *) '
        'INSERT INTO %I SELECT * FROM moved', parent || '_default', starts, ends, child);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, starts, ends);
    RETURN TRUE;
END
$$;
