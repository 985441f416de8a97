-- What is around systems/city.sql: the sensors of the city, simulated, which send their readings
-- over HTTP and TCP; and a desk, which is told of alerts and decides on most.
--
--   windrow run systems/sensors.sql          Ctrl-C ends it

-- Two readings of each of 100 sensors a second. Some never arrive, some come late, and some are
-- wrong, which their label says.
CREATE STREAM sensors WITH (
  connector = 'generator', rate = '200', realtime = 'true', disorder = '2 seconds',
  loss = '0.02', spikes = '0.002', stuck = '0.05', nulls = '0.005'
);

CREATE SINK posted WITH (connector = 'http', url = 'http://127.0.0.1:7105/ingest/posted') AS
SELECT * FROM sensors WHERE district IN ('centre', 'north', 'east', 'south');

CREATE SINK wired WITH (connector = 'tcp', address = '127.0.0.1:7106', format = 'ndjson') AS
SELECT * FROM sensors WHERE district NOT IN ('centre', 'north', 'east', 'south');

-- The desk: what is above 230 µg/m³ waits for a person.
CREATE STREAM alerts (id TEXT NOT NULL, ts TIMESTAMP, sensor TEXT, district TEXT, pm25 DOUBLE)
WITH (connector = 'tcp', address = '127.0.0.1:7107', format = 'ndjson');

CREATE SINK acks WITH (connector = 'http', url = 'http://127.0.0.1:7105/ingest/acks') AS
SELECT id, 'desk' AS who FROM alerts WHERE pm25 <= 230;
