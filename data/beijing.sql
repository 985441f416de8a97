-- Four years of air in Beijing: twelve stations, one reading an hour, 420,768 readings.
--
--   cargo run -- run data/beijing.sql
--
-- The twelve files are not part of Windrow: data/README.md says where to get them.

-- Each station is a file, and each file a partition: the watermark waits for the
-- slowest of them, so the twelve are one stream in step. The time stands in four
-- columns, in local time; a computed column puts them together.
CREATE STREAM beijing (
  year  INT NOT NULL,
  month INT NOT NULL,
  day   INT NOT NULL,
  hour  INT NOT NULL CHECK (hour BETWEEN 0 AND 23),
  "PM2.5" DOUBLE CHECK ("PM2.5" BETWEEN 0 AND 2000),
  "TEMP"  DOUBLE,
  station TEXT NOT NULL,
  ts TIMESTAMP AS (to_timestamp_seconds(
       date_part('epoch', make_date(year, month, day))::BIGINT + hour * 3600)),
  WATERMARK FOR ts AS ts - INTERVAL '1' HOUR
) WITH (connector = 'file', path = 'data/beijing/PRSA_Data_*.csv', format = 'csv',
        null_value = 'NA');

-- The mean of a day, and how many hours of it were measured at all.
CREATE MATERIALIZED VIEW daily AS
SELECT station, window_start AS day, avg("PM2.5") AS pm25, count("PM2.5") AS hours
FROM TUMBLE(beijing, ts, INTERVAL '1' DAY)
GROUP BY station, window_start, window_end;

-- The mean of the last 24 hours, every hour: the number that warnings are about.
CREATE MATERIALIZED VIEW last_24_hours AS
SELECT station, window_start, window_end, avg("PM2.5") AS pm25, count("PM2.5") AS hours
FROM HOP(beijing, ts, INTERVAL '1' HOUR, INTERVAL '24' HOURS)
GROUP BY station, window_start, window_end;

-- The hours above 75 µg/m³, the limit of China's standard for a day.
CREATE MATERIALIZED VIEW hours_above_75 AS
SELECT station, window_start AS hour, max("PM2.5") AS pm25
FROM TUMBLE(beijing, ts, INTERVAL '1' HOUR)
GROUP BY station, window_start, window_end
HAVING max("PM2.5") > 75;

-- The worst days, where at least eighteen hours were measured.
SELECT station, day, round(pm25, 1) AS mean, hours
FROM daily
WHERE hours >= 18
ORDER BY pm25 DESC, day, station
LIMIT 5;

-- How bad the worst 24 hours were at each station.
SELECT station, window_start, window_end, round(pm25, 1) AS mean
FROM last_24_hours
WHERE hours >= 18
QUALIFY row_number() OVER (PARTITION BY station ORDER BY pm25 DESC, window_start) = 1
ORDER BY station;

-- How many hours the air was bad.
SELECT station, count(*) AS hours_above_75, max(pm25) AS peak
FROM hours_above_75
GROUP BY station
ORDER BY hours_above_75 DESC, station;
