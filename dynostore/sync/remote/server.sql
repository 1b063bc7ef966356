-- The server's side of the sync: dynostore.sync.server runs this once, in an empty schema.
-- Every function has a fixed search_path and runs as its owner, so that people who write to the
-- tables with plain SQL need no right on this schema.

CREATE SCHEMA dynostore_sync;

CREATE TABLE dynostore_sync.server (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id uuid NOT NULL,
    incarnation bigint NOT NULL,
    protocol integer NOT NULL,
    -- The version of dynostore that made or upgraded the tables.
    program text,
    -- Tombstones up to this number were purged: whose cursor is behind it must compare every key.
    horizon bigint NOT NULL DEFAULT 0
);
CREATE TABLE dynostore_sync.ancestor (
    incarnation bigint PRIMARY KEY,
    cut bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE dynostore_sync.node (
    id uuid PRIMARY KEY,
    no bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    name text NOT NULL,
    token bigint,
    -- Raised before a batch is given up as lost, so that it cannot be committed afterwards.
    epoch bigint NOT NULL DEFAULT 0,
    schema_version text NOT NULL,
    last_seen timestamptz NOT NULL DEFAULT now()
);
-- What became of each batch: the keys that were not applied as sent, and why.
CREATE TABLE dynostore_sync.node_history (
    node uuid NOT NULL REFERENCES dynostore_sync.node (id) ON DELETE CASCADE,
    token bigint NOT NULL,
    seq bigint NOT NULL,
    exceptions jsonb NOT NULL,
    PRIMARY KEY (node, token)
);
CREATE INDEX ON dynostore_sync.node_history (node, seq);

-- A key is in its table or here, never in both.
CREATE TABLE dynostore_sync.tombstone (
    tbl text COLLATE "C",
    key text COLLATE "C",
    rev bigint NOT NULL,
    seq bigint,
    node bigint NOT NULL,
    PRIMARY KEY (tbl, key)
);
CREATE INDEX ON dynostore_sync.tombstone (seq);
CREATE TABLE dynostore_sync.archive (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tbl text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    rev bigint,
    seq bigint,
    node bigint,
    why text NOT NULL,
    image text,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON dynostore_sync.archive (tbl, key);
CREATE INDEX ON dynostore_sync.archive (rev);

-- The clock. A counter row that is updated would make every REPEATABLE READ transaction of other
-- people fail at commit; a sequence without the lock would let readers pass by numbers whose
-- transactions commit later.
CREATE SEQUENCE dynostore_sync.seq;
CREATE TABLE dynostore_sync.tick (
    seq bigint PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON dynostore_sync.tick (at);
CREATE TABLE dynostore_sync.touched (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tbl regclass NOT NULL
);

CREATE FUNCTION dynostore_sync.rev() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT ('x' || left(replace(gen_random_uuid()::text, '-', ''), 16))::bit(64)::bigint
        & 9223372036854775807
$$;

CREATE FUNCTION dynostore_sync.take() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n bigint := nullif(current_setting('dynostore_sync.seq', true), '')::bigint;
BEGIN
    IF n IS NULL THEN
        PERFORM pg_advisory_xact_lock(1685679727, 1);  -- 'dyno'
        n := nextval('dynostore_sync.seq');
        INSERT INTO dynostore_sync.tick (seq) VALUES (n);
        PERFORM pg_notify('dynostore_sync', n::text);
        PERFORM set_config('dynostore_sync.seq', n::text, true);
    END IF;
    RETURN n;
END $$;

-- Plain SQL on a replicated table: a new revision now, a number at commit.
CREATE FUNCTION dynostore_sync.stamp() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.sync_rev := dynostore_sync.rev();
    NEW.sync_seq := NULL;
    NEW.sync_node := 0;
    RETURN NEW;
END $$;

-- The arguments of the row triggers are the key's column and the table, which for a row of a
-- partition is not the one that fires.
CREATE FUNCTION dynostore_sync.bury() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k text;
BEGIN
    -- Not to_jsonb(OLD): it fails on a row of 140 MiB.
    EXECUTE format('SELECT ($1).%I::text', TG_ARGV[0]) INTO k USING OLD;
    INSERT INTO dynostore_sync.tombstone VALUES (TG_ARGV[1], k, dynostore_sync.rev(), NULL, 0)
        ON CONFLICT (tbl, key) DO UPDATE SET rev = excluded.rev, seq = NULL, node = 0;
    INSERT INTO dynostore_sync.archive (tbl, key, rev, seq, node, why, image)
        VALUES (TG_ARGV[1], k, OLD.sync_rev, OLD.sync_seq, OLD.sync_node,
                'deleted by SQL', to_json(OLD)::text);
    RETURN NULL;
END $$;

-- Statistics of a table that was empty a moment ago must not make this a sequential scan.
CREATE FUNCTION dynostore_sync.unbury() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    k text;
BEGIN
    EXECUTE format('SELECT ($1).%I::text', TG_ARGV[0]) INTO k USING NEW;
    DELETE FROM dynostore_sync.tombstone WHERE tbl = TG_ARGV[1] AND key = k;
    RETURN NULL;
END $$;

CREATE FUNCTION dynostore_sync.touch() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO dynostore_sync.touched (tbl) VALUES (TG_RELID);
    RETURN NULL;
END $$;

CREATE FUNCTION dynostore_sync.bury_all() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format(
        'INSERT INTO dynostore_sync.archive (tbl, key, rev, seq, node, why, image)'
        ' SELECT %L, %I::text, sync_rev, sync_seq, sync_node, ''truncated'', to_json(sync_row)::text'
        ' FROM %s sync_row', TG_TABLE_NAME, TG_ARGV[0], TG_RELID::regclass);
    EXECUTE format(
        'INSERT INTO dynostore_sync.tombstone'
        ' SELECT %L, %I::text, dynostore_sync.rev(), NULL, 0 FROM %s'
        ' ON CONFLICT (tbl, key) DO UPDATE SET rev = excluded.rev, seq = NULL, node = 0',
        TG_TABLE_NAME, TG_ARGV[0], TG_RELID::regclass);
    INSERT INTO dynostore_sync.touched (tbl) VALUES (TG_RELID);
    RETURN NULL;
END $$;

-- At COMMIT: the only place where a plain SQL writer takes the clock.
CREATE FUNCTION dynostore_sync.settle() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    n bigint;
    -- Not a SET of the function's: that is a superuser's to give for a parameter of our own.
    before text := coalesce(current_setting('dynostore_sync.apply', true), '');
BEGIN
    DELETE FROM dynostore_sync.touched WHERE id = NEW.id;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    DELETE FROM dynostore_sync.touched WHERE tbl = NEW.tbl;
    n := dynostore_sync.take();
    PERFORM set_config('dynostore_sync.apply', 'on', true);
    EXECUTE format('UPDATE %s SET sync_seq = $1 WHERE sync_seq IS NULL', NEW.tbl) USING n;
    UPDATE dynostore_sync.tombstone SET seq = n WHERE seq IS NULL;
    PERFORM set_config('dynostore_sync.apply', before, true);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER settle AFTER INSERT ON dynostore_sync.touched
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dynostore_sync.settle();

-- Makes a table replicate; rows that are there get a revision and a number.
CREATE FUNCTION dynostore_sync.attach(t regclass, k name) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    captured text := 'coalesce(current_setting(''dynostore_sync.apply'', true), '''') <> ''on''';
    made text;
    called name := (SELECT relname FROM pg_class WHERE oid = t);
    before text := coalesce(current_setting('dynostore_sync.apply', true), '');
BEGIN
    PERFORM set_config('dynostore_sync.apply', 'on', true);
    EXECUTE format('ALTER TABLE %s ADD COLUMN IF NOT EXISTS sync_rev bigint,'
        ' ADD COLUMN IF NOT EXISTS sync_seq bigint,'
        ' ADD COLUMN IF NOT EXISTS sync_node bigint', t);
    EXECUTE format('UPDATE %s SET sync_rev = dynostore_sync.rev(), sync_seq = $1, sync_node = 0'
        ' WHERE sync_rev IS NULL', t) USING dynostore_sync.take();
    EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s (sync_seq)',
        called || '_sync_seq', t);
    FOREACH made IN ARRAY ARRAY[
        'zz_sync_stamp BEFORE INSERT OR UPDATE ON %1$s FOR EACH ROW WHEN (%2$s)'
            ' EXECUTE FUNCTION dynostore_sync.stamp()',
        'zz_sync_bury AFTER DELETE ON %1$s FOR EACH ROW WHEN (%2$s)'
            ' EXECUTE FUNCTION dynostore_sync.bury(%4$L, %5$L)',
        'zz_sync_unbury AFTER INSERT ON %1$s FOR EACH ROW WHEN (%2$s)'
            ' EXECUTE FUNCTION dynostore_sync.unbury(%4$L, %5$L)',
        'zz_sync_rekey_old AFTER UPDATE ON %1$s FOR EACH ROW'
            ' WHEN (%2$s AND OLD.%3$I IS DISTINCT FROM NEW.%3$I)'
            ' EXECUTE FUNCTION dynostore_sync.bury(%4$L, %5$L)',
        'zz_sync_rekey_put AFTER UPDATE ON %1$s FOR EACH ROW'
            ' WHEN (%2$s AND OLD.%3$I IS DISTINCT FROM NEW.%3$I)'
            ' EXECUTE FUNCTION dynostore_sync.unbury(%4$L, %5$L)',
        'zz_sync_touch AFTER INSERT OR UPDATE OR DELETE ON %1$s FOR EACH STATEMENT WHEN (%2$s)'
            ' EXECUTE FUNCTION dynostore_sync.touch()',
        'zz_sync_truncate BEFORE TRUNCATE ON %1$s FOR EACH STATEMENT WHEN (%2$s)'
            ' EXECUTE FUNCTION dynostore_sync.bury_all(%4$L)']
    LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER ' || made, t, captured, k, k, called);
    END LOOP;
    PERFORM set_config('dynostore_sync.apply', before, true);
END $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA dynostore_sync FROM PUBLIC;
