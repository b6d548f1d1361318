-- What the node asks over the local socket. Text, one fact a line: cheap to make and to read each second.
local region = require "orchestry_region"
local membership = require "orchestry_membership"

local dict = ngx.shared.orchestry
local M = {}

local function answer(status, text)
    ngx.status = status
    ngx.header["Content-Length"] = #text
    ngx.print(text)
end

local function number(value)
    return string.format("%.0f", value)
end

local function histogram(offset, parts)
    local cells, counts, order = region.cells, {}, {}
    for slot = 0, cells[1] - 1 do
        local at = region.slot(slot) + offset
        for group = 0, region.GROUPS - 1 do
            -- Groups without requests are not even read: that would make the kernel give them memory.
            if cells[at + 8 + group] > 0 then
                for bucket = group * 64, group * 64 + 63 do
                    local count = cells[at + region.BUCKETS + bucket]
                    if count > 0 then
                        if not counts[bucket] then
                            order[#order + 1] = bucket
                        end
                        counts[bucket] = (counts[bucket] or 0) + count
                    end
                end
            end
        end
    end
    table.sort(order)
    parts[#parts + 1] = "h"
    for _, bucket in ipairs(order) do
        parts[#parts + 1] = " " .. bucket .. ":" .. number(counts[bucket])
    end
    parts[#parts + 1] = "\n"
end

local function timed(index, parts)
    local cells, counts, offset = region.cells, {}, region.instance_offset(index)
    for slot = 0, cells[1] - 1 do
        local at = region.slot(slot) + offset
        if cells[at + 5] > 0 then
            for bucket = 0, region.COARSE_BUCKETS - 1 do
                counts[bucket] = (counts[bucket] or 0) + cells[at + region.COARSE + bucket]
            end
        end
    end
    parts[#parts + 1] = " l"
    for bucket = 0, region.COARSE_BUCKETS - 1 do
        if (counts[bucket] or 0) > 0 then
            parts[#parts + 1] = " " .. bucket * 16 + 8 .. ":" .. number(counts[bucket])
        end
    end
end

local function weighted(targets)
    for i = 2, #targets do
        if targets[i].weight ~= targets[1].weight then
            return true
        end
    end
    return false
end

local function instance(id, index, parts, with_times)
    local offset = region.instance_offset(index)
    parts[#parts + 1] = "i " .. id .. " " .. number(region.sum(offset)) .. " " .. number(region.sum(offset + 1))
        .. " " .. number(region.sum(offset + 2, true))
    if with_times then
        timed(index, parts)
    end
    parts[#parts + 1] = "\n"
end

-- GET /counters, all cumulative since the start id appeared but the two "in flight":
--   counters 1 <start id>
--   a <app> <in flight> <microseconds> <1xx> <2xx> <3xx> <4xx> <5xx>
--   h <bucket>:<count> ...
--   i <instance> <requests> <errors> <in flight> [l <bucket>:<count> ...]
--   end
function M.counters()
    local parts = { "counters 1 " .. dict:get(region.prefix .. "start") .. "\n" }
    local names, apps = {}, membership.apps()
    for name in pairs(apps) do
        names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local offset = region.app_offset(apps[name].index)
        parts[#parts + 1] = "a " .. name .. " " .. number(region.sum(offset, true))
        for cell = 1, 6 do
            parts[#parts + 1] = " " .. number(region.sum(offset + cell))
        end
        parts[#parts + 1] = "\n"
        histogram(offset, parts)
        local app = membership.load(name)
        local with_times = app and weighted(app.targets)
        for _, target in ipairs(app and app.targets or {}) do
            instance(target.id, target.index, parts, with_times)
        end
        for _, old in ipairs(app and app.retired or {}) do
            instance(old.id, old.index, parts)
        end
    end
    parts[#parts + 1] = "end\n"
    answer(200, table.concat(parts))
end

-- GET /held: requests that wait for an app's first instance, apps without any left out:
--   held 1
--   <app> <waiting>
--   end
function M.held()
    local parts, names, apps = { "held 1\n" }, {}, membership.apps()
    for name in pairs(apps) do
        names[#names + 1] = name
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local waiting = region.sum(region.app_offset(apps[name].index) + region.WAITING, true)
        if waiting > 0 then
            parts[#parts + 1] = name .. " " .. number(waiting) .. "\n"
        end
    end
    parts[#parts + 1] = "end\n"
    answer(200, table.concat(parts))
end

local function body()
    ngx.req.read_body()
    local text = ngx.req.get_body_data()
    if not text then
        local name = ngx.req.get_body_file()
        local file = name and io.open(name, "r")
        text = file and file:read("*a") or ""
        if file then
            file:close()
        end
    end
    return text
end

-- GET and PUT /facades.
function M.facades()
    local api = require "orchestry_api"
    if ngx.req.get_method() ~= "PUT" then
        return answer(200, api.get())
    end
    local count, message = api.put(body())
    if count then
        return answer(200, "nodes " .. count .. "\n")
    end
    return answer(400, message .. "\n")
end

-- GET and PUT /membership.
function M.membership()
    if ngx.req.get_method() ~= "PUT" then
        return answer(200, membership.get())
    end
    local changed, status, message = membership.put(body())
    if changed then
        return answer(200, "changed " .. changed .. "\n")
    end
    return answer(status, message .. "\n")
end

return M
