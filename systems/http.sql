-- Readings over HTTP: posted as NDJSON, CSV, line protocol or Arrow IPC, each body with its
-- Content-Type, or written as to InfluxDB, by Telegraf for example. The answer says what became
-- of each row.
--
--   windrow run systems/http.sql             Ctrl-C ends it, and the files are there
--
-- In another terminal, for example:
--   echo '{"ts":"2026-11-21T10:00:00Z","room":"lab","co2":412}' |
--     curl --data-binary @- http://127.0.0.1:7103/ingest/air
--   curl --data-binary 'door,room=lab open=t' 'http://127.0.0.1:7103/write?db=house'

CREATE STREAM air (
  ts TIMESTAMP NOT NULL, room TEXT NOT NULL, co2 DOUBLE CHECK (co2 BETWEEN 200 AND 10000),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
) WITH (connector = 'http', address = '127.0.0.1:7103', format = 'ndjson', idle_timeout = '2 seconds');

-- At the same address; the lines of the measurement "door".
CREATE STREAM door (time TIMESTAMP, room TEXT, open BOOLEAN, WATERMARK FOR time)
WITH (connector = 'http', address = '127.0.0.1:7103', format = 'line');

CREATE SINK rooms WITH (connector = 'file', path = 'rooms.json', format = 'json') AS
SELECT room, window_start, count(*) AS readings, avg(co2) AS co2, max(co2) AS peak
FROM TUMBLE(air, ts, INTERVAL '1' MINUTE)
GROUP BY room, window_start, window_end;

CREATE SINK doors WITH (connector = 'file', path = 'doors.json', format = 'json') AS
SELECT * FROM door;
