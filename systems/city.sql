-- The air of a city: readings of sensors come in over HTTP and TCP and become averages of each
-- minute, the latest known state of every sensor, and alerts, which somebody acknowledges; and
-- how well all of it goes is told in figures.
--
--   windrow                                  and there: .read systems/city.sql
--   windrow run systems/sensors.sql          in another terminal: the sensors, and a desk that
--                                            decides on most alerts
--
-- In the shell, at any moment:
--   SELECT district, count(*) AS sensors, round(avg(pm25), 1) AS pm25 FROM twin GROUP BY district;
--   SELECT * FROM decisions;
--   SELECT id, since, pm25 FROM fates WHERE raised > 0 AND acknowledged = 0;
--   SELECT * FROM accuracy;
--   SELECT name, collection_rate, transfer_bytes_per_s, processing_efficiency FROM windrow.streams;
-- An alert is acknowledged by its id:
--   curl --data-binary '{"id":"air-007/123"}' http://127.0.0.1:7105/ingest/acks
--
-- .quit writes readings.parquet and minutes.csv; end the sensors before, or they try for a minute
-- to send what they have left.

-- Two doors for readings of the same kind: of each sensor one is due every half second.
CREATE STREAM posted (
  ts TIMESTAMP NOT NULL, sensor TEXT NOT NULL, district TEXT,
  value DOUBLE CHECK (value BETWEEN 0 AND 2000), temp DOUBLE, humidity DOUBLE, seq BIGINT NOT NULL,
  label TEXT CHECK (label IN ('normal', 'spike', 'stuck', 'null', 'duplicate')),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
  connector = 'http', address = '127.0.0.1:7105', format = 'ndjson',
  expect_every = '500 ms', expect_by = 'sensor'
);

CREATE STREAM wired (
  ts TIMESTAMP NOT NULL, sensor TEXT NOT NULL, district TEXT,
  value DOUBLE CHECK (value BETWEEN 0 AND 2000), temp DOUBLE, humidity DOUBLE, seq BIGINT NOT NULL,
  label TEXT CHECK (label IN ('normal', 'spike', 'stuck', 'null', 'duplicate')),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (
  connector = 'tcp', address = '127.0.0.1:7106', format = 'ndjson',
  expect_every = '500 ms', expect_by = 'sensor'
);

CREATE VIEW air AS SELECT * FROM posted UNION ALL SELECT * FROM wired;

-- Every reading.
CREATE SINK stored WITH (connector = 'file', path = 'readings.parquet', format = 'parquet') AS
SELECT * FROM air;

-- Each sensor, minute by minute: averages, what its values gain in a minute, and how far they go
-- with the humidity, from -1 to 1.
CREATE SINK minutes WITH (connector = 'file', path = 'minutes.csv', format = 'csv') AS
SELECT sensor, window_start, avg(value) AS pm25, max(value) AS peak, count(*) AS n,
       regr_slope(value, extract(epoch FROM ts)) * 60 AS trend, corr(value, humidity) AS with_humidity
FROM TUMBLE(air, ts, INTERVAL '1' MINUTE)
GROUP BY sensor, window_start, window_end;

-- The twin: what is known of every sensor, in step with both doors. A reading without a value does
-- not make the one before unknown.
CREATE MATERIALIZED VIEW twin WITH (max_keys = '100000') AS
SELECT sensor, last_value(district ORDER BY ts) AS district,
       last_value(value ORDER BY ts) FILTER (WHERE value IS NOT NULL) AS pm25, max(ts) AS ts, count(*) AS n
FROM air
GROUP BY sensor;

-- What somebody has to look at, told as soon as it comes.
CREATE VIEW alerts AS
SELECT sensor || '/' || seq AS id, ts, sensor, district, value AS pm25 FROM air WHERE value > 100;

CREATE SINK desk WITH (connector = 'tcp', address = '127.0.0.1:7107', format = 'ndjson') AS
SELECT * FROM alerts;

-- Who has decided about an alert says so here.
CREATE STREAM acks (id TEXT NOT NULL, who TEXT)
WITH (connector = 'http', address = '127.0.0.1:7105', format = 'ndjson');

-- What became of each alert: raised and acknowledged are how often.
CREATE MATERIALIZED VIEW fates WITH (max_keys = '1000000') AS
SELECT id, min(ts) AS since, max(pm25) AS pm25, count(pm25) AS raised, count(*) - count(pm25) AS acknowledged
FROM (
  SELECT id, ts, pm25 FROM alerts
  UNION ALL
  SELECT id, NULL AS ts, NULL AS pm25 FROM acks
)
GROUP BY id;

-- Decisions made, of those that are due. An acknowledgement of what was not raised is none.
CREATE VIEW decisions AS
SELECT raised, acknowledged, acknowledged / CAST(raised AS DOUBLE) AS efficiency
FROM (
  SELECT count(*) AS raised, count(*) FILTER (WHERE acknowledged > 0) AS acknowledged
  FROM fates
  WHERE raised > 0
)
WHERE raised > 0;

-- The analysis: a reading is wrong if it is missing, lies more than three standard deviations
-- off the mean of its sensor's last 20, or is the last of four equal ones.
CREATE VIEW judged AS
SELECT label, (value IS NULL OR abs(value - mean) > 3 * spread OR (n = 4 AND low = high)) IS TRUE AS is_wrong
FROM (
  SELECT label, value, avg(value) OVER twenty AS mean, stddev(value) OVER twenty AS spread,
         count(value) OVER four AS n, min(value) OVER four AS low, max(value) OVER four AS high
  FROM air
  WINDOW twenty AS (PARTITION BY sensor ORDER BY ts ROWS 19 PRECEDING),
         four AS (PARTITION BY sensor ORDER BY ts ROWS 3 PRECEDING)
);

-- Where a label says what is true of a reading, as it does of simulated ones, it is known how many
-- of each kind are identified rightly.
CREATE MATERIALIZED VIEW analysis WITH (max_keys = '10') AS
SELECT label, count(*) AS readings, count(*) FILTER (WHERE is_wrong = (label <> 'normal')) AS identified
FROM judged
WHERE label IS NOT NULL
GROUP BY label;

CREATE VIEW accuracy AS
SELECT sum(readings) AS readings, sum(identified) / CAST(sum(readings) AS DOUBLE) AS accuracy FROM analysis;
