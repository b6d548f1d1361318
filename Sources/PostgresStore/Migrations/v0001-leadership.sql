-- What an election needs, and nothing else: any node may apply this one, the rest only the leader does.

-- One row. `epoch` is part of a unique key so that a fenced transaction's FOR KEY SHARE does not wait for renewals
-- (they leave the key alone), while a takeover, which changes the key, waits for every fenced transaction.
CREATE TABLE leader_lease (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    leader_id VARCHAR(63) NOT NULL,
    epoch BIGINT NOT NULL,
    mode VARCHAR(10) NOT NULL CHECK (mode IN ('quorum', 'solo')),
    seq BIGINT NOT NULL,
    acquired_at TIMESTAMP WITH TIME ZONE NOT NULL,
    renewed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    prior_expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    hostname TEXT NOT NULL,
    api_url TEXT NOT NULL,
    UNIQUE (id, epoch)
) WITH (fillfactor = 10);  -- Room for renewals to stay on the page (HOT).

-- An empty leader_id means: nobody has led yet.
INSERT INTO leader_lease VALUES (
    1, '', 0, 'quorum', 0, to_timestamp(0), to_timestamp(0), to_timestamp(0), to_timestamp(0), '', '');

-- First statement of every transaction that changes shared state. The lock is held to the transaction's end.
CREATE FUNCTION orchestry_fence(writer TEXT, writer_epoch BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    lease RECORD;
BEGIN
    SELECT leader_id, epoch INTO lease FROM leader_lease WHERE id = 1 FOR KEY SHARE;
    IF NOT FOUND OR lease.epoch <> writer_epoch OR lease.leader_id <> writer THEN
        RAISE EXCEPTION USING
            ERRCODE = 'ORF01',
            MESSAGE = format('epoch %s of %s is over: the lease is %s''s, epoch %s', writer_epoch, writer,
                COALESCE(NULLIF(lease.leader_id, ''), 'nobody'), COALESCE(lease.epoch, 0));
    END IF;
END
$$;
