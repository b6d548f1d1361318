-- The turn of the last write of desired state. The fence keeps the transactions of former leaders out; this keeps out a
-- leader's own that the network held back until after it had given them up and written something else.
CREATE TABLE write_turns (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch BIGINT NOT NULL,
    turn BIGINT NOT NULL
) WITH (fillfactor = 10);  -- Room for updates to stay on the page (HOT).
INSERT INTO write_turns VALUES (1, 0, 0);

-- After the fence, in every transaction that writes desired state. One turn may be tried several times (its idempotency
-- key tells whether it was carried out), but not after a later one. The row's lock puts transactions in order.
CREATE FUNCTION orchestry_take_turn(writer_epoch BIGINT, writer_turn BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    UPDATE write_turns SET epoch = writer_epoch, turn = writer_turn
    WHERE id = 1 AND (epoch, turn) <= (writer_epoch, writer_turn);
    IF NOT FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'ORF02', MESSAGE = format('turn %s of epoch %s comes too late', writer_turn, writer_epoch);
    END IF;
END
$$;
