-- A year of weather at the three airports of New York: 26,115 hourly readings.
--
--   cargo run -- run data/weather.sql
--
-- data/README.md says what the columns mean and where they come from.

-- The file writes NA where nothing was measured. One reading claims a wind of
-- 1048 miles an hour: a CHECK sends such a row to the rejects instead of an average.
CREATE STREAM weather (
  origin     TEXT NOT NULL,
  temp       DOUBLE,
  humid      DOUBLE,
  wind_speed DOUBLE CHECK (wind_speed BETWEEN 0 AND 200),
  precip     DOUBLE,
  time_hour  TIMESTAMP NOT NULL
) WITH (connector = 'file', path = 'data/weather.csv', format = 'csv', null_value = 'NA');

-- Days as people there live them: midnight to midnight in New York, 23 hours long on
-- 10 March 2013 and 25 hours long on 3 November.
CREATE MATERIALIZED VIEW daily AS
SELECT origin, window_start, count(*) AS readings,
       min(temp) AS coldest, avg(temp) AS mean, max(temp) AS warmest, sum(precip) AS rain
FROM TUMBLE(weather, time_hour, INTERVAL '1' DAY, timezone => 'America/New_York')
GROUP BY origin, window_start, window_end;

-- The last 24 hours, every hour: 24 windows hold each reading, and each reading is
-- added to one pane.
CREATE MATERIALIZED VIEW last_24_hours AS
SELECT origin, window_start, window_end, sum(precip) AS rain, max(wind_speed) AS gale
FROM HOP(weather, time_hour, INTERVAL '1' HOUR, INTERVAL '24' HOURS)
GROUP BY origin, window_start, window_end;

-- The five hottest days, in degrees Fahrenheit.
SELECT origin, window_start AS day, readings, coldest, round(mean, 1) AS mean, warmest
FROM daily
ORDER BY warmest DESC, day, origin
LIMIT 5;

-- The wettest 24 hours of each airport, in inches.
SELECT origin, window_start, window_end, round(rain, 2) AS rain
FROM last_24_hours
QUALIFY row_number() OVER (PARTITION BY origin ORDER BY round(rain, 2) DESC, window_start) = 1
ORDER BY origin;

-- The readings that were not believed.
SELECT position, rule, text FROM rejected('weather');
