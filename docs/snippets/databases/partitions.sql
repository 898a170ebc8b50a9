ALTER TABLE device_sessions RENAME TO device_sessions_whole;

CREATE TABLE device_sessions (LIKE device_sessions_whole INCLUDING DEFAULTS)
  PARTITION BY RANGE (id);
ALTER TABLE device_sessions
  ADD PRIMARY KEY (id),
  ADD UNIQUE (user_id, ended_at, id),
  ADD FOREIGN KEY (user_id) REFERENCES "user" (id) ON DELETE CASCADE;
CREATE INDEX ON device_sessions (ended_at);
CREATE INDEX ON device_sessions (expires_at);

-- The first 48 bits of an id are milliseconds since 1970: the first id of a moment.
CREATE FUNCTION first_id(moment timestamptz) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$
  SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0')
    || repeat('0', 20))::uuid
$$;

DO $$ BEGIN
  FOR month IN 0..24 LOOP
    EXECUTE format(
      'CREATE TABLE device_sessions_%s PARTITION OF device_sessions FOR VALUES FROM (%L) TO (%L)',
      to_char(timestamptz '2026-01-01 00:00Z' + make_interval(months => month), 'YYYY_MM'),
      first_id(timestamptz '2026-01-01 00:00Z' + make_interval(months => month)),
      first_id(timestamptz '2026-01-01 00:00Z' + make_interval(months => month + 1)));
  END LOOP;
END $$;
CREATE TABLE device_sessions_other PARTITION OF device_sessions DEFAULT;

INSERT INTO device_sessions SELECT * FROM device_sessions_whole;
DROP TABLE device_sessions_whole;
