-- Which instances serve which app. Kept in the shared dictionary, one text per app, so that a change costs only the
-- workers that serve that app, and survives a reload.
--
-- Text of PUT /membership (and of the file a starting nginx reads):
--   orchestry-membership 1 <version>
--   app <name> <method>
--   <instance> <address> <port> <weight>
--   end
-- Numbers of apps and instances (their places in the counters) are given out here. A place whose owner has left is
-- used again a minute later and only when nothing is in flight there, so that the last counts can still be read.
local region = require "orchestry_region"

local dict = ngx.shared.orchestry
local KEEP = 60

local M = {}

local function key(name)
    return region.prefix .. name
end

local function store(name, value)
    local ok, err = dict:safe_set(key(name), value)
    if not ok then
        error({ status = 507, message = "shared dictionary: " .. tostring(err) })
    end
end

local function refuse(message)
    error({ status = 400, message = message })
end

-- The parsed form of an app's stored text, or nil.
function M.load(name)
    local text = dict:get(key("app:" .. name))
    if not text then
        return nil
    end
    local version, index, method = text:match("^(%d+) (%d+) (%S+)\n")
    local app = { version = tonumber(version), index = tonumber(index), method = method, targets = {}, retired = {} }
    for id, place, host, port, weight in text:gmatch("I (%S+) (%d+) (%S+) (%d+) (%d+)\n") do
        app.targets[#app.targets + 1] = {
            id = id, index = tonumber(place), host = host, port = tonumber(port), weight = tonumber(weight),
        }
    end
    for id, place, since in text:gmatch("R (%S+) (%d+) (%S+)\n") do
        app.retired[#app.retired + 1] = { id = id, index = tonumber(place), since = tonumber(since) }
    end
    return app
end

local function save(name, app)
    local lines = { string.format("%.0f %d %s\n", app.version, app.index, app.method) }
    for _, target in ipairs(app.targets) do
        lines[#lines + 1] = string.format(
            "I %s %d %s %d %d\n", target.id, target.index, target.host, target.port, target.weight)
    end
    for _, old in ipairs(app.retired) do
        lines[#lines + 1] = string.format("R %s %d %.3f\n", old.id, old.index, old.since)
    end
    store("app:" .. name, table.concat(lines))
    -- Last of all: the next choice of any worker sees the number and reads the new text.
    region.cells[region.HEADER + app.index] = app.version
end

local function new_instance()
    local index = dict:rpop(key("free"))
    if not index then
        index = region.cells[2]
        if index >= region.instances then
            error({ status = 507, message = "more than " .. region.instances .. " instances" })
        end
        region.cells[2] = index + 1
    end
    region.clear_instance(index)
    return index
end

local function free_instance(index)
    dict:lpush(key("free"), index)
end

-- Forgets instances that left a while ago and have nothing in flight.
local function forget(app, now)
    local kept = {}
    for _, old in ipairs(app.retired) do
        if now - old.since > KEEP and region.sum(region.instance_offset(old.index) + 2, true) == 0 then
            free_instance(old.index)
        else
            kept[#kept + 1] = old
        end
    end
    app.retired = kept
end

-- name → { index, since }: since is 0 for an app that is routed, else when it left.
function M.apps()
    local apps = {}
    for name, index, since in (dict:get(key("apps")) or ""):gmatch("(%S+) (%d+) (%S+)\n") do
        apps[name] = { index = tonumber(index), since = tonumber(since) }
    end
    return apps
end

local function save_apps(apps)
    local lines = {}
    for name, entry in pairs(apps) do
        lines[#lines + 1] = string.format("%s %d %.3f\n", name, entry.index, entry.since)
    end
    table.sort(lines)
    store("apps", table.concat(lines))
end

local function new_app(apps)
    local used = {}
    for _, entry in pairs(apps) do
        used[entry.index] = true
    end
    for index = 0, region.apps - 1 do
        if not used[index] then
            if region.cells[3] < index + 1 then
                region.cells[3] = index + 1
            end
            region.clear_app(index)
            return index
        end
    end
    error({ status = 507, message = "more than " .. region.apps .. " apps" })
end

-- Gives an app the targets of a block's lines, keeping the places of instances it already had.
local function update(name, index, method, lines, version, now)
    local app = M.load(name) or { targets = {}, retired = {} }
    local places = {}
    for _, target in ipairs(app.targets) do
        places[target.id] = { index = target.index, since = now }
    end
    for _, old in ipairs(app.retired) do
        places[old.id] = { index = old.index, since = old.since }
    end
    local targets, seen = {}, {}
    for line in lines:gmatch("[^\n]+") do
        local id, host, port, weight = line:match("^(%S+) (%S+) (%d+) (%d+)$")
        if not id or seen[id] then
            refuse("bad line for " .. name .. ": " .. line)
        end
        seen[id] = true
        local place = places[id]
        places[id] = nil
        targets[#targets + 1] = {
            id = id, index = place and place.index or new_instance(), host = host, port = tonumber(port),
            weight = tonumber(weight),
        }
    end
    local retired = {}
    for id, place in pairs(places) do
        retired[#retired + 1] = { id = id, index = place.index, since = place.since }
    end
    app = { version = version, index = index, method = method, targets = targets, retired = retired }
    forget(app, now)
    save(name, app)
end

local function retire(name, entry, version, now)
    update(name, entry.index, "none", "", version, now)
    dict:delete(key("raw:" .. name))
    entry.since = now
end

-- Drops an app that left a while ago, with its places.
local function drop(name, entry, apps, now)
    local app = M.load(name)
    if app then
        forget(app, now)
        if #app.retired > 0 then
            return
        end
    end
    if region.sum(region.app_offset(entry.index), true) == 0 then
        dict:delete(key("app:" .. name))
        apps[name] = nil
    end
end

local function apply(text)
    local version, start = text:match("^orchestry%-membership 1 (%S+)\n()")
    if not version or not text:find("\nend\n$") then
        refuse("not a membership text, or cut short")
    end
    local now = ngx.now()
    local generation = region.cells[0] + 1
    local apps, seen, changed = M.apps(), {}, 0
    while text:sub(start, start + 3) == "app " do
        local name, method, lines = text:match("^app (%S+) (%S+)\n()", start)
        if not name or seen[name] then
            refuse("bad app line")
        end
        seen[name] = true
        local after = (text:find("\napp ", lines - 1, true) or #text - 4) + 1
        local raw = text:sub(start, after - 1)
        local entry = apps[name]
        if not entry then
            entry = { index = new_app(apps), since = 0 }
            apps[name] = entry
        end
        if entry.since ~= 0 or dict:get(key("raw:" .. name)) ~= raw then
            entry.since = 0
            update(name, entry.index, method, text:sub(lines, after - 1), generation, now)
            store("raw:" .. name, raw)
            changed = changed + 1
        end
        start = after
    end
    for name, entry in pairs(apps) do
        if not seen[name] and entry.since == 0 then
            retire(name, entry, generation, now)
            changed = changed + 1
        elseif not seen[name] and now - entry.since > KEEP then
            drop(name, entry, apps, now)
        end
    end
    save_apps(apps)
    store("version", version)
    region.cells[0] = generation
    return changed
end

-- Makes `text` what is served, for every request whose target is chosen after the return.
-- Returns how many apps changed; or nil, an HTTP status and a message.
function M.put(text)
    if not dict:add(key("lock"), true, 10) then
        return nil, 409, "another update is running"
    end
    local ok, result = pcall(apply, text)
    dict:delete(key("lock"))
    if ok then
        return result
    end
    if type(result) == "table" then
        return nil, result.status, result.message
    end
    return nil, 500, tostring(result)
end

-- The text that is being served, as put.
function M.get()
    local names, parts = {}, {}
    for name, entry in pairs(M.apps()) do
        if entry.since == 0 then
            names[#names + 1] = name
        end
    end
    table.sort(names)
    parts[1] = "orchestry-membership 1 " .. (dict:get(key("version")) or "0.0") .. "\n"
    for _, name in ipairs(names) do
        parts[#parts + 1] = dict:get(key("raw:" .. name)) or ""
    end
    parts[#parts + 1] = "end\n"
    return table.concat(parts)
end

return M
