-- Backups on their way back: put here by the node that a client sent one to, taken from here by the leader.
CREATE TABLE staged_restores (
    checksum VARCHAR(100) PRIMARY KEY,
    document JSONB NOT NULL,
    staged_at TIMESTAMP WITH TIME ZONE NOT NULL
);

-- Inserts rows of a backup, one JSON object each. Columns that the backup lacks get their defaults, serial numbers are
-- given anew. A row of `applications` that is there is replaced (its app was deleted), all others stay as they are.
CREATE FUNCTION orchestry_restore_rows(target TEXT, rows JSONB) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    names TEXT;
    updates TEXT;
BEGIN
    SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum),
        string_agg(format('%1$I = EXCLUDED.%1$I', a.attname), ', ' ORDER BY a.attnum)
    INTO names, updates
    FROM pg_attribute a
    WHERE a.attrelid = quote_ident(target)::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        AND pg_get_serial_sequence(quote_ident(target), a.attname) IS NULL
        AND EXISTS (SELECT FROM jsonb_array_elements(rows) AS r WHERE r ? a.attname::text);
    IF names IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format(
        'INSERT INTO %1$I (%2$s) SELECT %2$s FROM jsonb_populate_recordset(NULL::%1$I, $1) ON CONFLICT %3$s',
        target, names,
        CASE WHEN target = 'applications' THEN '(name) DO UPDATE SET ' || updates ELSE 'DO NOTHING' END)
        USING rows;
END
$$;
