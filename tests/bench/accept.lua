-- The request wrk sends: POST with 1 KiB of JSON. Settings come by environment:
--   BENCH_TOKENS file with one bearer token per line, sent in turn; none is sent when empty
--   BENCH_KEY    prefix of a fresh Idempotency-Key per request, none is sent when empty
--   BENCH_COUNT  end after exactly so many answers, and say so; wrk's duration is only a ceiling
--
-- Requests are built once, one per token; a fresh key is put between the two halves of each, so that making keys costs
-- the generator next to nothing. Every side is loaded with this one script.

local tokens = os.getenv("BENCH_TOKENS") or ""
local prefix = os.getenv("BENCH_KEY") or ""
local count = tonumber(os.getenv("BENCH_COUNT") or "")
local KEY, TOKEN = "KEYKEYKEYKEY", "TOKENTOKENTOKEN"

local threads = 0
function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

local heads, tails = {}, {}
local sent, started, answered, refused = 0, 0, 0, 0

-- Cuts a request where the key goes; without a key there is only a head.
local function add(request)
  local at = string.find(request, KEY, 1, true)
  if at then
    table.insert(heads, string.sub(request, 1, at - 1) .. prefix .. "-" .. number .. "-")
    table.insert(tails, string.sub(request, at + #KEY))
  else
    table.insert(heads, request)
  end
end

function init(args)
  local opening, closing = '{"order":"A-1001","amount":42,"note":"', '"}'
  wrk.method = "POST"
  wrk.body = opening .. string.rep("x", 1024 - #opening - #closing) .. closing
  wrk.headers["Content-Type"] = "application/json"
  if tokens ~= "" then wrk.headers["Authorization"] = "Bearer " .. TOKEN end
  if prefix ~= "" then wrk.headers["Idempotency-Key"] = KEY end
  local whole = wrk.format()
  if tokens == "" then return add(whole) end
  for token in io.lines(tokens) do
    add((string.gsub(whole, TOKEN, token)))
  end
end

function request()
  sent = sent + 1
  local n = (sent - 1) % #heads + 1
  if #tails == 0 then return heads[n] end
  return heads[n] .. sent .. tails[n]
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
