-- The air of a city: simulated sensors in all districts, averages of each minute, the latest
-- known state of every sensor, and alerts.
--
--   windrow top systems/city.sql             what flows, live
--   windrow run systems/city.sql             Ctrl-C ends it, and the files are there
--
-- In the shell, after .read systems/city.sql, the twin can be asked at any moment:
--   SELECT district, count(*) AS sensors, round(avg(pm25), 1) AS pm25 FROM twin GROUP BY district;

CREATE STREAM air (WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH (connector = 'generator', rate = '200', realtime = 'true');

-- The averages of each sensor, minute by minute.
CREATE SINK minutes WITH (connector = 'file', path = 'minutes.csv', format = 'csv') AS
SELECT sensor, window_start, avg(value) AS pm25, max(value) AS peak, count(*) AS n
FROM TUMBLE(air, ts, INTERVAL '1' MINUTE)
GROUP BY sensor, window_start, window_end;

-- The twin: what is known of every sensor, in step with the stream.
CREATE MATERIALIZED VIEW twin WITH (max_keys = '100000') AS
SELECT sensor, last_value(district ORDER BY ts) AS district, last_value(value ORDER BY ts) AS pm25,
       max(ts) AS ts, count(*) AS n
FROM air
GROUP BY sensor;

-- What somebody has to look at.
CREATE SINK alerts WITH (connector = 'file', path = 'alerts.json', format = 'json') AS
SELECT ts, sensor, district, value AS pm25 FROM air WHERE value > 150;
