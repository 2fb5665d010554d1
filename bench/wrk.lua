-- Sends each token of a file in turn, from a position on, and prints what came of it.
local requests = {}
for token in io.lines(os.getenv("BENCH_TOKENS")) do
  requests[#requests + 1] = wrk.format("GET", wrk.path, {
    ["Host"] = "localhost", ["Authorization"] = "Bearer " .. token
  })
end
local position = tonumber(os.getenv("BENCH_START"))

request = function()
  position = position % #requests + 1
  return requests[position]
end

done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "refused": %d, "lost": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
