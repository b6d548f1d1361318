-- L9: the first lease statement on a promoted standby notices that, since the standby may lack leases that their holders
-- count on.

-- The server's timeline: one higher after each promotion. (Not from the control file: that follows only at the next
-- checkpoint.)
CREATE FUNCTION orchestry_timeline() RETURNS BIGINT LANGUAGE sql VOLATILE AS $$
    SELECT ('x' || lpad(left(pg_walfile_name(pg_current_wal_lsn()), 8), 16, '0'))::bit(64)::bigint
$$;

-- timeline: the server's when the row was last looked at. not_before: nobody acquires or goes solo earlier.
-- epoch_floor: acquired epochs are above it.
ALTER TABLE leader_lease
    ADD COLUMN timeline BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN not_before TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT to_timestamp(0),
    ADD COLUMN epoch_floor BIGINT NOT NULL DEFAULT 0;
UPDATE leader_lease SET timeline = orchestry_timeline();
