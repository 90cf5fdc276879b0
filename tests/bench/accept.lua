-- The request wrk sends: POST with 1 KiB of JSON. Settings come by environment:
--   BENCH_TOKEN  bearer token, none is sent when empty
--   BENCH_KEY    prefix of a fresh Idempotency-Key per request, none is sent when empty
--   BENCH_COUNT  end after exactly so many answers, and say so; wrk's duration is only a ceiling
--
-- The request is built once; a fresh key is put between its two halves, so that making keys costs
-- the generator next to nothing. Every side is loaded with this one script.

local token = os.getenv("BENCH_TOKEN") or ""
local prefix = os.getenv("BENCH_KEY") or ""
local count = tonumber(os.getenv("BENCH_COUNT") or "")
local KEY = "KEYKEYKEYKEY"

local threads = 0
function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

local head, tail = "", ""
local sent, started, answered, refused = 0, 0, 0, 0

function init(args)
  local opening, closing = '{"order":"A-1001","amount":42,"note":"', '"}'
  wrk.method = "POST"
  wrk.body = opening .. string.rep("x", 1024 - #opening - #closing) .. closing
  wrk.headers["Content-Type"] = "application/json"
  if token ~= "" then wrk.headers["Authorization"] = "Bearer " .. token end
  if prefix ~= "" then wrk.headers["Idempotency-Key"] = KEY end
  local whole = wrk.format()
  local at = string.find(whole, KEY, 1, true)
  if at then
    head = string.sub(whole, 1, at - 1) .. prefix .. "-" .. number .. "-"
    tail = string.sub(whole, at + #KEY)
  else
    head = whole
  end
end

function request()
  if tail == "" then return head end
  sent = sent + 1
  return head .. sent .. tail
end

if count then
  -- Called before each request: lets `count` of them go and holds back the rest.
  function delay()
    started = started + 1
    return started > count and 3600000 or 0
  end

  function response(status)
    answered = answered + 1
    if status ~= 202 then refused = refused + 1 end
    if answered == count then
      print(string.format("answered %d, of which not 202: %d", answered, refused))
      io.stdout:flush()
      os.exit(refused == 0 and 0 or 1)
    end
  end
end
