-- Secrets, one row a version. `box` is sealed under a key that PostgreSQL never sees; it is NULL in the row that a removed
-- secret leaves behind so that versions go on rising.
CREATE TABLE secrets (
    name VARCHAR(63) NOT NULL,
    version INTEGER NOT NULL,
    key_id VARCHAR(63) NOT NULL,
    box TEXT,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (name, version)
);

-- Which version of each secret an app, or a revision of it, uses: {"name": version}.
ALTER TABLE applications ADD COLUMN secret_versions JSONB NOT NULL DEFAULT '{}';
ALTER TABLE revisions ADD COLUMN secret_versions JSONB NOT NULL DEFAULT '{}';

-- The sealed form of pinned versions, as far as they are still there.
CREATE FUNCTION orchestry_secrets(pins JSONB) RETURNS JSONB LANGUAGE sql STABLE AS $$
    SELECT COALESCE(jsonb_agg(jsonb_build_object('name', s.name, 'version', s.version, 'keyID', s.key_id, 'box', s.box)
        ORDER BY s.name), '[]')
    FROM jsonb_each_text(pins) p JOIN secrets s ON s.name = p.key AND s.version = p.value::integer
    WHERE s.box IS NOT NULL
$$;

-- What was found out about a revision's image before its first instance, and what the image's tag meant.
ALTER TABLE applications ADD COLUMN image_review JSONB;
ALTER TABLE revisions ADD COLUMN image_digest VARCHAR(100);
