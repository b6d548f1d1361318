-- Tokens may be narrowed to verbs and apps; NULL: all. A name is free again once its token is revoked: the row stays for
-- the audit trail, which names tokens by name and time.
ALTER TABLE api_tokens
    ADD COLUMN verbs JSONB,
    ADD COLUMN apps JSONB,
    ADD COLUMN created_by TEXT NOT NULL DEFAULT '',
    ADD COLUMN revoked_by TEXT,
    DROP CONSTRAINT api_tokens_name_key;
CREATE UNIQUE INDEX idx_api_tokens_name_in_force ON api_tokens (name) WHERE revoked_at IS NULL;
