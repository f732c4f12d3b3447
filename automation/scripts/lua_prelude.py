"""The part of the Lua sandbox that is written in Lua.

It takes the whole standard library, keeps what it needs in locals, takes everything else out of reach, and gives the
script an environment of its own. A script never holds a Python object; it asks by yielding, from however deep a
coroutine, and Python only ever calls `start`, `resume` and `mark`.

`start(source, name, entry, arguments, effects, short, files)` and `resume(ok, value)` return a kind and a payload:
"effect" and JSON, "done" and JSON, or "fail" and a sentence. `notes()` gives what was printed as level, text pairs.
"""

from typing import Final

from automation.scripts.call import MOST_NOTE_BYTES, MOST_NOTES, MOST_RESULT

PRELUDE: Final = (
    f"local MOST, MOST_NOTES, MOST_NOTE_BYTES = {MOST_RESULT}, {MOST_NOTES}, {MOST_NOTE_BYTES}"
    + r"""
local assert, error, getmetatable, ipairs, load, next, pairs, pcall, rawequal, rawget, rawlen, rawset, select,
      setmetatable, tonumber, tostring, type, xpcall =
      assert, error, getmetatable, ipairs, load, next, pairs, pcall, rawequal, rawget, rawlen, rawset, select,
      setmetatable, tonumber, tostring, type, xpcall
local create, running, status, resume_raw, yield = coroutine.create, coroutine.running, coroutine.status,
      coroutine.resume, coroutine.yield
local is_yieldable, close = coroutine.isyieldable, coroutine.close
local getinfo, metatable_of = debug.getinfo, debug.getmetatable
local concat, unpack, pack = table.concat, table.unpack, table.pack
local char, find, format, gmatch, gsub, match, sub = string.char, string.find, string.format, string.gmatch,
      string.gsub, string.match, string.sub
local kind_of_number, huge = math.type, math.huge
local date, time = os.date, os.time
local string, table, math, utf8, version = string, table, math, utf8, _VERSION

local EFFECT = {}                        -- what marks a yield that is meant for the nursery
local ARRAY = {__name = "array", __metatable = "array"}
local null = setmetatable({}, {__name = "null", __metatable = "null", __tostring = function() return "null" end})

local main, env, context, declared, loading, source_name, last_line
local printed, printed_bytes = {}, 0

-- JSON --------------------------------------------------------------------------------------------------------------

local escapes = {['"'] = '\\"', ['\\'] = '\\\\'}
for i = 0, 31 do escapes[char(i)] = format("\\u%04x", i) end

local function quote(text) return '"' .. gsub(text, '[%c"\\]', escapes) .. '"' end

local function put(out, text)
  out.size = out.size + #text
  if out.size > MOST then error("the value is larger than " .. MOST // 1048576 .. " MiB of JSON", 0) end
  out[#out + 1] = text
end

local function named(where, key) return where == "" and tostring(key) or where .. "." .. tostring(key) end

-- How many elements if the table is a list: keys 1 to n, or marked by array{}.
local function list_length(value)
  local length, count = rawlen(value), 0
  for key in next, value do
    if kind_of_number(key) ~= "integer" or key < 1 or key > length then return nil end
    count = count + 1
  end
  if count == length and (count > 0 or metatable_of(value) == ARRAY) then return length end
end

local write

local function write_object(out, value, depth, where)
  put(out, "{")
  local first = true
  for key, item in next, value do
    if type(key) ~= "string" and kind_of_number(key) ~= "integer" then
      error("the keys of a table must be texts or whole numbers, not a " .. type(key), 0)
    end
    put(out, (first and "" or ",") .. quote(tostring(key)) .. ":")
    write(out, item, depth + 1, named(where, key))
    first = false
  end
  put(out, "}")
end

local function write_table(out, value, depth, where)
  if depth > 64 then error("the value is nested too deeply, or holds itself", 0) end
  local length = list_length(value)
  if not length then return write_object(out, value, depth, where) end
  put(out, "[")
  for i = 1, length do
    if i > 1 then put(out, ",") end
    write(out, rawget(value, i), depth + 1, named(where, i))
  end
  put(out, "]")
end

local function write_number(out, value)
  if kind_of_number(value) == "integer" then return put(out, format("%d", value)) end
  if value ~= value or value == huge or value == -huge then error(tostring(value) .. " is no JSON value", 0) end
  put(out, format("%.17g", value))
end

function write(out, value, depth, where)
  local kind = type(value)
  if value == nil or rawequal(value, null) then put(out, "null")
  elseif kind == "boolean" then put(out, value and "true" or "false")
  elseif kind == "string" then put(out, quote(value))
  elseif kind == "number" then write_number(out, value)
  elseif kind == "table" then write_table(out, value, depth, where)
  elseif kind == "function" and out.functions then put(out, '{"\\u0000entry":' .. quote(where) .. "}")
  else error("a " .. kind .. " cannot be handed over" .. (where == "" and "" or " (" .. where .. ")"), 0)
  end
end

local function encode(value, functions)
  local out = {size = 0, functions = functions}
  write(out, value, 0, "")
  return concat(out)
end

-- Effects -----------------------------------------------------------------------------------------------------------

-- Where in the script we are. A tail call has left no trace of its caller; the line that named the effect has to do.
local function position()
  local level = 3
  local info = getinfo(level, "Slt")
  while info do
    local line = info.source == source_name and info.currentline or 0
    if line > 0 then return sub(source_name, 2) .. ":" .. line .. ": " end
    if info.istailcall and last_line then break end
    level = level + 1
    info = getinfo(level, "Slt")
  end
  return last_line and sub(source_name, 2) .. ":" .. last_line .. ": " or ""
end

local function perform(action)
  local at = position()
  if loading then error(at .. "nothing can be done while the file is read; do it within a step's function", 0) end
  if not is_yieldable() then error(at .. action.type .. " cannot be called from within a comparison or pattern", 0) end
  local encoded, text = pcall(encode, action)
  if not encoded then error(at .. action.type .. ": " .. tostring(text), 0) end
  local ok, value = yield(EFFECT, text)
  if not ok then error(at .. value, 0) end
  return value
end

-- Which fields the arguments stand for when they are not one table.
local positional = {}

local function fields_of(name, ...)
  local first, fields = ..., {}
  if type(first) == "table" then
    for key, value in next, first do
      if type(key) == "string" then fields[key] = value end
    end
    if name == "command" and rawlen(first) > 0 then fields.argv = {unpack(first, 1, rawlen(first))} end
    return fields
  end
  local names = positional[name] or {}
  for i = 1, select("#", ...) do
    if not names[i] then error(position() .. name .. " takes a table of named fields", 0) end
    fields[names[i]] = (select(i, ...))
  end
  return fields
end

local api = {}

local function add_effect(name, fields)
  positional[name] = fields
  api[name] = function(...)
    local fields = fields_of(name, ...)
    if name == "emit_event" and fields.type then fields.event = fields.type end
    fields.type = name
    return (perform(fields))
  end
end

function api.wait(seconds)
  if type(seconds) ~= "number" or not (seconds >= 0) then error(position() .. "wait takes a number of seconds", 0) end
  perform({type = "wait", seconds = seconds})
end

function api.fail(message) error(tostring(message), 2) end

-- Print and log -----------------------------------------------------------------------------------------------------

local function note(level, text)
  local room = MOST_NOTE_BYTES - printed_bytes
  if #printed >= 2 * MOST_NOTES or room <= 0 then return end
  if #printed == 2 * MOST_NOTES - 2 or #text >= room then text = "(what was printed after this is left out)" end
  printed[#printed + 1], printed[#printed + 2] = level, text
  printed_bytes = printed_bytes + #text
  if #text >= room then printed_bytes = MOST_NOTE_BYTES end
end

local function joined(...)
  local texts = pack(...)
  for i = 1, texts.n do texts[i] = tostring(texts[i]) end
  return concat(texts, "\t", 1, texts.n)
end

local function print(...) note("info", joined(...)) end

local function log(first, ...)
  if type(first) ~= "table" or rawget(first, "message") == nil then return note("info", joined(first, ...)) end
  note(tostring(rawget(first, "level") or "info"), tostring(rawget(first, "message")))
end

-- The script's world ------------------------------------------------------------------------------------------------

local function relay(thread, ok, tag, ...)
  if ok and rawequal(tag, EFFECT) then return relay(thread, resume_raw(thread, yield(EFFECT, ...))) end
  return ok, tag, ...
end

local function resume_in_script(thread, ...) return relay(thread, resume_raw(thread, ...)) end

local function results(ok, first, ...)
  if not ok then error(first, 0) end
  return first, ...
end

local function wrap(body)
  local thread = create(body)
  return function(...) return results(resume_in_script(thread, ...)) end
end

local function set_metatable(value, meta)
  if type(meta) == "table" and rawget(meta, "__gc") ~= nil then error("__gc is not allowed", 2) end
  return setmetatable(value, meta)
end

local function load_text(chunk, name, _, environment)
  return load(chunk, name, "t", environment == nil and env or environment)
end

local function copied(library)
  local out = {}
  for name, value in next, library do out[name] = value end
  return out
end

string.dump = nil

local function environment()
  env = {
    _VERSION = version, assert = assert, error = error, getmetatable = getmetatable, ipairs = ipairs, next = next,
    pairs = pairs, pcall = pcall, print = print, rawequal = rawequal, rawget = rawget, rawlen = rawlen, rawset = rawset,
    select = select, setmetatable = set_metatable, tonumber = tonumber, tostring = tostring, type = type,
    xpcall = xpcall, load = load_text,
    string = copied(string), table = copied(table), math = copied(math), utf8 = copied(utf8),
    coroutine = {create = create, running = running, status = status, yield = yield, isyieldable = is_yieldable,
                 close = close, resume = resume_in_script, wrap = wrap},
    null = null, array = function(items) return setmetatable(items or {}, ARRAY) end, log = log,
    now = function() return time() end,
    date = function(pattern, seconds) return date(pattern or "%Y-%m-%dT%H:%M:%S", seconds) end,
  }
  env._G = env
  function env.workflow(definition)
    if type(definition) ~= "table" then error("workflow takes a table", 2) end
    if declared then error("a file declares one workflow", 2) end
    declared = definition
  end
  return setmetatable(env, {
    __metatable = false,
    __index = function(_, name)
      local effect = api[name]
      if effect then
        local caller = getinfo(2, "Sl")
        if caller and caller.source == source_name and caller.currentline > 0 then last_line = caller.currentline end
      end
      return effect
    end,
  })
end

local function entry_point(path)
  local at = declared or env
  for part in gmatch(path, "[^.]+") do
    if type(at) ~= "table" then return nil end
    local number = tonumber(part)
    local inner = number and rawget(at, number)
    if inner == nil then inner = rawget(at, part) end
    at = inner
  end
  return at
end

local function run(source, entry)
  local chunk, problem = load(source, source_name, "t", env)
  if not chunk then error(problem, 0) end
  if not entry then return chunk() end
  loading = true
  chunk()
  if entry == "@declare" then return declared or error("the file does not call workflow{…}", 0) end
  loading = false
  local body = entry_point(entry)
  if type(body) ~= "function" then error("there is no function '" .. entry .. "' in the script", 0) end
  return body(context)
end

-- Driven from outside -----------------------------------------------------------------------------------------------

local function sentence(problem)
  if problem == "not enough memory" then return "the script ran out of memory" end
  if type(problem) == "table" then problem = rawget(problem, "message") or problem end
  if type(problem) == "string" or type(problem) == "number" then return sub(tostring(problem), 1, 4000) end
  return "the script raised an error that is a " .. type(problem)
end

local function handed_over(kind, value)
  local ok, text = pcall(encode, value, loading)
  if not ok then return "fail", "the result cannot be handed over: " .. sentence(text) end
  return kind, text
end

local asked_by_hand = false

local function step(...)
  local ok, first, payload = resume_raw(main, ...)
  if not ok then return "fail", sentence(first) end
  if status(main) == "dead" then return handed_over("done", first) end
  asked_by_hand = not rawequal(first, EFFECT)
  if asked_by_hand then return handed_over("effect", first) end
  return "effect", payload
end

local function start(source, name, entry, arguments, effects, short, files)
  source_name = "=" .. name
  environment()
  for effect, fields in next, effects do add_effect(effect, fields) end
  for other, effect in next, short do api[other] = api[effect] end
  api.file = {}
  for _, effect in ipairs(files) do api.file[effect] = api[effect] end
  for key, value in next, arguments do env[key] = value end
  context = arguments
  main = create(run)
  return step(gsub(source, "^#", "--#"), entry)
end

local function resume(ok, value)
  if not asked_by_hand then return step(ok, value) end
  if ok then return step(value) end
  return step(nil, value)
end

local function notes()
  local out = printed
  printed = {}
  return unpack(out)
end

local function mark(items) return setmetatable(items, ARRAY) end

local globals = _G
for name in pairs(globals) do globals[name] = nil end
return start, resume, notes, mark, null
"""
)
