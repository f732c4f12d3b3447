-- Tells people what happens in shared/: one line for each file that somebody saved, moved or deleted there,
-- at the end of notices/YYYY-MM-DD.log, and a webhook if one is set.
--
--   2026-01-31 12:00:00  uid 1000 (libreoffice) saved shared/plan.odt, 12.3 kB
--
-- `tail -f MOUNT/notices/*.log` is all that it takes to follow. To have each notice posted as JSON {text, event} to a
-- chat or a phone, set the address below, or while mounted:
--
--   echo 'notify.webhook = "https://example.org/hook"' > MOUNT/.vexfs/state
--
-- Works without a network; a webhook that fails is tried again and then given up, the line in the log stays.

local WATCHED = {"shared/**", "!**/.*", "!**/*~", "!**/*.{tmp,swp,part,crdownload}"}

local VERBS = {
  ["file.closed"] = "saved",
  ["file.renamed"] = "moved",
  ["dir.renamed"] = "moved",
  ["file.deleted"] = "deleted",
  ["dir.deleted"] = "deleted",
}

-- 12300 → "12.3 kB"
local function in_words(bytes)
  local units, unit = {"bytes", "kB", "MB", "GB", "TB"}, 1
  while bytes >= 1000 and unit < #units do bytes, unit = bytes / 1000, unit + 1 end
  return (unit == 1 and "%d %s" or "%.1f %s"):format(bytes, units[unit])
end

-- A file name may hold anything, a line of the log may not.
local function printable(text)
  return (text:gsub("%c", "?"))
end

local function sentence(event)
  local who = "uid " .. (event.uid or 0)
  if event.comm and event.comm ~= "" then who = who .. " (" .. event.comm .. ")" end
  if event.cause then who = "workflow " .. event.cause.workflow end
  local text = who .. " " .. (VERBS[event.type] or event.type) .. " " .. event.path
  if event.dest and event.dest ~= "" then text = text .. " to " .. event.dest end
  if event.type == "file.closed" and event.size then text = text .. ", " .. in_words(event.size) end
  return printable(text)
end

local function webhook(ctx)
  local set = ctx.state.notify
  local url = type(set) == "table" and set.webhook or ctx.vars.webhook
  return url ~= "" and url or nil
end

workflow{
  name = "notify",
  description = "Notices of what happens in shared/, in a log per day and by webhook",
  vars = {webhook = "", directory = "notices"},
  triggers = {
    {types = {"file.closed"}, written = true, path = WATCHED, settle = "1s"},
    {types = {"file.renamed", "dir.renamed", "file.deleted", "dir.deleted"}, path = WATCHED},
  },
  concurrency = {policy = "queued", limit = 4},
  steps = {
    {
      name = "notice",
      description = "A line in today's log",
      timeout = "30s",
      run = function(ctx)
        local text = sentence(ctx.event)
        local line = date("%Y-%m-%d %H:%M:%S") .. "  " .. text .. "\n"
        local file = ctx.vars.directory .. "/" .. date("%Y-%m-%d") .. ".log"
        write{path = file, content = line, append = true}
        return {text = text, file = file}
      end,
    },
    {
      name = "webhook",
      description = "The same to a chat or a phone, if an address is set",
      timeout = "1m",
      retry = {attempts = 3, backoff = "2s"},
      on_error = "continue",
      run = function(ctx)
        local url = webhook(ctx)
        if not url then return {sent = false} end
        local event = {type = ctx.event.type, path = ctx.event.path, uid = ctx.event.uid, comm = ctx.event.comm}
        local answer = http{url = url, body = {text = ctx.steps.notice.text, event = event}, timeout = "15s", allow_private = true}
        return {sent = true, status = answer.status}
      end,
    },
  },
}
