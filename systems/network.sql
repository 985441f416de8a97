-- Network traffic: records of flows come over TCP, one JSON object a line; averages, sums
-- and maxima of sliding and tumbling windows and of each host's sessions go into files.
--
--   windrow run systems/network.sql          Ctrl-C ends it, and the files are there
--
-- From bash in another terminal, for example:
--   echo '{"ts":"2026-11-21T10:00:00Z","host":"10.0.0.1","peer":"10.0.0.9","bytes":1500,"packets":3}' > /dev/tcp/127.0.0.1/7101

CREATE STREAM flows (
  ts TIMESTAMP NOT NULL,
  host TEXT NOT NULL,
  peer TEXT,
  bytes BIGINT CHECK (bytes >= 0),
  packets BIGINT,
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH (connector = 'tcp', address = '127.0.0.1:7101', format = 'ndjson', idle_timeout = '2 seconds');

-- All traffic, every 5 seconds over the last 10.
CREATE SINK traffic WITH (connector = 'file', path = 'result.json', format = 'json') AS
SELECT window_start, window_end, count(*) AS flows,
       avg(bytes) AS mean_bytes, sum(bytes) AS bytes, max(bytes) AS largest
FROM HOP(flows, ts, INTERVAL '5' SECOND, INTERVAL '10' SECOND)
GROUP BY window_start, window_end;

-- Each host, second by second.
CREATE SINK hosts WITH (connector = 'file', path = 'hosts.json', format = 'json') AS
SELECT host, window_start, count(*) AS flows, sum(bytes) AS bytes, sum(packets) AS packets
FROM TUMBLE(flows, ts, INTERVAL '1' SECOND)
GROUP BY host, window_start, window_end;

-- Each host's sessions: flows no more than 5 seconds apart.
CREATE SINK sessions WITH (connector = 'file', path = 'sessions.json', format = 'json') AS
SELECT host, window_start, window_end, count(*) AS flows, sum(bytes) AS bytes
FROM SESSION(flows PARTITION BY host, ts, INTERVAL '5' SECOND)
GROUP BY host, window_start, window_end;
