-- Readings of a file with gaps and wrong values: cleaned, cast, and summed up by the hour; a
-- line is fitted to them, and decides what is to be done. The results go to a file, over TCP
-- and into a table of PostgreSQL.
--
--   windrow run systems/cleaning.sql         from the folder above; it ends by itself
--
-- In other terminals, before; the run waits for both, and fails when one does not come:
--   nc -lk 7104
--   docker run -p 5432:5432 -e POSTGRES_PASSWORD=windrow postgres

-- A row that has no time, no building or no power that can be is rejected, with its reason;
-- NA and an empty field are NULL. What the weather station writes is taken as it comes.
CREATE STREAM meters (
  ts TIMESTAMP NOT NULL, building TEXT NOT NULL, outdoor TEXT, power DOUBLE CHECK (power >= 0)
) WITH (connector = 'file', path = 'systems/cleaning.csv', format = 'csv');

-- 'n/a', '-' and the like are no temperature.
CREATE VIEW cleaned AS
SELECT ts, building, TRY_CAST(trim(outdoor) AS DOUBLE) AS outdoor, power
FROM meters
WHERE power IS NOT NULL;

-- Power in kW over temperature in °C: mean, spread and line, and what the line tells of 35 °C.
CREATE MATERIALIZED VIEW hours AS
SELECT *, intercept + slope * 35 AS at_35,
       CASE WHEN slope IS NULL THEN 'measure more'
            WHEN intercept + slope * 35 > 160 THEN 'shed load'
            ELSE 'keep' END AS decision
FROM (
  SELECT building, window_start, count(*) AS readings, avg(power) AS mean, stddev(power) AS spread,
         regr_slope(power, outdoor) AS slope, regr_intercept(power, outdoor) AS intercept
  FROM TUMBLE(cleaned, ts, INTERVAL '1' HOUR)
  GROUP BY building, window_start, window_end
);

CREATE SINK report WITH (connector = 'file', path = 'hours.json', format = 'json') AS
SELECT * FROM hours;

CREATE SINK panel WITH (connector = 'tcp', address = '127.0.0.1:7104', format = 'ndjson') AS
SELECT building, window_start, at_35, decision FROM hours;

CREATE SINK archive WITH (
  connector = 'postgres', url = 'postgres://postgres@127.0.0.1:5432/postgres', password = 'windrow',
  table = 'hours', existing = 'replace'
) AS
SELECT * FROM hours;

-- What was rejected, by its reason.
SELECT rule, reason, count(*) AS rows, min(text) AS example
FROM rejected('meters')
GROUP BY rule, reason
ORDER BY rule, reason;
