-- Every write that was asked for, accepted or refused, in one chain: an entry's hash covers the hash of the one before, so
-- that a changed, removed or inserted row breaks it. `record` is the very text that is hashed; nothing is kept beside it
-- that could be changed unnoticed.
CREATE TABLE audit (
    seq BIGINT PRIMARY KEY,
    record TEXT NOT NULL,
    hash BYTEA NOT NULL
);
CREATE INDEX idx_audit_app ON audit ((record::jsonb ->> 'app'), seq);

-- The last entry. Its row's lock puts entries in order, without gaps.
CREATE TABLE audit_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL,
    hash BYTEA NOT NULL
) WITH (fillfactor = 10);  -- Room for updates to stay on the page (HOT).
INSERT INTO audit_head VALUES (1, 0, sha256(''));

-- Adds an entry within the caller's transaction: hash = SHA-256 of "<seq> <hash before, hex> <record>" in UTF-8, the very
-- first one following SHA-256 of nothing.
CREATE FUNCTION orchestry_audit(entry TEXT) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    head audit_head%ROWTYPE;
    next_hash BYTEA;
BEGIN
    SELECT * INTO STRICT head FROM audit_head WHERE id = 1 FOR UPDATE;
    next_hash := sha256(convert_to(format('%s %s %s', head.seq + 1, encode(head.hash, 'hex'), entry), 'UTF8'));
    INSERT INTO audit (seq, record, hash) VALUES (head.seq + 1, entry, next_hash);
    UPDATE audit_head SET seq = head.seq + 1, hash = next_hash WHERE id = 1;
    RETURN head.seq + 1;
END
$$;
