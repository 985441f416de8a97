-- Readings over UDP: datagrams are received, buffered in a bounded queue, parsed by
-- several threads, and stored; what no buffer could take is counted.
--
--   windrow run systems/datagrams.sql        Ctrl-C ends it
--
-- From bash in another terminal, for example:
--   echo '2026-11-21T10:00:00Z,s1,20.5' > /dev/udp/127.0.0.1/7102

CREATE STREAM datagrams (
  ts TIMESTAMP NOT NULL, sensor TEXT NOT NULL, value DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH (connector = 'udp', address = '127.0.0.1:7102', format = 'csv', idle_timeout = '2 seconds');

-- Every reading.
CREATE SINK stored WITH (connector = 'file', path = 'readings.parquet', format = 'parquet') AS
SELECT * FROM datagrams;

-- What is in windows.
CREATE MATERIALIZED VIEW seconds AS
SELECT sensor, window_start, count(*) AS n, avg(value) AS mean
FROM TUMBLE(datagrams, ts, INTERVAL '1' SECOND)
GROUP BY sensor, window_start, window_end;
